"""G.711 mu-law, as a phone line carries it: 8 bits for a sample, finer where it is quiet. Tables, made once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evals.live.tracks import Pcm

PHONE_RATE = 8_000
_BIAS = 132
"""Added to a magnitude, so that each of the eight segments begins at a power of two."""
_LARGEST = 32_635


def _decoding() -> npt.NDArray[np.int16]:
    codes = ~np.arange(256, dtype=np.int32) & 0xFF  # all bits travel inverted
    magnitudes = (((codes & 0x0F) << 3) + _BIAS << ((codes & 0x70) >> 4)) - _BIAS
    return np.where(codes & 0x80, -magnitudes, magnitudes).astype(np.int16)


def _encoding() -> npt.NDArray[np.uint8]:
    samples = np.arange(-32_768, 32_768)
    biased = np.minimum(np.abs(samples), _LARGEST) + _BIAS
    segments = np.floor(np.log2(biased)).astype(np.int64) - 7
    codes = (biased >> (segments + 3)) & 0x0F | segments << 4 | np.where(samples < 0, 0x80, 0)
    return np.asarray(~codes & 0xFF, np.uint8)


_SAMPLES, _CODES = _decoding(), _encoding()


def encode(pcm: Pcm) -> bytes:
    """int16 to one byte a sample."""
    return _CODES[pcm.astype(np.int32) + 32_768].tobytes()


def decode(payload: bytes) -> Pcm:
    """One byte a sample to int16."""
    return _SAMPLES[np.frombuffer(payload, np.uint8)]
