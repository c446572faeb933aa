"""The barge-in policy on a Pipecat pipeline: pause at the first sign of speech, then end the reply or go on.

    transport.input() ─▶ listener ─▶ ... user aggregator (VAD, words) ─▶ ... ─▶ transport.output()
                            │ suspicion            │ turn_start                        ▲ hold, release, drop
                            └──────────▶ BargeIn (the policy) ─────────────────────────┘ output_filter

It puts parts together: the onset test is agent_tts.audio.onset, the decision agent_tts.barge_in.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start.base_user_turn_start_strategy import BaseUserTurnStartStrategy

from agent_tts.audio.onset import SAMPLE_RATE, Activity, OnsetDetector, Silero
from agent_tts.audio.resample import Resampler
from agent_tts.barge_in import HEARD, Action, BargeIn, Event, State, is_backchannel, policy_of
from agent_tts.errors import ConfigError
from agent_tts.pipecat.hold import HoldFilter
from agent_tts.pipecat.service import AgentTTSService
from agent_tts.types import Pcm

OnMoment = Callable[[str, float], None]
"""Told `suspicion`, `duck`, `resumed` and `decision`, with time.monotonic()."""


class PipecatBargeIn:
    """What a pipeline needs for our barge-in policy; each part goes to its place.

    barge_in = PipecatBargeIn(tts, preset="selective")
    TransportParams(..., audio_out_10ms_chunks=2, audio_out_filter=barge_in.output_filter)
    UserTurnStrategies(start=[barge_in.turn_start], ...)
    Pipeline([transport.input(), barge_in.listener, ...])
    """

    def __init__(
        self,
        service: AgentTTSService,
        *,
        preset: str = "selective",
        on_moment: OnMoment = lambda name, at_s: None,
    ) -> None:
        """Create the parts.

        Args:
            service: Speaks; is paused with the output.
            preset: "immediate": pause at the first sign of speech, end the reply when the VAD agrees. "selective":
                pause likewise, end it when the caller goes on or says something, go on after backchannels and noise.
            on_moment: Told of the moments the barge-in ledger has columns for.
        """
        policy = policy_of(preset)
        if policy is None:
            raise ConfigError(f"With the preset {preset!r} Pipecat decides alone: leave PipecatBargeIn out.")
        self.policy = BargeIn(policy)
        self.output_filter = HoldFilter()
        self.turn_start = BargeInTurnStart(self)
        self.listener = BargeInListener(self)
        self._service = service
        self._on_moment = on_moment
        self._timer: asyncio.TimerHandle | None = None

    def handle(self, event: Event, words: str = "") -> Action | None:
        """Feed the policy and do at once what it says. COMMIT is left to the caller, who can start the turn."""
        action = self.policy.handle(event, time.monotonic(), words)
        match action:
            case Action.PAUSE:
                self.note("duck")
                self.output_filter.hold()
                self._service.pause()
            case Action.RESUME:
                self.note("resumed")
                self._service.resume()
                self.output_filter.release()
            case Action.COMMIT:
                self.note("decision")
                self.output_filter.drop()
        self._set_timer()
        return action

    def agent_stopped(self) -> None:
        """The transport has nothing more to say: the next reply must be heard."""
        self.handle(Event.AGENT_STOPPED)
        self._service.resume()
        self.output_filter.release()

    def note(self, name: str) -> None:
        self._on_moment(name, time.monotonic())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.output_filter.release()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake_s := self.policy.wakes_at_s) is not None:
            delay_s = max(0.0, wake_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.decide, Event.TICK)

    def decide(self, event: Event) -> None:
        """Feed the policy from outside a frame; a COMMIT starts the caller's turn."""
        if self.handle(event) is Action.COMMIT:
            self.turn_start.begin_soon()


class BargeInTurnStart(BaseUserTurnStartStrategy):  # type: ignore[no-untyped-call]
    """Starts the caller's turn: at once while the agent is silent, when the policy says so while it speaks."""

    def __init__(self, owner: PipecatBargeIn) -> None:
        super().__init__()
        self._owner = owner
        self._began_over_speech = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        owner = self._owner
        starts = False
        if isinstance(frame, BotStartedSpeakingFrame):
            owner.handle(Event.AGENT_STARTED)
        elif isinstance(frame, BotStoppedSpeakingFrame):
            owner.agent_stopped()
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self._began_over_speech = owner.policy.state not in (State.IDLE, State.COMMITTED)
            starts = owner.handle(Event.SPEECH_STARTED) is Action.COMMIT or not self._began_over_speech
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            owner.handle(Event.SPEECH_ENDED)
        elif isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            starts = await self._words(frame)
        if starts:
            await self.trigger_user_turn_started()
        return ProcessFrameResult.STOP if starts else ProcessFrameResult.CONTINUE

    async def _words(self, frame: TranscriptionFrame | InterimTranscriptionFrame) -> bool:
        """Whether these words start a turn.

        A backchannel that was let pass must not open the next question, nor must what somebody far away has said.
        """
        over_speech = self._owner.policy.state not in (State.IDLE, State.COMMITTED)
        settled = isinstance(frame, TranscriptionFrame)
        if self._owner.handle(Event.WORDS if settled else Event.PARTIAL_WORDS, frame.text) is Action.COMMIT:
            return True
        far = self._owner.listener.knows_caller and self._owner.policy.only_far
        passed = far or (is_backchannel(frame.text) and self._began_over_speech)
        if settled and passed and self._owner.policy.state is not State.COMMITTED:
            await self.trigger_reset_aggregation()  # type: ignore[no-untyped-call]
            return False
        return not over_speech and not passed

    def begin_soon(self) -> None:
        """Start the turn from outside a frame: time has decided."""
        task = asyncio.get_running_loop().create_task(self.trigger_user_turn_started(), name="agent_tts.turn_start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class BargeInListener(FrameProcessor):
    """Hears the caller before the VAD does. Passes every frame on first; computes in a thread of its own."""

    def __init__(self, owner: PipecatBargeIn) -> None:
        super().__init__()
        self._owner = owner
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agent_tts.onset")
        self._detector: OnsetDetector | None = None
        self._resampler: Resampler | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            loop = asyncio.get_running_loop()
            pcm = np.frombuffer(frame.audio, np.int16)[:: frame.num_channels].copy()
            self._thread.submit(self._listen, pcm, frame.sample_rate).add_done_callback(
                lambda found: loop.call_soon_threadsafe(self._report, found)
            )

    @property
    def knows_caller(self) -> bool:
        """The caller's usual level has been heard; before, what is far is a guess."""
        return self._detector is not None and self._detector.knows_caller

    async def cleanup(self) -> None:
        await super().cleanup()  # type: ignore[no-untyped-call]
        self._owner.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _listen(self, pcm: Pcm, sample_rate: int) -> list[Activity]:
        if self._detector is None:
            model = importlib.resources.files("pipecat.audio.vad.data") / "silero_vad.onnx"
            self._detector = OnsetDetector(Silero(str(model)))
        if self._resampler is None or self._resampler.from_rate != sample_rate:
            self._resampler = Resampler(sample_rate, SAMPLE_RATE)
        self._detector.agent_speaks = self._owner.policy.state is not State.IDLE
        return self._detector.push(self._resampler.push(pcm))

    def _report(self, found: Future[list[Activity]]) -> None:
        if found.cancelled():
            return
        for activity in found.result():
            if activity is Activity.STARTED:
                self._owner.note("suspicion")
            self._owner.decide(HEARD[activity])
