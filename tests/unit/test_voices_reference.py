"""The check of a recording: what is refused, what is advised, and that each says so in words."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from agent_tts.errors import ReferenceAudioError
from agent_tts.voices.audio_file import Recording, read_recording
from agent_tts.voices.reference import ReferenceReport, check_reference, require_fit, to_codec_rate
from tests.speechlike import RATE, Samples, noise, speechlike, write_wav

TEXT_OF_15_S = "x" * 200


def recording(samples: Samples, rate: int = RATE) -> Recording:
    columns = samples.reshape(len(samples), -1)
    return Recording("ref.wav", columns.astype(np.float32), rate, "0" * 64)


def check(samples: Samples, text: str = TEXT_OF_15_S, rate: int = RATE) -> ReferenceReport:
    return check_reference(recording(samples, rate), text)


def test_a_clean_recording_of_fifteen_seconds_has_nothing_against_it():
    report = check(speechlike(15))
    assert report.refusals == ()
    assert report.advice == ()
    assert report.measured.pause_share == pytest.approx(1 / 3, abs=0.15)


@pytest.mark.parametrize(("seconds", "word"), [(2.9, "at least 3 s"), (60.5, "at most 60 s")])
def test_too_short_and_too_long_are_refused(seconds: float, word: str):
    (refusal,) = check(speechlike(seconds), "x" * int(seconds * 10)).refusals
    assert word in refusal
    assert "10 to 30 s are best" in refusal


@pytest.mark.parametrize(("seconds", "advised"), [(3.1, True), (9.9, True), (10, False), (30, False), (59, True)])
def test_ten_to_thirty_seconds_are_advised(seconds: float, advised: bool):
    report = check(speechlike(seconds), "x" * int(seconds * 10))
    assert report.refusals == ()
    assert any("10 to 30 s" in line for line in report.advice) == advised


def test_clipping_is_measured_where_peaks_are_flat_and_only_there():
    clean = speechlike(15, peak=1.0)
    assert check(clean).measured.clipped_share == 0
    assert "clipped" in " ".join(check(np.clip(3 * clean, -1, 1)).refusals)
    slight = check(np.clip(1.1 * clean, -1, 1))
    assert slight.refusals == ()
    assert any("peaks are clipped" in line for line in slight.advice)


def test_clipping_that_was_turned_down_afterwards_is_still_found():
    clipped = np.clip(3 * speechlike(15, peak=1.0), -1, 1)
    assert check(0.4 * clipped).measured.clipped_share == pytest.approx(check(clipped).measured.clipped_share, rel=0.01)


def test_a_loud_steady_tone_is_not_taken_for_clipping():
    tone = 0.9 * np.sin(2 * np.pi * 220 * np.arange(15 * RATE) / RATE)
    assert check(tone).measured.clipped_share == 0


@pytest.mark.parametrize("level_db", [-40, -30, -20, -10])
def test_speech_over_background_follows_the_noise_that_was_added(level_db: float):
    clean = speechlike(15)
    report = check(clean + noise(clean, level_db))
    # The loudest speech, not the mean, is compared: that is above 0 dB by a few.
    assert -level_db < report.measured.speech_over_background_db < -level_db + 10


def test_noise_is_advised_against_and_at_last_refused():
    clean = speechlike(15)
    some = check(clean + noise(clean, -14))
    assert some.refusals == ()
    assert any("over the background" in line for line in some.advice)
    assert any("over the background" in line for line in check(clean + noise(clean, 0)).refusals)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_is_refused_as_silence(level: float):
    (refusal,) = check(level * speechlike(15, peak=1.0)).refusals
    assert "silent" in refusal


def test_a_recording_that_is_nearly_all_pause_is_refused():
    report = check(np.concatenate([np.zeros(5 * RATE), speechlike(1.5), np.zeros(5 * RATE)]), "x" * 20)
    assert any("of it is speech" in line for line in report.refusals)


def test_long_pauses_at_the_ends_are_named_with_their_length():
    report = check(np.concatenate([np.zeros(2 * RATE), speechlike(14), np.zeros(3 * RATE)]))
    (line,) = [line for line in report.advice if "its ends" in line]
    assert "2.0 s before" in line
    assert "3." in line.split("before")[1]


def test_a_quiet_recording_and_a_phone_recording_are_advised_against():
    assert any("very quiet" in line for line in check(0.01 * speechlike(15, peak=1.0)).advice)
    assert any("8000 Hz" in line for line in check(speechlike(15, rate=8000), rate=8000).advice)


def test_two_people_on_two_channels_are_refused():
    one, two = speechlike(15), speechlike(15, pitch_hz=190)
    turn = ((np.arange(len(one)) // (3 * RATE)) % 2)[:, None]
    both = np.stack([one, two], axis=1) * np.concatenate([turn, 1 - turn], axis=1)
    assert any("one speaker each" in line for line in check(both).refusals)


def test_one_voice_on_two_channels_is_one_voice():
    one = speechlike(15)
    assert check(np.stack([one, 0.7 * np.roll(one, 40)], axis=1)).refusals == ()
    assert check(np.stack([one, np.zeros_like(one)], axis=1)).refusals == (), "an empty second channel is no speaker"


@pytest.mark.parametrize("text", ["x", "x" * 2000])
def test_text_that_cannot_be_that_of_the_recording_is_remarked(text: str):
    assert any("word for word" in line for line in check(speechlike(15), text).advice)


def test_without_a_text_it_is_refused():
    assert any("text is empty" in line for line in check(speechlike(15), " \n").refusals)


def test_every_reason_is_in_the_error_and_not_what_is_said():
    with pytest.raises(ReferenceAudioError) as caught:
        require_fit(recording(np.clip(5 * speechlike(2.0, peak=1.0), -1, 1)), "secret words")
    assert len(caught.value.reasons) == 2
    assert "clipped" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_resampling_keeps_length_and_sound(rate: int):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4 * rate) / rate)
    out = to_codec_rate(recording(np.stack([tone, tone], axis=1), rate), 44_100)
    assert out.ndim == 1
    assert abs(len(out) - 4 * 44_100) <= 1
    ideal = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(out)) / 44_100)
    assert np.abs(out - ideal)[4410:-4410].max() < 1e-3


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pcm_of_every_width_is_read_as_written(tmp_path: Path, width: int, channels: int):
    samples = np.stack([speechlike(1, pitch_hz=100 + 30 * index) for index in range(channels)], axis=1)
    path = write_wav(tmp_path / "in.wav", samples, width=width)
    got = read_recording(path)
    assert got.samples.shape == samples.shape
    assert got.sample_rate == RATE
    assert np.abs(got.samples - samples).max() < 2.0 ** (2 - min(8 * width, 23))
    assert got.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_formats_come_through_soundfile(tmp_path: Path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "in.flac", speechlike(1), RATE)
    got = read_recording(tmp_path / "in.flac")
    assert got.samples.shape == (RATE, 1)


def test_an_extensible_float_wav_comes_through_soundfile(tmp_path: Path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "in.wav", speechlike(1), RATE, subtype="FLOAT", format="WAVEX")
    assert len(read_recording(tmp_path / "in.wav").samples) == RATE


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"not audio at all" * 100])
def test_what_is_no_audio_is_an_error_of_ours(tmp_path: Path, data: bytes):
    (tmp_path / "in.wav").write_bytes(data)
    with pytest.raises(ReferenceAudioError, match=r"in\.wav"):
        read_recording(tmp_path / "in.wav")


@pytest.mark.parametrize("bits", [0, 40, 64])
def test_a_wav_of_a_width_that_nobody_records_is_an_error_of_ours(tmp_path: Path, bits: int):
    size = 3 * max(1, bits // 8)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 16_000, 1, bits)
    (tmp_path / "a.wav").write_bytes(head + struct.pack("<4sI", b"data", size) + bytes(size))
    with pytest.raises(ReferenceAudioError, match=r"read as audio|plain PCM"):
        read_recording(tmp_path / "a.wav")


def test_a_missing_file_and_an_empty_recording_are_errors_of_ours(tmp_path: Path):
    with pytest.raises(ReferenceAudioError, match="No such file"):
        read_recording(tmp_path / "none.wav")
    with pytest.raises(ReferenceAudioError, match="no samples"):
        read_recording(write_wav(tmp_path / "empty.wav", np.zeros(0)))


def test_a_wav_that_was_cut_short_gives_what_is_there(tmp_path: Path):
    path = write_wav(tmp_path / "cut.wav", speechlike(2), width=3)
    path.write_bytes(path.read_bytes()[: 44 + 3 * RATE + 1])
    assert len(read_recording(path).samples) == RATE
