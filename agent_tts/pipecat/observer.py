"""Times every interruption inside a Pipecat pipeline, stage by stage. Watches frames, changes none.

Each stage is told when it is seen (`on_moment`), and those of one interruption together are a row of the ledger. A row
comes without the two ends that a pipeline cannot see, the caller's onset and the silence at the caller's ear; who
records the call adds them with dataclasses.replace().
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport

from agent_tts.engine import AbortAck
from agent_tts.metrics import BargeInRow, Ledger
from agent_tts.pipecat.service import AgentTTSService
from agent_tts.types import TtsMetrics

SETTLE_S = 0.25
"""A row is complete so long after the decision, when the pipeline shows that time has passed."""

SAME_EVENT_S = 0.02
SUSPECTED_WITHIN_S = 2.0
ACTED_WITHIN_S = 1.0
"""An interruption that comes so soon after the policy's decision is that decision."""

_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, on time.monotonic().

    Attributes:
        name: Of a barge-in: suspicion, duck (the output is held), resumed, vad, decision, abort, released, last_frame,
            cleared. Of the agent: speaking, listening.
        utterance_id: With abort and released.
        metrics: With released.
        played_ms: With cleared: how much of the reply the transport has played.
    """

    name: str
    at_s: float
    utterance_id: str | None = None
    metrics: TtsMetrics | None = None
    played_ms: float | None = None


class InterruptionLatencyObserver(BaseObserver):
    """Collects a ledger of interruptions: suspicion, VAD, decision, abort, release, last frame, transport cleared.

    Event handlers:

    - on_moment(observer, moment): a stage was seen, also of a suspicion that came to nothing.
    - on_interruption(observer, row): a row is complete. Only interruptions that cut speech off make a row.
    """

    def __init__(self, service: AgentTTSService, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ledger = Ledger()
        self._service = service
        self._offset_s: float | None = None
        self._suspicion_s: float | None = None
        self._vad_s: float | None = None
        self._decision_s: float | None = None
        self._cleared_s: float | None = None
        self._last_written_s: float | None = None
        self._pushed: list[tuple[float, str]] = []
        self._aborted: dict[str, tuple[AbortAck, TtsMetrics]] = {}
        self._policy_decision_s: float | None = None
        self._played_ms = 0.0
        self._telling: set[asyncio.Task[None]] = set()
        self._register_event_handler("on_moment")
        self._register_event_handler("on_interruption")
        service.add_event_handler("on_utterance_aborted", self._on_aborted)

    def note_moment(self, name: str, at_s: float) -> None:
        """For PipecatBargeIn(on_moment=...): what the policy saw and did belongs to the stages as well."""
        match name:
            case "suspicion" if self._decision_s is None:
                self._suspicion_s = at_s
            case "resumed":
                self._suspicion_s = None  # it was none
            case "decision":
                self._policy_decision_s = at_s
        self._tell(Moment(name, at_s))

    async def on_push_frame(self, data: FramePushed) -> None:
        now_s = self._monotonic_s(data.timestamp)
        if self._decision_s is not None and now_s > self._decision_s + SETTLE_S:
            await self._complete()
        frame = data.frame
        if isinstance(frame, OutputAudioRawFrame):
            self._note_audio(frame, data, now_s)
        elif isinstance(frame, InterruptionFrame) and data.first_push:
            await self._note_decision(now_s)
        elif data.first_push and data.direction is FrameDirection.DOWNSTREAM:  # a twin of it goes upstream
            self._note_state(frame, now_s)
        if isinstance(frame, EndFrame | CancelFrame) and self._decision_s is not None:
            await self._complete()

    def _monotonic_s(self, pipeline_ns: int) -> float:
        """The pipeline's clock as time.monotonic(). Observers run late by a varying bit; the smallest lag counts."""
        offset_s = time.monotonic() - pipeline_ns * _NS
        self._offset_s = offset_s if self._offset_s is None else min(offset_s, self._offset_s)
        return pipeline_ns * _NS + self._offset_s

    def _note_audio(self, frame: OutputAudioRawFrame, data: FramePushed, now_s: float) -> None:
        if isinstance(data.source, BaseOutputTransport) and data.direction is FrameDirection.DOWNSTREAM:
            samples = len(frame.audio) // (2 * frame.num_channels)
            self._played_ms += 1000 * samples / frame.sample_rate
            if self._cleared_s is None or self._last_written_s is None or now_s < self._cleared_s + SETTLE_S:
                self._last_written_s = now_s
        elif data.source is self._service and isinstance(frame, TTSAudioRawFrame) and self._decision_s is not None:
            self._pushed.append((now_s, frame.context_id or ""))

    async def _note_decision(self, now_s: float) -> None:
        """An interruption travels as two frames, up and down; speech in between makes the second one a new event."""
        spoken_since = any(name not in self._aborted for _, name in self._pushed)
        if self._decision_s is not None and now_s > self._decision_s + SAME_EVENT_S and spoken_since:
            await self._complete()
        if self._decision_s is None:
            policy_s, self._policy_decision_s = self._policy_decision_s, None
            ours = policy_s is not None and policy_s <= now_s < policy_s + ACTED_WITHIN_S
            self._decision_s = policy_s if ours else now_s
            self._cleared_s = None
            self._pushed.clear()
            if not ours:
                self._tell(Moment("decision", now_s))

    def _note_state(self, frame: Frame, now_s: float) -> None:
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._vad_s = now_s
            self._tell(Moment("vad", now_s))
        elif isinstance(frame, BotStartedSpeakingFrame):
            self._played_ms = 0.0
            self._tell(Moment("speaking", now_s))
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._note_silence(now_s)

    def _note_silence(self, now_s: float) -> None:
        if self._decision_s is not None and self._cleared_s is None:
            self._cleared_s = now_s
            self._tell(Moment("cleared", now_s, played_ms=self._played_ms))
        self._tell(Moment("listening", now_s))

    async def _on_aborted(self, service: AgentTTSService, context_id: str, ack: AbortAck, metrics: TtsMetrics) -> None:
        self._aborted[context_id] = (ack, metrics)
        self._tell(Moment("abort", ack.called_at, metrics.utterance_id))
        self._tell(Moment("released", _released_s(ack, metrics), metrics.utterance_id, metrics))

    def _tell(self, moment: Moment) -> None:
        """Without waiting: a slow listener must not delay what is timed."""
        telling = asyncio.create_task(self._call_event_handler("on_moment", moment))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _complete(self) -> None:
        """Turn what was seen into rows: one for each utterance that was aborted, or one when all had been generated."""
        decision_s, vad_s = self._decision_s, self._vad_s
        if decision_s is not None and vad_s is not None and vad_s > decision_s:
            vad_s = None  # decided on words, before the VAD
        suspicion_s = self._suspicion_s
        if decision_s is None or suspicion_s is None or suspicion_s < decision_s - SUSPECTED_WITHIN_S:
            suspicion_s = None
        cut = self._cleared_s is not None or bool(self._aborted)
        if cut and self._last_written_s is not None:
            self._tell(Moment("last_frame", self._last_written_s))
        base = BargeInRow(
            "",
            suspicion_s=suspicion_s,
            vad_s=vad_s,
            decision_s=decision_s,
            cleared_s=self._cleared_s,
            last_frame_s=self._last_written_s,
        )
        rows = [self._row(base, context_id, *item) for context_id, item in self._aborted.items()]
        self._decision_s = self._vad_s = self._suspicion_s = self._cleared_s = self._last_written_s = None
        self._aborted = {}
        for row in rows or ([base] if cut else []):
            self.ledger.add(row)
            await self._call_event_handler("on_interruption", row)

    def _row(self, base: BargeInRow, context_id: str, ack: AbortAck, metrics: TtsMetrics) -> BargeInRow:
        # A decision is seen when its frame leaves; the same frame may have reached the service in that moment.
        decision_s = base.decision_s if base.decision_s is None else min(base.decision_s, ack.called_at)
        return replace(
            base,
            utterance_id=metrics.utterance_id,
            vad_s=None if base.vad_s is None or decision_s is None else min(base.vad_s, decision_s),
            decision_s=decision_s,
            abort_s=ack.called_at,
            released_s=_released_s(ack, metrics),
            generated_ms=metrics.generated_audio_ms,
            delivered_ms=metrics.delivered_audio_ms,
            frames_wasted=metrics.frames_wasted,
            stale_frames=sum(1 for at_s, name in self._pushed if name == context_id and at_s > ack.called_at),
        )


def _released_s(ack: AbortAck, metrics: TtsMetrics) -> float:
    return ack.called_at + (metrics.cancellation_latency_ms or 0.0) / 1000
