"""Listens to the caller in front of the session's VAD. Passes every frame on as it came; computes in its own thread."""

from __future__ import annotations

import asyncio
import importlib.resources
import importlib.util
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from agent_tts.audio.onset import SAMPLE_RATE, Activity, OnsetDetector, Silero
from agent_tts.audio.resample import Resampler
from agent_tts.types import Pcm


class CallerTap(io.AudioInput):
    """The session's audio input with an onset test beside it.

    Args:
        source: The input to listen to.
        on_activity: Called on the event loop when activity starts, grows or ends.

    Attributes:
        agent_speaks: Set by the owner: the caller's usual level is not learned meanwhile.
    """

    def __init__(self, source: io.AudioInput, on_activity: Callable[[Activity], None]) -> None:
        super().__init__(label="agent_tts.CallerTap", source=source)
        self.agent_speaks = False
        self._on_activity = on_activity
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agent_tts.onset")
        self._detector: OnsetDetector | None = None
        self._resampler: Resampler | None = None

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await super().__anext__()
        loop = asyncio.get_running_loop()
        pcm = np.frombuffer(frame.data, np.int16)[:: frame.num_channels].copy()
        self._thread.submit(self._listen, pcm, frame.sample_rate).add_done_callback(
            lambda found: loop.call_soon_threadsafe(self._report, found)
        )
        return frame

    @property
    def knows_caller(self) -> bool:
        """The caller's usual level has been heard; before, what is far is a guess."""
        return self._detector is not None and self._detector.knows_caller

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- on the tap's thread ------------------------------------------------------------------------------------------

    def _listen(self, pcm: Pcm, sample_rate: int) -> list[Activity]:
        if self._detector is None:
            self._detector = OnsetDetector(_silero())
        if self._resampler is None or self._resampler.from_rate != sample_rate:
            self._resampler = Resampler(sample_rate, SAMPLE_RATE)
        self._detector.agent_speaks = self.agent_speaks
        return self._detector.push(self._resampler.push(pcm))

    # -- on the event loop --------------------------------------------------------------------------------------------

    def _report(self, found: Future[list[Activity]]) -> None:
        if not found.cancelled():
            for activity in found.result():
                self._on_activity(activity)


def knows_speech() -> bool:
    """Whether LiveKit's Silero plugin is installed, so that the tap can tell speech from other sounds."""
    return importlib.util.find_spec("livekit.plugins.silero") is not None


def _silero() -> Silero | None:
    """The model from that plugin; without it the level alone decides."""
    if not knows_speech():
        return None
    model = importlib.resources.files("livekit.plugins.silero.resources") / "silero_vad.onnx"
    with importlib.resources.as_file(model) as path:
        return Silero(path)
