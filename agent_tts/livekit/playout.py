"""Tells the engine how far the listener is. Sits in front of any LiveKit audio output; changes no sample.

    AgentSession ─▶ PlayoutReporter ─▶ transcript synchronizer ─▶ the room's output (or ours)
                        │  report_playout, pause, resume, abort
                        ▼
                    Utterance

Without it the engine assumes that everything plays in real time from its first chunk on, also while LiveKit has
paused the output for seconds to see whether an interruption was a real one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice import io

from agent_tts.engine import AbortAck, Utterance
from agent_tts.livekit.streams import UTTERANCE_KEY

REPORT_INTERVAL_S = 0.02


class PlayoutReporter(io.AudioOutput):
    """Reports playout of the utterance that is heard now, pauses it with the output, aborts it when that is cleared.

    It also ends an interrupted reply at the last word that was heard to its end, where the engine timed the words.

    Args:
        next_in_chain: The output that plays.
        position_s: Exact media time played of the current segment, for an output that knows it. None = a clock that
            starts with `playback_started`, stands still while paused and never passes what was pushed.
    """

    def __init__(
        self,
        next_in_chain: io.AudioOutput,
        *,
        position_s: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            label="agent_tts.PlayoutReporter",
            next_in_chain=next_in_chain,
            capabilities=io.AudioOutputCapabilities(pause=True),
        )
        self._now = clock
        self._exact_position_s = position_s
        self._utterance: Utterance | None = None
        self._pushed_s = 0.0
        self._played_s = 0.0
        self._running_since: float | None = None
        self._started = False
        self._paused = False
        self._held = False
        self._stopped = False
        self._aborted = False
        self.last_captured_s: float | None = None
        """When the output was last given audio of the utterance."""
        self.on_abort: Callable[[Utterance, AbortAck], None] = lambda utterance, ack: None
        self.on_pause: Callable[[bool], None] = lambda paused: None
        """Told when the framework pauses (True) and resumes."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sample_rate(self) -> int | None:
        return self.next_in_chain.sample_rate if self.next_in_chain else None

    @property
    def utterance(self) -> Utterance | None:
        """The utterance that is played now, or was last."""
        return self._utterance

    def position_s(self) -> float:
        """Media time of the current segment that has been heard."""
        if self._exact_position_s is not None:
            return self._exact_position_s()
        running = 0.0 if self._running_since is None else self._now() - self._running_since
        return min(self._played_s + running, self._pushed_s)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        utterance = frame.userdata.get(UTTERANCE_KEY)
        if utterance is not None and utterance is not self._utterance:
            self._begin(utterance)
        self._pushed_s += frame.duration
        self.last_captured_s = self._now()
        assert self.next_in_chain is not None
        await self.next_in_chain.capture_frame(frame)

    def flush(self) -> None:
        super().flush()
        assert self.next_in_chain is not None
        self.next_in_chain.flush()

    def clear_buffer(self) -> None:
        """What is cleared is never heard: the engine is told before the framework gets round to cancel the stream."""
        self.abort()
        assert self.next_in_chain is not None
        self.next_in_chain.clear_buffer()

    def abort(self) -> None:
        """End the utterance in the engine; what the output still holds is not touched."""
        if self._utterance is not None and not self._aborted:
            self._aborted = True
            self.on_abort(self._utterance, self._utterance.abort())

    def pause(self) -> None:
        """The framework's pause."""
        self._paused = True
        self._apply_pause()
        self.on_pause(True)

    def resume(self) -> None:
        was, self._paused = self._paused, False
        self._apply_pause()
        if was:
            self.on_pause(False)

    def hold(self) -> None:
        """Our own pause, beside the framework's: audio goes on when neither holds it."""
        self._held = True
        self._apply_pause()

    def release(self) -> None:
        self._held = False
        self._apply_pause()

    def on_playback_started(self, *, created_at: float) -> None:
        super().on_playback_started(created_at=created_at)
        self._started = True
        if not self._stopped:
            self._running_since = self._now()
        self._report()

    def on_playback_finished(
        self, *, playback_position: float, interrupted: bool, synchronized_transcript: str | None = None
    ) -> None:
        if self._utterance is not None:
            self._utterance.report_playout(1000 * playback_position)
            if interrupted and self._utterance.words:
                synchronized_transcript = self._utterance.heard_text(1000 * playback_position)
        self._end()
        super().on_playback_finished(
            playback_position=playback_position,
            interrupted=interrupted,
            synchronized_transcript=synchronized_transcript,
        )

    def on_detached(self) -> None:
        self._end()
        super().on_detached()

    # -- the clock ----------------------------------------------------------------------------------------------------

    def _apply_pause(self) -> None:
        if (wanted := self._paused or self._held) == self._stopped:
            return
        self._stopped = wanted
        if wanted:
            self._settle()
        elif self._started:
            self._running_since = self._now()
        if self._utterance is not None:
            (self._utterance.pause if wanted else self._utterance.resume)()
        (super().pause if wanted else super().resume)()

    def _begin(self, utterance: Utterance) -> None:
        self._end()
        self._utterance = utterance
        self._aborted = False
        utterance.report_playout(0.0)  # from here on the engine assumes nothing
        if self._stopped:
            utterance.pause()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._running_since = None
        self._pushed_s = self._played_s = 0.0
        self._started = False

    def _settle(self) -> None:
        """Stop the clock where it stands."""
        self._played_s = self.position_s()
        self._running_since = None

    def _report(self) -> None:
        """Report now and again in 20 ms: the engine waits for these reports, frames come only after them."""
        if self._utterance is None:
            return
        if self._running_since is not None:
            self._settle()
            self._running_since = self._now()
        self._utterance.report_playout(1000 * self.position_s())
        self._timer = asyncio.get_running_loop().call_later(REPORT_INTERVAL_S, self._report)
