"""Times every interruption inside a Pipecat pipeline, stage by stage. Watches frames, changes none.

Rows come without the two ends that a pipeline cannot see, the caller's onset and the silence at the caller's ear; who
records the call adds them with dataclasses.replace().
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from pipecat.frames.frames import (
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

_NS = 1e-9


class InterruptionLatencyObserver(BaseObserver):
    """Collects a ledger of interruptions: VAD, decision, abort, release, last frame written, transport cleared.

    Event handlers:

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
        self._register_event_handler("on_interruption")
        service.add_event_handler("on_utterance_aborted", self._on_aborted)

    def note_moment(self, name: str, at_s: float) -> None:
        """For PipecatBargeIn(on_moment=...): the suspicion belongs into the row as well."""
        if name == "suspicion" and self._decision_s is None:
            self._suspicion_s = at_s

    async def on_push_frame(self, data: FramePushed) -> None:
        now_s = self._monotonic_s(data.timestamp)
        if self._decision_s is not None and now_s > self._decision_s + SETTLE_S:
            await self._complete()
        frame = data.frame
        if isinstance(frame, OutputAudioRawFrame):
            self._note_audio(frame, data, now_s)
        elif data.first_push and isinstance(frame, VADUserStartedSpeakingFrame):
            self._vad_s = now_s
        elif data.first_push and isinstance(frame, InterruptionFrame):
            await self._note_decision(now_s)
        elif isinstance(frame, BotStoppedSpeakingFrame):
            if self._decision_s is not None and self._cleared_s is None:
                self._cleared_s = now_s
        elif isinstance(frame, EndFrame | CancelFrame) and self._decision_s is not None:
            await self._complete()

    def _monotonic_s(self, pipeline_ns: int) -> float:
        """The pipeline's clock as time.monotonic(). Observers run late by a varying bit; the smallest lag counts."""
        offset_s = time.monotonic() - pipeline_ns * _NS
        self._offset_s = offset_s if self._offset_s is None else min(offset_s, self._offset_s)
        return pipeline_ns * _NS + self._offset_s

    def _note_audio(self, frame: Frame, data: FramePushed, now_s: float) -> None:
        if isinstance(data.source, BaseOutputTransport) and data.direction is FrameDirection.DOWNSTREAM:
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
            self._decision_s = now_s
            self._cleared_s = None
            self._pushed.clear()

    async def _on_aborted(self, service: AgentTTSService, context_id: str, ack: AbortAck, metrics: TtsMetrics) -> None:
        self._aborted[context_id] = (ack, metrics)

    async def _complete(self) -> None:
        """Turn what was seen into rows: one for each utterance that was aborted, or one when all had been generated."""
        decision_s, vad_s = self._decision_s, self._vad_s
        if decision_s is not None and vad_s is not None and vad_s > decision_s:
            vad_s = None  # decided on words, before the VAD
        suspicion_s = self._suspicion_s
        if decision_s is None or suspicion_s is None or suspicion_s < decision_s - SUSPECTED_WITHIN_S:
            suspicion_s = None
        cut = self._cleared_s is not None or bool(self._aborted)
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
        released_s = ack.called_at + (metrics.cancellation_latency_ms or 0.0) / 1000
        # A decision is seen when its frame leaves; the same frame may have reached the service in that moment.
        decision_s = base.decision_s if base.decision_s is None else min(base.decision_s, ack.called_at)
        return replace(
            base,
            utterance_id=metrics.utterance_id,
            vad_s=None if base.vad_s is None or decision_s is None else min(base.vad_s, decision_s),
            decision_s=decision_s,
            abort_s=ack.called_at,
            released_s=released_s,
            generated_ms=metrics.generated_audio_ms,
            delivered_ms=metrics.delivered_audio_ms,
            frames_wasted=metrics.frames_wasted,
            stale_frames=sum(1 for at_s, name in self._pushed if name == context_id and at_s > ack.called_at),
        )
