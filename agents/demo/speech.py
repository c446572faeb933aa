"""What the demo's caller says: synthesised once, in another voice than the agent's, kept as wav files."""

from __future__ import annotations

import hashlib
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.int16]

CALL_RATE = 48_000
PITCH = 0.80
"""Below 1 is deeper. hibari has one voice, and the bundled voice learned from it: the caller has to sound different."""
PEAK = 0.6


def caller_speech(text: str, cache: Path) -> Path:
    """A file of `text` as the caller says it, at CALL_RATE, trimmed to its sound."""
    path = cache / f"{hashlib.sha256(f'{PITCH}/{text}'.encode()).hexdigest()[:16]}.wav"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        write_wav(path, _synthesise(text), CALL_RATE)
    return path


def _synthesise(text: str) -> Samples:
    from hibari import Hibari

    teller = Hibari()
    pcm = np.concatenate([np.asarray(piece, np.float32) for piece in teller.stream(text, speed=1 / PITCH, seed=1)])
    pcm = soxr.resample(pcm, teller.sample_rate * PITCH, CALL_RATE)  # played slower: deeper, and at its old pace again
    loud = np.flatnonzero(np.abs(pcm) > 0.01 * np.abs(pcm).max())
    pcm = pcm[loud[0] : loud[-1] + 1]
    return (32767 * PEAK * pcm / np.abs(pcm).max()).astype(np.int16)


def write_wav(path: Path, pcm: Samples, sample_rate: int) -> None:
    """int16, [num_samples] or [num_samples, channels]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.ascontiguousarray(pcm).tobytes())


def read_wav(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)
