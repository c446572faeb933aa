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

import numpy as np
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    TranscriptionFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start.base_user_turn_start_strategy import BaseUserTurnStartStrategy

from agent_tts.audio.onset import Activity, Silero
from agent_tts.audio.onset_listener import OnsetListener
from agent_tts.barge_in import HEARD, Action, BargeIn, Event, State, policy_of
from agent_tts.errors import ConfigError
from agent_tts.pipecat.hold import HoldFilter
from agent_tts.pipecat.service import AgentTTSService

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
        self._muted = False

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
        """The transport has nothing more to say: what is held belongs to the past, and the next reply is heard."""
        self.handle(Event.AGENT_STOPPED)
        self._service.resume()
        self.output_filter.clear()

    def mute(self, muted: bool) -> None:
        """Pipecat's user mute: as long as nobody is listened to, nobody is suspected."""
        self._muted = muted
        if muted:
            self.handle(Event.QUIET)

    def heard(self, activity: Activity) -> None:
        """What the onset test says."""
        if self._muted:
            return
        if activity is Activity.STARTED:
            self.note("suspicion")
        self.decide(HEARD[activity])

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
            self.turn_start.cut_soon()


class BargeInTurnStart(BaseUserTurnStartStrategy):  # type: ignore[no-untyped-call]
    """Starts the caller's turn: at once while the agent is silent, when the policy says so while it speaks."""

    def __init__(self, owner: PipecatBargeIn) -> None:
        super().__init__()
        self._owner = owner
        self._turn_is_open = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        owner = self._owner
        over_speech = owner.policy.state not in (State.IDLE, State.COMMITTED)
        action, starts = None, False
        if isinstance(frame, BotStartedSpeakingFrame):
            owner.handle(Event.AGENT_STARTED)
        elif isinstance(frame, BotStoppedSpeakingFrame):
            owner.agent_stopped()
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            action, starts = owner.handle(Event.SPEECH_STARTED), not over_speech
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            owner.handle(Event.SPEECH_ENDED)
        elif isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            settled = isinstance(frame, TranscriptionFrame)
            action = owner.handle(Event.WORDS if settled else Event.PARTIAL_WORDS, frame.text)
            is_turn = not owner.policy.is_no_turn(frame.text, knows_caller=owner.listener.knows_caller)
            starts = is_turn and not over_speech
            if settled and not is_turn:  # nor may such words open the next question
                await self.trigger_reset_aggregation()  # type: ignore[no-untyped-call]
        if action is Action.COMMIT:
            await self._cut()
        elif starts:
            await self.trigger_user_turn_started()
        return ProcessFrameResult.STOP if starts or action is Action.COMMIT else ProcessFrameResult.CONTINUE

    def cut_soon(self) -> None:
        """End the reply from outside a frame: time has decided."""
        task = asyncio.get_running_loop().create_task(self._cut(), name="agent_tts.turn_start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut(self) -> None:
        """The caller's turn begins and interrupts the reply; a turn that is open already can't begin again."""
        if self._turn_is_open:
            await self.broadcast_frame(InterruptionFrame)
        else:
            await self.trigger_user_turn_started()

    async def handle_user_turn_started(self) -> None:
        self._turn_is_open = True

    async def handle_user_turn_stopped(self) -> None:
        self._turn_is_open = False


class BargeInListener(FrameProcessor):
    """Hears the caller before the VAD does. Passes every frame on first."""

    def __init__(self, owner: PipecatBargeIn) -> None:
        super().__init__()
        self._owner = owner
        self._onset = OnsetListener(_silero, owner.heard)

    @property
    def knows_caller(self) -> bool:
        """The caller's usual level has been heard; before, what is far is a guess."""
        return self._onset.knows_caller

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._onset.agent_speaks = self._owner.policy.state is not State.IDLE
            self._onset.hear(np.frombuffer(frame.audio, np.int16)[:: frame.num_channels].copy(), frame.sample_rate)
        elif isinstance(frame, UserMuteStartedFrame | UserMuteStoppedFrame):
            self._owner.mute(isinstance(frame, UserMuteStartedFrame))

    async def cleanup(self) -> None:
        await super().cleanup()  # type: ignore[no-untyped-call]
        self._owner.close()
        self._onset.close()


def _silero() -> Silero:
    """The model that Pipecat's package carries."""
    return Silero(str(importlib.resources.files("pipecat.audio.vad.data") / "silero_vad.onnx"))
