"""Samples as numbers: float and int16, and what both can be asked. No streaming, no files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent_tts.types import Pcm

AUDIBLE_LEVEL = 0.01
"""Amplitude (of full scale 1.0) from which a sample counts as audible: the level TTFA and leading silence use."""


def to_int16(samples: npt.NDArray[np.float32]) -> Pcm:
    """Float samples in -1..1 as int16; louder ones are clipped, not wrapped."""
    return np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)


def to_float32(pcm: Pcm) -> npt.NDArray[np.float32]:
    """int16 samples as floats in -1..1."""
    return pcm.astype(np.float32) / 32767.0


def first_audible(pcm: Pcm) -> int | None:
    """Index of the first audible sample, None when there is none."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE_LEVEL * 32767.0)
    return int(loud[0]) if len(loud) else None


def fade_out(pcm: Pcm, num_samples: int) -> Pcm:
    """A copy that falls to silence over its first `num_samples` samples: what is played of a chunk when it is cut."""
    count = min(num_samples, len(pcm))
    faded = np.zeros_like(pcm)
    ramp = 0.5 + 0.5 * np.cos(np.pi * (np.arange(count) + 1) / (count + 1))
    faded[:count] = np.round(pcm[:count] * ramp).astype(np.int16)
    return faded
