"""Voices on disk: written whole, stored once, read strictly; and the consent that is part of them."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from agent_tts.errors import ConsentError, UnknownVoiceError, VoiceError, VoiceFileError
from agent_tts.voices.consent import ATTESTATIONS, NO_END, Consent, ConsentClaim, ConsentKind, record_consent
from agent_tts.voices.store import VoiceStore, check_name, seal
from agent_tts.voices.voice import CodecIdentity, Voice, VoiceContent

NOW = datetime(2026, 11, 21, 12, 30, 15, tzinfo=UTC)
AUDIO = "a" * 64
CODEC = CodecIdentity("f" * 64, 44_100, 2048, 3)
GIVEN = ConsentClaim(speaker="Alice Example", purpose="our support line", until="2027-12-31")


def voice(name: str = "alice", *, seed: int = 1, text: str = "What Alice says.", claim: ConsentClaim = GIVEN) -> Voice:
    codes = np.random.default_rng(seed).integers(0, 4096, (3, 40))
    content = VoiceContent(codes, text, CODEC, ("A remark.",))
    return Voice(name, content, content.content_hash, record_consent(claim, AUDIO, NOW), NOW)


def files(store: VoiceStore) -> set[str]:
    return {str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file()}


# -- storing ----------------------------------------------------------------------------------------------------------


def test_a_voice_comes_back_as_it_was_stored(tmp_path: Path):
    store, stored = VoiceStore(tmp_path / "voices"), voice()
    store.put(stored)
    got = VoiceStore(tmp_path / "voices").get("alice")
    np.testing.assert_array_equal(got.codes, stored.codes)
    assert got.codes.dtype == np.int64
    assert (got.text, got.content.codec, got.content.findings) == (stored.text, CODEC, ("A remark.",))
    assert (got.content_hash, got.consent, got.added_at) == (stored.content_hash, stored.consent, NOW)


def test_asking_creates_nothing(tmp_path: Path):
    store = VoiceStore(tmp_path / "voices")
    assert store.names() == []
    with pytest.raises(UnknownVoiceError):
        store.get("alice")
    assert not store.folder.exists()


def test_a_reference_has_frames_first_and_all_codebooks():
    stored = voice()
    reference = stored.reference()
    assert reference.text == "What Alice says."
    assert len(reference.codes) == 40
    assert reference.codes[7] == tuple(stored.codes[:, 7].tolist())
    assert all(type(code) is int for code in reference.codes[0])


def test_the_same_content_under_two_names_is_stored_once_and_stays_until_both_are_gone(tmp_path: Path):
    store = VoiceStore(tmp_path)
    store.put(voice("alice"))
    store.put(voice("support", claim=ConsentClaim(kind=ConsentKind.OWN_VOICE)))
    assert len(list((tmp_path / "content").iterdir())) == 1
    assert store.get("alice").consent != store.get("support").consent, "each name has its own purpose"
    store.remove("alice")
    assert store.get("support").text == "What Alice says."
    store.remove("support")
    assert files(store) == {".lock"}


@pytest.mark.parametrize("change", [{"seed": 2}, {"text": "Something else."}])
def test_other_codes_or_another_text_are_other_content(change: dict[str, object]):
    assert voice().content_hash != voice(**change).content_hash  # type: ignore[arg-type]


def test_a_residual_code_alone_makes_another_voice():
    one = voice()
    codes = one.codes.copy()
    codes[2, 5] += 1
    assert VoiceContent(codes, one.text, CODEC).content_hash != one.content_hash


def test_a_taken_name_is_refused_unless_it_is_to_be_replaced(tmp_path: Path):
    store = VoiceStore(tmp_path)
    store.put(voice())
    with pytest.raises(VoiceError, match="already"):
        store.put(voice(seed=2))
    store.put(voice(seed=2), replace=True)
    assert store.get("alice").content_hash == voice(seed=2).content_hash
    assert len(list((tmp_path / "content").iterdir())) == 1, "what nobody names any more is gone"


@pytest.mark.parametrize("name", ["", "Alice", "a b", "../alice", "-a", "a" * 65, "ä", "a/b", ".a", "default"])
def test_names_that_cannot_be_files_or_mislead_are_refused(tmp_path: Path, name: str):
    with pytest.raises(VoiceError):
        check_name(name)
    with pytest.raises(UnknownVoiceError):
        VoiceStore(tmp_path).get(name)


@pytest.mark.parametrize("file", ["codes.npz", "voice.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"no"), lambda path: path.unlink()])
def test_adding_a_voice_again_repairs_damaged_content(tmp_path: Path, file: str, damage):
    store = VoiceStore(tmp_path)
    store.put(voice())
    damage(tmp_path / "content" / voice().content_hash / file)
    with pytest.raises(VoiceFileError, match="add it again"):
        store.get("alice")
    store.put(voice(), replace=True)
    np.testing.assert_array_equal(store.get("alice").codes, voice().codes)


def test_removing_what_is_not_there_names_what_is(tmp_path: Path):
    store = VoiceStore(tmp_path)
    store.put(voice())
    with pytest.raises(UnknownVoiceError, match="'alice'"):
        store.remove("bob")


def test_a_crash_while_writing_leaves_no_half_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = VoiceStore(tmp_path)
    store.put(voice("bob", seed=2))
    real, calls = os.fsync, []

    def dies(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # codes and head are written, the record is not
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(VoiceError, match="No space left"):
        store.put(voice("alice"))
    monkeypatch.undo()
    assert store.names() == ["bob"]
    store.put(voice("alice"))
    assert store.get("alice").text == "What Alice says."
    assert not [name for name in files(store) if "alice.json." in name], "no draft is left over"


def test_writers_take_turns_and_no_name_ever_lacks_its_content(tmp_path: Path):
    def work(number: int) -> None:
        store = VoiceStore(tmp_path)
        for _ in range(8):
            store.put(voice(f"v{number}", seed=1))
            store.get(f"v{number}")
            store.remove(f"v{number}")

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, number) for number in range(4)]:
            done.result()
    assert VoiceStore(tmp_path).names() == []


# -- reading damaged files --------------------------------------------------------------------------------------------


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path):
    store = VoiceStore(tmp_path)
    store.put(voice())
    generator = np.random.default_rng(3)
    for path in sorted(tmp_path.rglob("*.json")) + sorted(tmp_path.rglob("*.npz")):
        whole = path.read_bytes()
        for _ in range(60):
            place = int(generator.integers(len(whole)))
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(generator.integers(8))
            assert_noticed(store, path, bytes(damaged), whole)
        for length in (0, 1, len(whole) // 2, len(whole) - 2):
            assert_noticed(store, path, whole[:length], whole)
        path.unlink()
        if path.name != "alice.json":
            with pytest.raises(VoiceFileError, match="cannot be read"):
                store.get("alice")
        path.write_bytes(whole)
    store.get("alice")


def assert_noticed(store: VoiceStore, path: Path, damaged: bytes, whole: bytes) -> None:
    """Refused with an error of ours; only JSON that still says the same, a blank for a blank, may pass."""
    path.write_bytes(damaged)
    try:
        store.get("alice")
    except VoiceFileError:
        pass
    else:
        assert path.suffix == ".json"
        assert json.loads(damaged) == json.loads(whole)
    finally:
        path.write_bytes(whole)


def test_a_pickle_in_the_place_of_codes_is_never_opened(tmp_path: Path):
    store = VoiceStore(tmp_path)
    store.put(voice())
    (path,) = tmp_path.rglob("codes.npz")
    np.savez(path, codes=np.array([{"no": "numbers"}], dtype=object))
    head = path.with_name("voice.json")
    head.write_bytes(edited(head, codes_sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(VoiceFileError, match="archive of plain codes"):
        store.get("alice")


def edited(path: Path, **change: object) -> bytes:
    """The file with other values and a checksum that fits them, as a careful hand would write it."""
    data = json.loads(path.read_text())
    return seal({key: value for key, value in (data | change).items() if key != "checksum"})


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("alice.json", {"format": 2}, "format 2"),
        ("alice.json", {"extra": 1}, "extra"),
        ("alice.json", {"name": "bob"}, "changed"),
        ("alice.json", {"content": "../../etc"}, "content hash"),
        ("alice.json", {"consent": None}, "consent record"),
        ("alice.json", {"added_at": "yesterday"}, "yesterday"),
        ("voice.json", {"text": "Other words."}, "does not hold what its name says"),
        ("voice.json", {"codec": {}}, "codec must hold"),
    ],
)
def test_a_record_that_was_edited_says_what_is_wrong(tmp_path: Path, file: str, change: dict[str, object], said: str):
    store = VoiceStore(tmp_path)
    store.put(voice())
    (path,) = tmp_path.rglob(file)
    path.write_bytes(edited(path, **change))
    with pytest.raises(VoiceFileError, match=said):
        store.get("alice")
    store.remove("alice")
    assert store.names() == [], "a damaged voice can be removed"


# -- consent ----------------------------------------------------------------------------------------------------------


def test_a_given_consent_needs_who_what_for_and_until_when():
    consent = record_consent(GIVEN, AUDIO, NOW)
    assert (consent.kind, consent.speaker, consent.purpose) == (ConsentKind.GIVEN, "Alice Example", "our support line")
    assert consent.valid_until == date(2027, 12, 31)
    assert (consent.audio_sha256, consent.recorded_at) == (AUDIO, NOW)
    assert consent.attestation == ATTESTATIONS[ConsentKind.GIVEN]
    assert record_consent(ConsentClaim(None, "A", "b", NO_END), AUDIO, NOW).valid_until is None


def test_without_a_word_about_consent_it_is_refused_and_says_what_to_say():
    with pytest.raises(ConsentError) as caught:
        record_consent(ConsentClaim(), AUDIO, NOW)
    for flag in ("--consent-from", "--consent-for", "--consent-until", "--own-voice", "--synthetic"):
        assert flag in str(caught.value)


@pytest.mark.parametrize("missing", ["speaker", "purpose", "until"])
def test_half_a_consent_names_what_is_missing(missing: str):
    said = {"speaker": "A", "purpose": "b", "until": NO_END} | {missing: " "}
    flags = {"speaker": "--consent-from", "purpose": "--consent-for", "until": "--consent-until"}
    with pytest.raises(ConsentError, match=f"missing: {flags[missing]}"):
        record_consent(ConsentClaim(**said), AUDIO, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ConsentKind.OWN_VOICE, ConsentKind.SYNTHETIC])
def test_own_and_synthetic_voices_are_declared_in_words_that_are_kept(kind: ConsentKind):
    assert record_consent(ConsentClaim(kind), AUDIO, NOW).attestation == ATTESTATIONS[kind]
    own_words = record_consent(ConsentClaim(kind, attestation="Rendered by our own model."), AUDIO, NOW)
    assert own_words.attestation == "Rendered by our own model."


@pytest.mark.parametrize("until", ["tomorrow", "31.12.2027", "2027-13-01"])
def test_an_end_that_is_no_day_is_refused(until: str):
    with pytest.raises(ConsentError, match="YYYY-MM-DD"):
        record_consent(ConsentClaim(None, "A", "b", until), AUDIO, NOW)


def test_a_consent_that_is_over_cannot_be_recorded_and_is_said_plainly_later():
    with pytest.raises(ConsentError, match="ended on 2026-11-20"):
        record_consent(ConsentClaim(None, "A", "b", "2026-11-20"), AUDIO, NOW)
    consent = record_consent(ConsentClaim(None, "A", "b", "2026-11-21"), AUDIO, NOW)
    assert not consent.expired(date(2026, 11, 21)), "the last day still counts"
    assert consent.expired(date(2026, 11, 22))
    assert consent.status(date(2026, 11, 22)).startswith("EXPIRED: it ended on 2026-11-21")


def test_a_consent_survives_json_and_nothing_else_does():
    consent = record_consent(GIVEN, AUDIO, NOW)
    data = json.loads(json.dumps(consent.to_json()))
    assert Consent.from_json(data) == consent
    for damaged in ({**data, "kind": "assumed"}, {**data, "audio_sha256": "x"}, {**data, "valid_until": 3}, [], None):
        with pytest.raises(ConsentError):
            Consent.from_json(damaged)
    for name in data:
        with pytest.raises(ConsentError, match=name):
            Consent.from_json({key: value for key, value in data.items() if key != name})
