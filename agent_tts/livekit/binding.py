"""bind(session): one call that joins a running AgentSession to our engine. Puts parts together; decides nothing.

caller ─▶ CallerTap ─▶ the session's VAD, STT ...          PlayoutReporter ─▶ the session's output ─▶ caller
              │ suspicion        │ states, words             ▲ hold, release, abort
              └────────────▶ BargeIn (the policy) ───────────┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from livekit.agents import AgentSession, AgentStateChangedEvent, UserInputTranscribedEvent, UserStateChangedEvent
from livekit.agents.voice import io

from agent_tts.audio.onset import Activity
from agent_tts.barge_in import HEARD, Action, BargeIn, Event, Policy, policy_of
from agent_tts.engine import AbortAck, Utterance
from agent_tts.errors import ConfigError
from agent_tts.livekit.caller_tap import CallerTap, knows_speech
from agent_tts.livekit.playout import PlayoutReporter
from agent_tts.livekit.room_output import RoomAudioOutput
from agent_tts.types import TtsMetrics

SELECTIVE_MIN_WORDS = 3
"""So many words the framework needs to interrupt by itself in `selective`; below it, our policy decides."""


EVENTS_TOPIC = "agent_tts.events"
"""The data topic under which an agent may publish its BindingEvents, as JSON."""


@dataclass(frozen=True, slots=True)
class BindingEvent:
    """One moment of a barge-in, on time.monotonic(); the names are those of the ledger's columns."""

    name: str
    at_s: float
    utterance_id: str | None = None
    metrics: TtsMetrics | None = None
    """With `released`."""
    played_ms: float | None = None
    """With `cleared`: media time of the reply that was played."""


class Binding:
    """What bind() added to a session."""

    def __init__(
        self,
        session: AgentSession[Any],
        reporter: PlayoutReporter,
        policy: Policy | None,
        on_event: Callable[[BindingEvent], None],
    ) -> None:
        self.reporter = reporter
        self.barge_in = None if policy is None else BargeIn(policy)
        self._session = session
        self._on_event = on_event
        self._tap: CallerTap | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        reporter.on_abort = self._note_abort
        if policy is None:
            reporter.on_pause = lambda paused: self._note("duck" if paused else "resumed")
        reporter.on("playback_finished", self._on_playback_finished)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_words)
        session.on("close", self.close)

    def listen(self, source: io.AudioInput) -> CallerTap:
        """Put the onset test in front of the session's input."""
        self._tap = CallerTap(source, self._on_activity)
        return self._tap

    def close(self, *_: object) -> None:
        """Decide nothing more. Playout is still reported."""
        if self._timer is not None:
            self._timer.cancel()
        if self._tap is not None:
            self._tap.listener.close()
        self._session.off("agent_state_changed", self._on_agent_state)
        self._session.off("user_state_changed", self._on_user_state)
        self._session.off("user_input_transcribed", self._on_words)
        self.reporter.release()

    # -- what happens -------------------------------------------------------------------------------------------------

    def _on_activity(self, activity: Activity) -> None:
        if activity is Activity.STARTED:
            self._note("suspicion")
        self._handle(HEARD[activity])

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self._note("vad")
            self._handle(Event.SPEECH_STARTED)
        elif event.old_state == "speaking":
            self._handle(Event.SPEECH_ENDED)

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if self._tap is not None:
            self._tap.listener.agent_speaks = event.new_state == "speaking"
        if event.new_state == "speaking":
            self._handle(Event.AGENT_STARTED)
        elif event.old_state == "speaking":
            self._handle(Event.AGENT_STOPPED)
            self.reporter.release()

    def _on_words(self, event: UserInputTranscribedEvent) -> None:
        self._handle(Event.WORDS if event.is_final else Event.PARTIAL_WORDS, event.transcript)
        if event.is_final and self._is_no_turn(event.transcript):
            # LiveKit would answer such words as soon as the caller pauses, or cut the reply for three of them.
            asyncio.get_running_loop().call_soon(self._session.clear_user_turn)  # when it has added them

    def _on_playback_finished(self, event: io.PlaybackFinishedEvent) -> None:
        if event.interrupted:
            self._on_event(self._event("cleared", played_ms=1000 * event.playback_position))
        self.reporter.release()

    # -- what is done -------------------------------------------------------------------------------------------------

    def _handle(self, event: Event, words: str = "") -> None:
        if self.barge_in is None:
            return
        match self.barge_in.handle(event, time.monotonic(), words):
            case Action.PAUSE if self._interruptible:
                self._note("duck")
                self.reporter.hold()
            case Action.RESUME:
                self._note("resumed")
                self.reporter.release()
            case Action.COMMIT if self._interruptible:
                self._note("decision")
                self.reporter.hold()  # until the framework has cleared the output
                self.reporter.abort()
                self._session.interrupt()
            case Action.COMMIT:  # a tool may have forbidden it since the pause: the reply goes on
                self.reporter.release()
                self.barge_in.handle(Event.AGENT_STARTED, time.monotonic())
        self._set_timer()

    @property
    def _interruptible(self) -> bool:
        """What is said now may be interrupted. Speech of another kind can follow within one turn of the agent."""
        speech = self._session.current_speech
        return speech is not None and speech.allow_interruptions

    def _is_no_turn(self, words: str) -> bool:
        if self.barge_in is None or self._session.user_state == "speaking":
            return False  # to clear the turn would also lose what is being said
        knows_caller = self._tap is not None and self._tap.listener.knows_caller
        return self.barge_in.is_no_turn(words, knows_caller=knows_caller)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.barge_in is not None and (wake_s := self.barge_in.wakes_at_s) is not None:
            delay_s = max(0.0, wake_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._handle, Event.TICK)

    # -- what is told -------------------------------------------------------------------------------------------------

    def _note(self, name: str, at_s: float | None = None, metrics: TtsMetrics | None = None) -> None:
        event = self._event(name, metrics=metrics)
        self._on_event(event if at_s is None else replace(event, at_s=at_s))

    def _event(self, name: str, *, metrics: TtsMetrics | None = None, played_ms: float | None = None) -> BindingEvent:
        utterance = self.reporter.utterance
        identity = metrics.utterance_id if metrics else utterance.id if utterance else None
        return BindingEvent(name, time.monotonic(), identity, metrics, played_ms)

    def _note_abort(self, utterance: Utterance, ack: AbortAck) -> None:
        if self.reporter.last_captured_s is not None:
            self._note("last_frame", self.reporter.last_captured_s)
        self._note("abort", ack.called_at)
        task = asyncio.get_running_loop().create_task(self._note_release(ack), name="agent_tts.released")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note_release(self, ack: AbortAck) -> None:
        metrics = await ack.released()
        self._note("released", ack.called_at + (metrics.cancellation_latency_ms or 0.0) / 1000, metrics)


