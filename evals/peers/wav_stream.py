"""Bytes from a socket as int16 samples: raw PCM, or WAV whose header may come in pieces and may lie about length."""

from __future__ import annotations

import struct

import numpy as np

from evals.peers.base import Pcm

HEADER_LIMIT = 4_096


class PcmStream:
    """Push bytes, get the samples that are whole by now. `sample_rate` is what a WAV header said, else None."""

    def __init__(self) -> None:
        self.sample_rate: int | None = None
        self._held = b""
        self._in_audio = False

    def push(self, data: bytes) -> Pcm:
        self._held += data
        if not self._in_audio and not self._read_header():
            return np.zeros(0, np.int16)
        whole = len(self._held) // 2 * 2
        audio, self._held = self._held[:whole], self._held[whole:]
        return np.frombuffer(audio, "<i2").astype(np.int16)

    def _read_header(self) -> bool:
        """Whether audio begins in what is held; takes the header away."""
        if not self._held.startswith(b"RIFF"[: len(self._held)]):
            self._in_audio = True
            return True
        if len(self._held) < 4:
            return False
        start = _data_start(self._held)
        if start is None:
            if len(self._held) > HEADER_LIMIT:
                raise ValueError(f"no data chunk in the first {HEADER_LIMIT} bytes of a WAV answer")
            return False
        self.sample_rate = _sample_rate(self._held)
        self._held, self._in_audio = self._held[start:], True
        return True


def _data_start(header: bytes) -> int | None:
    position = 12
    while position + 8 <= len(header):
        name, size = header[position : position + 4], struct.unpack("<I", header[position + 4 : position + 8])[0]
        if name == b"data":
            return position + 8
        position += 8 + size + size % 2
    return None


def _sample_rate(header: bytes) -> int:
    kind, channels, rate = struct.unpack("<HHI", header[20:28])
    bits = struct.unpack("<H", header[34:36])[0]
    if (kind not in (1, 0xFFFE)) or channels != 1 or bits != 16:
        raise ValueError(f"WAV of format {kind}, {channels} channels, {bits} bits; allowed: 16-bit PCM mono")
    return int(rate)
