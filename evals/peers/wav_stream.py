"""Bytes from a socket as int16 samples: raw PCM, or WAV whose header may come in pieces and may lie about length.

A length of 0 or of 2 GB and more is what a streaming server writes that does not know it: everything is audio then.
Otherwise the audio ends there; what follows is another WAV (a server that answers with one for each sentence), a chunk
that holds no audio, or audio after all, because the length was wrong.
"""

from __future__ import annotations

import struct

import numpy as np

from evals.peers.base import Pcm

HEADER_LIMIT = 4_096
UNKNOWN_LENGTH = 0x7FFF_0000
SIDE_CHUNKS = (b"LIST", b"INFO", b"fact", b"cue ", b"smpl", b"bext", b"id3 ", b"ID3 ", b"PEAK")


class PcmStream:
    """Push bytes, get the samples that are whole by now. `sample_rate` is what a WAV header said, else None."""

    def __init__(self) -> None:
        self.sample_rate: int | None = None
        self._held = b""
        self._in_audio = False
        self._left: int | None = None
        """Bytes of audio still to come by the header; None = without end."""

    def push(self, data: bytes) -> Pcm:
        self._held += data
        found: list[bytes] = []
        while self._in_audio or self._read_header():
            size = len(self._held) // 2 * 2
            size = size if self._left is None else min(size, self._left)
            found.append(self._held[:size])
            self._held = self._held[size:]
            if self._left is None:
                break
            self._left -= size
            if self._left or not self._behind_audio():
                break
        return np.frombuffer(b"".join(found), "<i2").astype(np.int16)

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
        rate = _sample_rate(self._held)
        if self.sample_rate not in (None, rate):
            raise ValueError(f"a second WAV header says {rate} Hz, the first {self.sample_rate} Hz; they must be equal")
        size = int(struct.unpack("<I", self._held[start - 4 : start])[0])
        self.sample_rate = rate
        self._left = size // 2 * 2 if 0 < size < UNKNOWN_LENGTH else None
        self._held, self._in_audio = self._held[start:], True
        return True

    def _behind_audio(self) -> bool:
        """Take away what is no audio behind the stated length. Whether there is more to read now."""
        while len(self._held) >= 8:
            if self._held.startswith(b"RIFF"):
                self._in_audio = False
                return True
            if not self._held.startswith(SIDE_CHUNKS):
                self._left = None
                return True
            size = struct.unpack("<I", self._held[4:8])[0]
            end = 8 + size + size % 2
            if len(self._held) < end:
                return False
            self._held = self._held[end:]
        return False


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
        raise ValueError(
            f"WAV of format {kind}, {channels} channels, {bits} bits; allowed: 16-bit PCM mono: set the server to that"
        )
    return int(rate)
