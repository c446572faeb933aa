"""`agent-tts voices`: from a recording to a stored voice and back, with a real codec in a real folder."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from agent_tts import cli
from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_config import RELEASED, read_codec_config
from agent_tts.config import EngineConfig, Environment
from agent_tts.errors import ConsentError, ReferenceAudioError, VoiceError
from agent_tts.nn import tensor_files
from agent_tts.voices.codec import codec_fingerprint, memory_to_encode, open_codec
from agent_tts.voices.consent import ConsentClaim, ConsentKind
from agent_tts.voices.registry import StoredVoices, VoiceRegistry, open_registry
from tests.speechlike import RATE, speechlike, write_wav
from tests.tiny_checkpoint import write_checkpoint

TEXT = "These words are certainly what is said in it."
LICENSE = "fish-audio-research-license"
GIVEN = ["--consent-from", "Alice Example", "--consent-for", "our support line", "--consent-until", "2099-12-31"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("audio") / "alice.wav", speechlike(4))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_TTS_VOICES", str(tmp_path / "voices"))
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AGENT_TTS_ACCEPT_LICENSE", LICENSE)


def add(name: str, checkpoint: Path, audio: Path, *more: str, consent: list[str] = GIVEN, text: str = TEXT) -> int:
    command = ["voices", "add", name, "--model", str(checkpoint), "--audio", str(audio), "--text", text]
    return cli.main([*command, *consent, *more])


def test_add_show_list_remove(checkpoint: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert add("alice", checkpoint, audio) == 0
    said = capsys.readouterr().out
    assert "Stored 'alice': 4.0 s, 87 frames" in said
    assert "10 to 30 s make a better voice" in said
    assert "Not checked: whether only one person speaks" in said
    assert "given by Alice Example for: our support line; valid until 2099-12-31" in said

    assert cli.main(["voices", "show", "alice", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["text"], facts["frames"], facts["codebooks"]) == (TEXT, 87, 3)
    assert (facts["consent"], facts["consent_from"], facts["consent_until"]) == ("given", "Alice Example", "2099-12-31")
    assert facts["codec"] == codec_fingerprint(checkpoint)
    assert cli.main(["voices", "show", "alice"]) == 0
    assert "consent_for" in capsys.readouterr().out

    assert cli.main(["voices", "list", "--model", str(checkpoint)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "default"
    assert second.startswith("alice ")
    assert "codec" not in second

    assert cli.main(["voices", "remove", "alice"]) == 0
    assert open_registry().names() == []
    assert not list((tmp_path / "voices" / "content").iterdir())


def test_the_stored_codes_are_those_of_the_codec_on_the_resampled_recording(checkpoint: Path, audio: Path):
    assert add("alice", checkpoint, audio) == 0
    import soxr

    pcm = soxr.resample(speechlike(4).astype(np.float32), RATE, 44_100, quality="VHQ")
    expected = open_codec(checkpoint).encode(pcm)
    stored = open_registry().get("alice").codes
    assert stored.shape == expected.shape
    # The file is 16 bits and the signal here is not: a code on the edge may fall to the other side.
    assert (stored == expected).mean() > 0.9


def test_a_voice_is_encoded_once_and_only_when_everything_else_is_in_order(tmp_path: Path, audio: Path):
    opened = []

    def never() -> object:
        opened.append(True)
        raise AssertionError("the codec must not be opened")

    registry = VoiceRegistry(tmp_path / "v", now=lambda: datetime(2026, 11, 21, tzinfo=UTC))
    own = ConsentClaim(ConsentKind.OWN_VOICE)
    short = write_wav(tmp_path / "short.wav", speechlike(1))
    for name, file, text, claim, error in (
        ("Alice", audio, TEXT, own, VoiceError),
        ("alice", short, TEXT, own, ReferenceAudioError),
        ("alice", audio, " ", own, ReferenceAudioError),
        ("alice", audio, TEXT, ConsentClaim(), ConsentError),
        ("alice", audio, TEXT, ConsentClaim(until="2020-01-01", speaker="A", purpose="b"), ConsentError),
    ):
        with pytest.raises(error):
            registry.add(name, file, text, claim, never)  # type: ignore[arg-type]
    assert opened == []
    assert registry.names() == []
    assert not (tmp_path / "v").exists()


def test_adding_without_consent_is_refused_with_the_words_to_say(
    checkpoint: Path, audio: Path, capsys: pytest.CaptureFixture[str]
):
    assert add("alice", checkpoint, audio, consent=[]) == 2
    said = capsys.readouterr().err
    assert "--consent-from" in said
    assert "--own-voice" in said
    assert add("alice", checkpoint, audio, consent=["--consent-from", "Alice"]) == 2
    assert "missing: --consent-for, --consent-until" in capsys.readouterr().err
    assert open_registry().names() == []


@pytest.mark.parametrize("flag", ["--own-voice", "--synthetic"])
def test_own_and_synthetic_voices_are_declared(
    checkpoint: Path, audio: Path, flag: str, capsys: pytest.CaptureFixture[str]
):
    assert add("alice", checkpoint, audio, consent=[flag]) == 0
    assert f"declared {flag.removeprefix('--')}" in capsys.readouterr().out


def test_the_licence_is_asked_for_before_the_codec_is_read(
    checkpoint: Path, audio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("AGENT_TTS_ACCEPT_LICENSE")
    assert add("alice", checkpoint, audio) == 3
    assert LICENSE in capsys.readouterr().err
    assert add("alice", checkpoint, audio, "--accept-license", LICENSE) == 0
    assert add("bob", checkpoint, audio) == 0, "asked once"


def test_the_bundled_model_takes_no_recordings_and_says_so(audio: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["voices", "add", "a", "--audio", str(audio), "--text", TEXT, "--own-voice"]) == 2
    assert "--model" in capsys.readouterr().err


def test_a_folder_without_a_codec_says_what_is_missing(tmp_path: Path, audio: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "dual_ar"}')
    assert add("alice", tmp_path / "model", audio, "--accept-license", "CC-BY-NC-SA-4.0") == 2
    assert "codec.pth" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["show", "remove"])
def test_an_unknown_name_names_those_that_are_there(
    checkpoint: Path, audio: Path, action: str, capsys: pytest.CaptureFixture[str]
):
    assert add("alice", checkpoint, audio) == 0
    assert cli.main(["voices", action, "bob"]) == 2
    assert "Unknown voice 'bob'. Available: 'alice'" in capsys.readouterr().err


def test_voices_of_another_codec_are_listed_as_such_and_not_handed_out(
    checkpoint: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = write_checkpoint(tmp_path / "other", seed=1)
    assert add("alice", checkpoint, audio) == 0
    assert add("bob", other, audio) == 0
    capsys.readouterr()
    assert cli.main(["voices", "list", "--model", str(other)]) == 0
    alice = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("alice"))
    assert "another codec" in alice
    config = EngineConfig()
    assert set(StoredVoices(config).references(other)) == {"bob"}
    ours = StoredVoices(config).references(checkpoint)
    assert set(ours) == {"alice"}
    assert len(ours["alice"].codes) == 87


def test_a_recording_that_does_not_fit_into_memory_is_refused_before_it_is_encoded(
    checkpoint: Path, audio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(DacCodec, "encode", lambda *_: pytest.fail("it was encoded"))
    seconds_that_fit = memory_to_encode(read_codec_config(checkpoint / "codec_config.json"), 3 * 44_100)
    weights = sum(parameter.numel() * 4 for parameter in open_codec(checkpoint)._codec.parameters())
    monkeypatch.setattr(tensor_files, "available_memory", lambda device: max(weights, seconds_that_fit))
    assert add("alice", checkpoint, audio) == 3
    said = capsys.readouterr().err
    assert "Encoding a recording of 4 s needs" in said
    assert "Give a shorter recording" in said
    assert open_registry().names() == []


def test_encoding_with_the_released_codec_needs_what_was_measured():
    """Peak beside the weights, random weights of the released shape, 4 / 8 / 16 / 30 s: 280, 541, 1058, 1968 MiB."""
    for seconds, measured_mib in ((4, 280), (8, 541), (16, 1058), (30, 1968)):
        needed = memory_to_encode(RELEASED, seconds * 44_100) / 2**20
        assert measured_mib < needed < 1.2 * measured_mib


def test_the_same_codec_under_another_file_name_and_folder_is_the_same(checkpoint: Path, tmp_path: Path):
    import torch

    (tmp_path / "copy").mkdir()
    torch.save(torch.load(checkpoint / "codec.pth", weights_only=True), tmp_path / "copy" / "once-another-name.pth")
    (tmp_path / "copy" / "once-another-name.pth").rename(tmp_path / "copy" / "codec.pth")
    assert codec_fingerprint(tmp_path / "copy") == codec_fingerprint(checkpoint)


def test_a_damaged_voice_is_listed_as_damaged_and_left_out_of_the_engine(
    checkpoint: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    for name in ("alice", "bob"):
        assert add(name, checkpoint, audio) == 0
    (tmp_path / "voices" / "names" / "alice.json").write_text("{")
    capsys.readouterr()
    assert cli.main(["voices", "list", "--model", str(checkpoint), "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)["stored"]
    assert stored["alice"].startswith("DAMAGED")
    assert set(StoredVoices(EngineConfig()).references(checkpoint)) == {"bob"}
    assert "voice alice is left out" in caplog.text
    assert cli.main(["voices", "remove", "alice"]) == 0


def test_an_expired_consent_is_said_plainly_wherever_the_voice_is_met(
    audio: Path, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    then = VoiceRegistry(tmp_path / "v", now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    then.add("alice", audio, TEXT, ConsentClaim(None, "A", "b", "2026-06-30"), lambda: open_codec(checkpoint))
    later = VoiceRegistry(tmp_path / "v", now=lambda: datetime(2026, 7, 1, tzinfo=UTC))
    assert "EXPIRED: it ended on 2026-06-30" in later.get("alice").consent.status(later.today)
    assert set(later.usable(codec_fingerprint(checkpoint))) == {"alice"}
    assert "EXPIRED" in caplog.text
    caplog.clear()
    then.usable(codec_fingerprint(checkpoint))
    assert caplog.text == ""


def test_a_voice_is_refused_from_the_day_after_its_consent_on_also_by_an_engine_that_runs(
    audio: Path, checkpoint: Path, tmp_path: Path
):
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    registry = VoiceRegistry(tmp_path / "voices", now=lambda: now[0])
    registry.add("alice", audio, TEXT, ConsentClaim(None, "A", "b", "2026-06-30"), lambda: open_codec(checkpoint))
    stored = StoredVoices(EngineConfig(), now=lambda: now[0])
    assert set(stored.references(checkpoint)) == {"alice"}
    now[0] = datetime(2026, 6, 30, 23, 59, tzinfo=UTC)
    stored.require_consent("alice")
    stored.require_consent("default")
    now[0] = datetime(2026, 7, 1, tzinfo=UTC)
    with pytest.raises(ConsentError, match="'alice' ended on 2026-06-30: nothing is spoken with it any more"):
        stored.require_consent("alice")
    with pytest.raises(ConsentError, match="ended on 2026-06-30; a voice cannot be added"):
        registry.add("bob", audio, TEXT, ConsentClaim(None, "A", "b", "2026-06-30"), lambda: open_codec(checkpoint))


def test_list_and_show_mark_an_expired_consent(
    checkpoint: Path, audio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert add("alice", checkpoint, audio) == 0
    monkeypatch.setattr(VoiceRegistry, "today", date(2100, 1, 1))
    for command in (["list", "--model", str(checkpoint)], ["show", "alice"], ["show", "alice", "--json"]):
        capsys.readouterr()
        assert cli.main(["voices", *command]) == 0
        said = capsys.readouterr().out
        assert "EXPIRED: it ended on 2099-12-31; nothing is spoken with this voice any more" in said


def test_the_folder_of_voices_comes_from_config_then_environment_then_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert open_registry(EngineConfig(voices_dir=str(tmp_path / "mine"))).store.folder == tmp_path / "mine"
    assert open_registry(EngineConfig()).store.folder == tmp_path / "voices"
    monkeypatch.delenv("AGENT_TTS_VOICES")
    assert Environment.read().voices_dir == Path.home() / ".local/share/agent_tts/voices"


def test_replacing_takes_the_name_over(checkpoint: Path, audio: Path, capsys: pytest.CaptureFixture[str]):
    assert add("alice", checkpoint, audio) == 0
    assert add("alice", checkpoint, audio, text="Something else is said in it.") == 2
    assert "already" in capsys.readouterr().err
    assert add("alice", checkpoint, audio, "--replace", text="Something else is said in it.") == 0
    assert open_registry().get("alice").text == "Something else is said in it."


def test_help_has_an_example_that_parses(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        cli.main(["voices", "add", "--help"])
    assert leaving.value.code == 0
    import shlex

    words = " ".join(capsys.readouterr().out.split()).split("Example: agent-tts ")[1]
    options: argparse.Namespace = cli._parser().parse_args(shlex.split(words))
    assert options.name == "alice"
