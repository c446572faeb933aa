"""Sound that rises and falls like speech, and the files it lies in. Made by arithmetic; no person, no model."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 16_000
Samples = npt.NDArray[np.float64]


def speechlike(seconds: float, *, rate: int = RATE, pitch_hz: float = 120.0, peak: float = 0.5) -> Samples:
    """Voiced syllables four times a second, a pause of a third of a second every two seconds, [num_samples]."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voiced = sum(np.sin(harmonic * phase + harmonic) / harmonic for harmonic in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 4 * time) + 0.6, 0, None)
    speaks = (time % 2.0) < 1.67
    sound = np.asarray(voiced * syllables * speaks, np.float64)
    return np.asarray(peak * sound / max(1e-9, np.abs(sound).max()), np.float64)


def noise(like: Samples, level_db: float, seed: int = 1) -> Samples:
    """White noise at this level relative to the mean power of `like`."""
    scale = np.sqrt((like**2).mean()) * 10 ** (level_db / 20)
    return np.asarray(np.random.default_rng(seed).standard_normal(like.shape) * scale, np.float64)


def write_wav(path: Path, samples: Samples, *, rate: int = RATE, width: int = 2) -> Path:
    """[num_samples] or [num_samples, channels] in -1..1 as little-endian PCM of `width` bytes."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    scaled = np.clip(np.round(samples * (2 ** (8 * width - 1) - 1)), -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    if width == 1:
        data = (scaled + 128).astype(np.uint8).tobytes()
    else:
        data = scaled.astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path
