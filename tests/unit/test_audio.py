"""Samples: conversion, cutting into 20 ms, change of rate, files."""

import wave
from pathlib import Path

import numpy as np
import pytest

from agent_tts.audio.frames import ChunkCutter, chunk_samples
from agent_tts.audio.pcm import fade_out, first_audible, to_float32, to_int16
from agent_tts.audio.resample import Resampler
from agent_tts.audio.wav import AudioFileError, WavWriter, read_wav
from agent_tts.errors import SampleRateError


def tone(num_samples: int, sample_rate: int = 24_000, hertz: float = 440.0) -> np.ndarray:
    return np.round(8000 * np.sin(2 * np.pi * hertz * np.arange(num_samples) / sample_rate)).astype(np.int16)


def portions(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(samples, np.cumsum(sizes)[:-1]) if sizes else [samples]


def test_floats_above_full_scale_are_clipped_not_wrapped() -> None:
    assert to_int16(np.array([2.0, -2.0, 0.0, 1.0], np.float32)).tolist() == [32767, -32767, 0, 32767]


def test_int16_survives_the_way_to_float_and_back() -> None:
    pcm = np.arange(-32767, 32768, 7, dtype=np.int16)
    np.testing.assert_array_equal(to_int16(to_float32(pcm)), pcm)


def test_first_audible_finds_the_first_sample_above_the_level() -> None:
    assert first_audible(np.array([0, 100, -327, 328, 0], np.int16)) == 3
    assert first_audible(np.zeros(10, np.int16)) is None


def test_fade_out_falls_to_silence_without_a_step() -> None:
    faded = fade_out(np.full(480, 10_000, np.int16), 240)
    assert faded[0] > 9_990
    assert np.all(np.diff(faded.astype(int)) <= 0)
    assert np.all(faded[240:] == 0)
    assert np.abs(np.diff(faded.astype(int))).max() < 100


def test_fade_out_longer_than_the_audio_ends_at_its_end() -> None:
    assert abs(int(fade_out(np.full(100, 10_000, np.int16), 240)[-1])) < 20


@pytest.mark.parametrize("sizes", [[1] * 1000, [333, 667], [1000], [480, 40, 480]])
def test_any_portions_are_cut_into_the_same_chunks(sizes: list[int]) -> None:
    cutter, samples, pieces = ChunkCutter(480), tone(1000), []
    for part in portions(samples, sizes):
        pieces += cutter.push(part)
    last, num_samples = cutter.rest()
    assert [len(piece) for piece in pieces] == [480, 480]
    assert num_samples == 40
    np.testing.assert_array_equal(np.concatenate([*pieces, last[:40]]), samples)
    assert not last[40:].any()


def test_a_chunk_is_20_ms_at_every_rate() -> None:
    assert [chunk_samples(rate) for rate in (8000, 24000, 44100, 48000)] == [160, 480, 882, 960]


@pytest.mark.parametrize(("from_rate", "to_rate"), [(24_000, 8_000), (24_000, 48_000), (44_100, 16_000)])
@pytest.mark.parametrize("size", [160, 480, 997])
def test_any_portions_resample_to_the_same_samples(from_rate: int, to_rate: int, size: int) -> None:
    samples = tone(from_rate)
    whole, parts = Resampler(from_rate, to_rate), Resampler(from_rate, to_rate)
    expected = np.concatenate([whole.push(samples), whole.rest()])
    pushed = [parts.push(samples[start : start + size]) for start in range(0, len(samples), size)]
    np.testing.assert_array_equal(np.concatenate([*pushed, parts.rest()]), expected)
    assert abs(len(expected) - to_rate) <= 1


def test_a_resampler_begins_anew_after_its_end() -> None:
    resampler, samples = Resampler(24_000, 8_000), tone(4800)
    first = np.concatenate([resampler.push(samples), resampler.rest()])
    np.testing.assert_array_equal(np.concatenate([resampler.push(samples), resampler.rest()]), first)


def test_the_same_rate_passes_samples_through() -> None:
    resampler, samples = Resampler(24_000, 24_000), tone(100)
    np.testing.assert_array_equal(resampler.push(samples), samples)
    assert len(resampler.rest()) == 0


def test_a_rate_nobody_plays_is_refused_with_the_rates_allowed() -> None:
    with pytest.raises(SampleRateError, match=r"23000 Hz.*24000"):
        Resampler(23_000, 8_000)


def test_a_file_written_in_portions_reads_back_whole(tmp_path: Path) -> None:
    samples = tone(1000)
    with WavWriter(tmp_path / "a.wav", 24_000) as writer:
        for part in portions(samples, [1, 499, 500]):
            writer.write(part)
    assert writer.num_samples == 1000
    read, rate = read_wav(tmp_path / "a.wav")
    assert rate == 24_000
    np.testing.assert_array_equal(read, samples)


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "two.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([[100, 300], [-100, 100]], "<i2").tobytes())
    assert read_wav(tmp_path / "two.wav")[0].tolist() == [200, 0]


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no audio at all, only words"])
def test_what_is_no_wav_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(AudioFileError, match=r"x\.wav"):
        read_wav(tmp_path / "x.wav")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="nowhere"):
        WavWriter(tmp_path / "nowhere" / "a.wav", 24_000)
