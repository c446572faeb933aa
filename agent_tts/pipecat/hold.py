"""Holds the sound back at a transport's output within one chunk, and lets it go on where it stopped."""

from __future__ import annotations

import asyncio

import numpy as np
from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import FilterControlFrame


class HoldFilter(BaseAudioFilter):
    """An output filter that waits instead of filtering. While it waits the transport writes nothing and loses nothing.

    The chunk at which it begins to hold is faded out, the one with which it goes on is faded in: no click, no sample
    twice, none left out.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._fade_out = False
        self._fade_in = False
        self._dropping = False
        self._num_cleared = 0

    @property
    def holding(self) -> bool:
        return not self._open.is_set()

    def hold(self) -> None:
        """Let out one more chunk, faded, then nothing."""
        if self._open.is_set():
            self._fade_out = not self._dropping
            self._open.clear()

    def release(self) -> None:
        """Go on."""
        if not self._open.is_set():
            self._fade_in = not self._fade_out and not self._dropping
        self._fade_out = self._dropping = False
        self._open.set()

    def drop(self) -> None:
        """Let nothing out any more until release(): what is held is not to be heard."""
        self._fade_out = self._fade_out or (self._open.is_set() and not self._dropping)
        self._dropping = True
        self._open.set()

    def clear(self) -> None:
        """What is held is not to be heard; what comes from now on is, from its first sample."""
        self._num_cleared += 1
        self._fade_out = self._fade_in = self._dropping = False
        self._open.set()

    async def start(self, sample_rate: int) -> None:
        pass

    async def stop(self) -> None:
        self.release()

    async def process_frame(self, frame: FilterControlFrame) -> None:
        pass

    async def filter(self, audio: bytes) -> bytes:
        """One chunk. Waits while held."""
        if self._fade_out:
            self._fade_out = False
            return _ramp(audio, 1.0, 0.0)
        num_cleared = self._num_cleared
        await self._open.wait()
        if self._dropping or num_cleared != self._num_cleared:
            return b""
        if self._fade_in:
            self._fade_in = False
            return _ramp(audio, 0.0, 1.0)
        return audio


def _ramp(audio: bytes, first: float, last: float) -> bytes:
    samples = np.frombuffer(audio, np.int16)
    return (samples * np.linspace(first, last, len(samples))).astype(np.int16).tobytes()
