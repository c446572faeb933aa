"""The onset test beside the caller's audio: computed on a thread, told on the event loop. Knows no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from agent_tts.audio.onset import SAMPLE_RATE, Activity, OnsetDetector, SpeechProbability
from agent_tts.audio.resample import Resampler
from agent_tts.types import Pcm


class OnsetListener:
    """Listens to one caller. Everything but the computing is on the event loop.

    Args:
        load_model: Called once, on the thread: what knows speech; None = the level alone decides.
        on_activity: Told on the event loop when activity starts, grows or ends.

    Attributes:
        agent_speaks: Set by the owner: the caller's usual level is not learned meanwhile.
    """

    def __init__(
        self, load_model: Callable[[], SpeechProbability | None], on_activity: Callable[[Activity], None]
    ) -> None:
        self.agent_speaks = False
        self._load_model = load_model
        self._on_activity = on_activity
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agent_tts.onset")
        self._detector: OnsetDetector | None = None
        self._resampler: Resampler | None = None
        self._closed = False

    @property
    def knows_caller(self) -> bool:
        """The caller's usual level has been heard; before, what is far is a guess."""
        return self._detector is not None and self._detector.knows_caller

    def hear(self, pcm: Pcm, sample_rate: int) -> None:
        """Take more of the caller's audio, which must not change afterwards. Returns at once; nothing after close()."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._thread.submit(self._listen, pcm, sample_rate, self.agent_speaks).add_done_callback(
            lambda found: loop.call_soon_threadsafe(self._report, found)
        )

    def close(self) -> None:
        """Tell nothing more."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _listen(self, pcm: Pcm, sample_rate: int, agent_speaks: bool) -> list[Activity]:
        if self._detector is None:
            self._detector = OnsetDetector(self._load_model())
        if self._resampler is None or self._resampler.from_rate != sample_rate:
            self._resampler = Resampler(sample_rate, SAMPLE_RATE)
        self._detector.agent_speaks = agent_speaks
        return self._detector.push(self._resampler.push(pcm))

    def _report(self, found: Future[list[Activity]]) -> None:
        if self._closed or found.cancelled():
            return
        if found.exception() is not None:
            self.close()  # said once, by the event loop; not again for every frame
        for activity in found.result():
            self._on_activity(activity)