def bind(
    session: AgentSession[Any],
    *,
    preset: str = "selective",
    on_event: Callable[[BindingEvent], None] = lambda event: None,
) -> Binding:
    """Join a session that has been started to the engine that speaks in it.

    Playout is reported to the engine, so that it never runs further ahead than its lead limit, also while the output
    is paused; an interrupted reply ends in the history at the last word that was heard. And the caller's audio is
    listened to, unless the preset leaves interruptions to the framework.

    Args:
        session: Started, with an audio output; best a RoomAudioOutput, which alone can pause without a loss.
        preset: "immediate": pause at the first sign of speech, cut when the VAD agrees. "selective": pause likewise,
            cut when the caller goes on or says something, go on after backchannels and noise. "framework": as the
            session's own turn handling says.
        on_event: Told of every moment the barge-in ledger has a column for.
    """
    policy = policy_of(preset)
    output = session.output.audio
    if output is None:
        raise ConfigError("The session has no audio output yet; call bind() after session.start().")
    sink = _sink(output)
    exact = sink if isinstance(sink, RoomAudioOutput) else None
    if policy is not None:
        hears = session.input.audio is not None and knows_speech()
        policy = replace(policy, pause_on_suspicion=exact is not None, onset_test=hears)
    reporter = PlayoutReporter(output, position_s=(lambda: exact.position_s) if exact else None)
    session.output.audio = reporter
    binding = Binding(session, reporter, policy, on_event)
    if policy is not None and session.input.audio is not None:
        session.input.audio = binding.listen(session.input.audio)
    if preset == "selective" and session.options.interruption["min_words"] == 0:
        session.options.interruption["min_words"] = SELECTIVE_MIN_WORDS
    return binding


def _sink(output: io.AudioOutput) -> io.AudioOutput:
    """The output at the end of the chain, the one that plays."""
    while output.next_in_chain is not None:
        output = output.next_in_chain
    return output
