"""Streaming change of sample rate. The same samples come out however the input was portioned."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent_tts.audio.pcm import to_float32, to_int16
from agent_tts.errors import SampleRateError
from agent_tts.types import Pcm

SUPPORTED_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class Resampler:
    """int16 mono from one rate to another. Holds the filter's tail between calls; one stream per object."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """Both in Hz. Raises SampleRateError for a rate nobody plays."""
        for rate in (from_rate, to_rate):
            if rate not in SUPPORTED_RATES:
                raise SampleRateError(rate, SUPPORTED_RATES)
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._stream: Any = None
        if from_rate != to_rate:
            import soxr

            # float32 inside: soxr dithers int16, and then two runs differ
            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")

    def push(self, pcm: Pcm) -> Pcm:
        """Samples that are ready now; the filter keeps back a few milliseconds."""
        return pcm if self._stream is None else self._run(pcm, last=False)

    def rest(self) -> Pcm:
        """The samples kept back, at the end of the stream. The object begins anew after it."""
        if self._stream is None:
            return np.empty(0, np.int16)
        tail = self._run(np.empty(0, np.int16), last=True)
        self._stream.clear()
        return tail

    def _run(self, pcm: Pcm, *, last: bool) -> Pcm:
        return to_int16(self._stream.resample_chunk(to_float32(pcm), last=last))
