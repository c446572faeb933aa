"""Cut a stream of samples into pieces of exactly 20 ms. Knows samples, not who speaks or listens."""

from __future__ import annotations

import numpy as np

from agent_tts.types import Pcm

CHUNK_MS = 20


def chunk_samples(sample_rate: int) -> int:
    """Samples in 20 ms at `sample_rate` (882 at 44.1 kHz)."""
    return sample_rate * CHUNK_MS // 1000


class ChunkCutter:
    """Takes int16 samples in any portions, gives arrays of exactly `size` samples. `rest()` pads what is left over."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._left = np.empty(0, np.int16)

    def push(self, pcm: Pcm) -> list[Pcm]:
        """Add samples; returns the whole pieces that are now complete, in order."""
        data = np.concatenate([self._left, pcm]) if len(self._left) else pcm
        whole = len(data) // self.size
        self._left = data[whole * self.size :].copy()
        return [data[index * self.size : (index + 1) * self.size].copy() for index in range(whole)]

    def rest(self) -> tuple[Pcm, int]:
        """The last piece, padded with zeros to `size`, and how many of its samples are real (0 if none were left)."""
        num_samples = len(self._left)
        padded = np.zeros(self.size, np.int16)
        padded[:num_samples] = self._left
        self._left = np.empty(0, np.int16)
        return padded, num_samples
