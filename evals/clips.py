"""What the caller says or does: clips at 16 kHz, made here from a seed, so that a run needs no recordings.

Speech comes from hibari where it is installed; `voiced` is a buzz with the envelope of syllables that needs nothing.
A folder of real recordings (WAV) can take the place of made speech. Levels are RMS of the audible part, dBFS.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.metrics_audio import audible_spans, level_db
from evals.peers.base import PeerUnavailableError
from evals.peers.wav_stream import PcmStream

RATE = 16_000
Wave = npt.NDArray[np.float32]


def clip(kind: str, *, seed: int = 0, level_db: float | None = None, ms: float | None = None) -> Wave:
    """A clip by its name: "say:TEXT", "file:PATH", or one of SOUNDS.

    Args:
        level_db: RMS of its audible part; None = as made (-23 dBFS).
        ms: Cut or make it so long; None = as long as it is.
    """
    name, _, rest = kind.partition(":")
    if name == "say":
        made = speech(rest)
    elif name == "file":
        made = recording(Path(rest))
    elif name in SOUNDS:
        made = SOUNDS[name](np.random.default_rng(seed), ms or 1_000.0)
    else:
        raise ValueError(f"clip {kind!r}; allowed: say:TEXT, file:PATH, {', '.join(sorted(SOUNDS))}")
    if ms is not None:
        made = made[: round(ms * RATE / 1000)]
    return at_level(made, -23.0 if level_db is None else level_db)


def at_level(samples: Wave, target_db: float) -> Wave:
    """The same clip with its audible part at a level; never clipped."""
    spans = audible_spans(samples / max(1e-9, float(np.abs(samples).max(initial=0.0))), RATE)
    if not spans:
        return samples
    loud = samples[int(spans[0].start_ms * RATE / 1000) : int(spans[-1].end_ms * RATE / 1000)]
    scaled = samples * 10 ** ((target_db - level_db(loud)) / 20)
    return np.asarray(np.clip(scaled, -0.99, 0.99), np.float32)


@cache
def speech(text: str) -> Wave:
    """A person saying `text`: hibari's voice."""
    import soxr

    voice = _voice()
    return np.asarray(soxr.resample(np.asarray(voice(text), np.float32), voice.sample_rate, RATE), np.float32)


def recording(path: Path) -> Wave:
    """A mono 16-bit WAV at any rate."""
    import soxr

    stream = PcmStream()
    samples = stream.push(path.read_bytes()).astype(np.float32) / 32767
    return np.asarray(soxr.resample(samples, stream.sample_rate or RATE, RATE), np.float32)


def save(path: Path, samples: npt.NDArray[np.int16], sample_rate: int, *, channels: int = 1) -> None:
    """Write 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())


@cache
def _voice() -> Any:
    try:
        from hibari import Hibari
    except ImportError as error:
        raise PeerUnavailableError("made speech needs hibari: pip install hibari-tts, or --clips voiced") from error
    return Hibari(threads=1)


# ---------------------------------------------------------------------------------------------------------------------
# Sounds


def _voiced(rng: np.random.Generator, ms: float) -> Wave:
    """A buzz at a speaker's pitch with four syllables a second; begins at once."""
    times = np.arange(round(ms * RATE / 1000)) / RATE
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * times))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = np.sum([np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12)], axis=0)
    return np.asarray(buzz * (0.6 + 0.4 * np.cos(2 * np.pi * 4 * times)), np.float32)


def _cough(rng: np.random.Generator, ms: float) -> Wave:
    """Two bursts of noise, 120 and 200 ms, sharp at the front."""
    length = round(max(ms, 500.0) * RATE / 1000)
    made = np.zeros(length, np.float32)
    for start_ms, burst_ms, loud in ((0, 120, 1.0), (260, 200, 0.7)):
        size = round(burst_ms * RATE / 1000)
        burst = _low_pass(rng.normal(size=size), 0.35) * np.exp(-np.linspace(0, 5, size)) * loud
        start = round(start_ms * RATE / 1000)
        made[start : start + size] += burst[: length - start].astype(np.float32)
    return made


def _white(rng: np.random.Generator, ms: float) -> Wave:
    return rng.normal(size=round(ms * RATE / 1000)).astype(np.float32)


def _pink(rng: np.random.Generator, ms: float) -> Wave:
    spectrum = np.fft.rfft(rng.normal(size=round(ms * RATE / 1000)))
    shaped = spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return np.fft.irfft(shaped).astype(np.float32)


def _hum(rng: np.random.Generator, ms: float) -> Wave:
    times = np.arange(round(ms * RATE / 1000)) / RATE
    tones = [np.sin(2 * np.pi * 50 * h * times + rng.uniform(0, 6)) / h for h in (1, 2, 3, 5)]
    return np.sum(tones, axis=0).astype(np.float32)


def _clicks(rng: np.random.Generator, ms: float) -> Wave:
    """Keys: eight a second, 4 ms each."""
    made = np.zeros(round(ms * RATE / 1000), np.float32)
    for start in range(0, len(made), RATE // 8):
        size = min(64, len(made) - start)
        made[start : start + size] = rng.normal(size=size) * np.exp(-np.linspace(0, 4, size))
    return made


def _breath(rng: np.random.Generator, ms: float) -> Wave:
    """Soft noise that swells and falls."""
    size = round(ms * RATE / 1000)
    return (_low_pass(rng.normal(size=size), 0.15) * np.sin(np.linspace(0, np.pi, size)) ** 2).astype(np.float32)


def _low_pass(samples: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(samples)
    spectrum[int(len(spectrum) * share) :] = 0
    return np.fft.irfft(spectrum, len(samples))


SOUNDS: dict[str, Callable[[np.random.Generator, float], Wave]] = {
    "voiced": _voiced,
    "cough": _cough,
    "white": _white,
    "pink": _pink,
    "hum": _hum,
    "clicks": _clicks,
    "breath": _breath,
}
