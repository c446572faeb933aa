"""One event of a call, judged: the ledger row, what was leaked, lost or stale, and findings by name. All pure.

Findings are names, so that a broken agent is caught by what is broken in it. Definitions: evals/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_tts.metrics import BargeInRow
from evals.events import FRAME_MS, EarTrack, EventRecord, ReplyTrace
from evals.metrics_audio import Span, audible_ms, audible_spans
from evals.metrics_text import heard_text_error, lost_words

WINDOW_MS = 2_000.0
"""A true interruption after which the agent is still audible this much later was missed."""
LATE_MS = 200.0
"""Most that may lie between the decision and silence at the ear, besides what the transport holds."""
EPISODE_GAP_FRAMES = 5
TOLERANCE_MS = 2.0 * FRAME_MS
MIN_STALE_MS = 5.0


@dataclass(frozen=True, slots=True)
class EventResult:
    """What one event came to.

    Attributes:
        outcome: yielded, missed, kept, ducked or stopped.
        penalty_ms: This event's part of the average penalty time.
        findings: Names of what was wrong; empty when nothing was.
    """

    key: str
    scenario: str
    kind: str
    expect: str
    outcome: str
    row: BargeInRow
    penalty_ms: float
    dip_ms: float
    leaked_words: int
    lost_words: int
    lost_ms: float
    repeated_ms: float
    heard_text_error: int | None
    underruns: int
    neighbour_underruns: int | None
    findings: tuple[str, ...] = field(default=())

    @property
    def correct(self) -> bool:
        return self.outcome == "yielded" if self.expect == "yield" else self.outcome in ("kept", "ducked")


def judge(event: EventRecord) -> EventResult:
    """All figures of one event."""
    heard = _Heard(event)
    outcome = _outcome(event, heard)
    dip_ms = _dip_ms(event)
    lost = len(lost_words(event.reply.text, heard.words)) if event.reply.words else 0
    claimed = event.reply.claimed
    error = None if claimed is None or not event.reply.words else heard_text_error(claimed, heard.words)
    lost_ms, repeated_ms = media_faults(event.ear, event.reply)
    row = _row(event, heard, outcome)
    return EventResult(
        key=event.key,
        scenario=event.scenario,
        kind=event.kind,
        expect=event.expect,
        outcome=outcome,
        row=row,
        penalty_ms=_penalty_ms(event, outcome, row, dip_ms),
        dip_ms=dip_ms,
        leaked_words=heard.leaked_words,
        lost_words=lost,
        lost_ms=lost_ms,
        repeated_ms=repeated_ms,
        heard_text_error=error,
        underruns=heard.underruns,
        neighbour_underruns=event.neighbour_underruns,
        findings=_findings(event, heard, outcome, row, lost, error, (lost_ms, repeated_ms)),
    )


def media_faults(ear: EarTrack, reply: ReplyTrace) -> tuple[float, float]:
    """Media time that the ear skipped inside what it heard of a reply, and that it heard twice, ms."""
    expected, lost, repeated = 0, 0, 0
    for frame in ear.frames:
        if frame.reply_id != reply.reply_id:
            continue
        lost += max(0, frame.media_start - expected)
        repeated += max(0, expected - frame.media_start)
        expected = max(expected, frame.media_start + len(frame.pcm))
    return 1000 * lost / ear.sample_rate, 1000 * repeated / ear.sample_rate


class _Heard:
    """What the ear recorded of the reply that was spoken over, on the loop's clock."""

    def __init__(self, event: EventRecord) -> None:
        ear, reply = event.ear, event.reply
        self.reference_s = event.moments.decision_s or event.onset_s
        self.spans = _spans_s(ear, reply.reply_id)
        indexes = [index for index, frame in enumerate(ear.frames) if frame.reply_id == reply.reply_id]
        ended_s = ear.at_s(len(ear.frames))
        self.leak_end_s = ended_s if reply.abort_s is None else self._end_of_leak(ear, indexes)
        self.sounding = [span for span in self.spans if span.start_ms < 1000 * self.leak_end_s]
        self.silence_s = max((min(span.end_ms / 1000, self.leak_end_s) for span in self.sounding), default=None)
        stale = audible_ms(self.spans, start_ms=1000 * self.leak_end_s) if event.reply.abort_s is not None else 0.0
        self.stale_ms = stale if stale >= MIN_STALE_MS else 0.0
        self.underruns = sum(moment < self.leak_end_s for moment in ear.underruns_s)
        heard = [(ear.at_s(index), ear.frames[index].media_start) for index in indexes]
        played = {start // _frame_samples(ear) for _, start in heard}
        self.words = [word.text for word in reply.words if _covered(word.start_ms, word.end_ms, played)]
        begun = {start // _frame_samples(ear): at_s for at_s, start in reversed(heard)}
        self.leaked_words = sum(
            begun.get(int(word.start_ms // FRAME_MS), -1.0) > self.reference_s for word in reply.words
        )

    def audible_after_ms(self, moment_s: float | None) -> float | None:
        if moment_s is None:
            return None
        return audible_ms(self.spans, start_ms=1000 * moment_s, end_ms=1000 * self.leak_end_s)

    def _end_of_leak(self, ear: EarTrack, indexes: list[int]) -> float:
        """End of the run of this reply's frames that was under way at the decision; later ones are stale."""
        limit_s = self.reference_s + TOLERANCE_MS / 1000
        before = [index for index in indexes if ear.at_s(index) <= limit_s]
        if not before:
            return self.reference_s
        last = before[-1]
        if ear.at_s(last + EPISODE_GAP_FRAMES) < self.reference_s:
            return ear.at_s(last + 1)
        for index in indexes:
            if last < index <= last + EPISODE_GAP_FRAMES:
                last = index
        return ear.at_s(last + 1)


def _outcome(event: EventRecord, heard: _Heard) -> str:
    if event.expect == "yield":
        limit_ms = 1000 * event.onset_s + WINDOW_MS
        return "missed" if audible_ms(heard.sounding, start_ms=limit_ms) else "yielded"
    if event.reply.abort_s is not None:
        return "stopped"
    return "ducked" if event.moments.dip_s is not None else "kept"


def _dip_ms(event: EventRecord) -> float:
    dip_s, restored_s = event.moments.dip_s, event.moments.restored_s
    return 0.0 if dip_s is None or restored_s is None else 1000 * (restored_s - dip_s)


def _penalty_ms(event: EventRecord, outcome: str, row: BargeInRow, dip_ms: float) -> float:
    if outcome in ("missed", "stopped"):
        return WINDOW_MS
    if event.expect == "absent":
        return min(dip_ms, WINDOW_MS)
    return min(max(0.0, row.since_onset_ms("silence_s") or 0.0), WINDOW_MS)


def _row(event: EventRecord, heard: _Heard, outcome: str) -> BargeInRow:
    reply, moments, facts = event.reply, event.moments, event.reply.facts
    silence_s = heard.silence_s
    if outcome != "yielded" or silence_s is None or silence_s < event.onset_s:
        silence_s = None
    next_audio_s = _first_audio_s(event.ear, event.next_reply)
    ordered = next_audio_s is not None and (silence_s is None or next_audio_s >= silence_s)
    moments_s = {"onset_s": event.onset_s, "decision_s": moments.decision_s, "abort_s": reply.abort_s}
    leaked = {name: value for name, at_s in moments_s.items() if (value := heard.audible_after_ms(at_s)) is not None}
    heard_ms = sum(len(f.pcm) for f in event.ear.frames if f.reply_id == reply.reply_id) * 1000 / event.ear.sample_rate
    return BargeInRow(
        utterance_id=reply.reply_id,
        kind=event.kind,
        onset_s=event.onset_s,
        suspicion_s=_not_before(moments.suspicion_s, event.onset_s),
        duck_s=_not_before(moments.dip_s, event.onset_s),
        vad_s=_not_before(moments.vad_s, event.onset_s),
        decision_s=_not_before(moments.decision_s, event.onset_s),
        abort_s=_not_before(reply.abort_s, event.onset_s),
        released_s=reply.released_s if reply.abort_s is not None else None,
        last_frame_s=reply.last_frame_s,
        cleared_s=moments.cleared_s,
        silence_s=silence_s,
        next_audio_s=next_audio_s if ordered else None,
        generated_ms=facts.get("generated_ms"),
        delivered_ms=facts.get("delivered_ms"),
        heard_ms=heard_ms,
        frames_wasted=int(facts.get("frames_wasted") or 0),
        stale_frames=reply.stale_frames,
        stale_ms=heard.stale_ms,
        next_ttfa_ms=_since_ms(event.next_reply.first_text_s if event.next_reply else None, next_audio_s),
        leaked_ms=leaked,
    )


def _findings(
    event: EventRecord,
    heard: _Heard,
    outcome: str,
    row: BargeInRow,
    lost: int,
    text_error: int | None,
    media: tuple[float, float],
) -> tuple[str, ...]:
    decision_s, silence_s = event.moments.decision_s, row.silence_s
    slow = (
        decision_s is not None
        and silence_s is not None
        and 1000 * (silence_s - decision_s) > LATE_MS + event.transport_ms
    )
    found = {
        "missed_interruption": outcome == "missed",
        "late_stop": slow and outcome == "yielded",
        "false_stop": outcome == "stopped",
        "stale_frames": event.reply.stale_frames > 0,
        "stale_audio": heard.stale_ms > 0,
        "lost_word": lost > 0,
        "lost_audio": media[0] > 0,
        "repeated_audio": media[1] > 0,
        "heard_text_wrong": text_error is not None and text_error > 1,
        "underrun": heard.underruns > 0,
        "not_released": event.reply.abort_s is not None and event.reply.released_s is None,
        "no_next_reply": event.next_reply is not None and _first_audio_s(event.ear, event.next_reply) is None,
        "failed_reply": event.reply.error is not None,
    }
    return tuple(name for name, wrong in found.items() if wrong)


def _first_audio_s(ear: EarTrack, reply: ReplyTrace | None) -> float | None:
    spans = _spans_s(ear, reply.reply_id) if reply is not None and reply.reply_id else []
    return spans[0].start_ms / 1000 if spans else None


def _spans_s(ear: EarTrack, reply_id: str) -> list[Span]:
    """Audible spans of one reply in ms of the loop's clock."""
    offset_ms = 1000 * ear.begin_s
    spans = audible_spans(ear.of_reply(reply_id), ear.sample_rate)
    return [Span(offset_ms + span.start_ms, offset_ms + span.end_ms) for span in spans]


def _covered(start_ms: float, end_ms: float, played: set[int]) -> bool:
    """Whether every frame was heard that holds a part of the word."""
    frames: Sequence[int] = range(int(start_ms // FRAME_MS), math.ceil(end_ms / FRAME_MS - 1e-6))
    return bool(frames) and all(frame in played for frame in frames)


def _frame_samples(ear: EarTrack) -> int:
    return ear.sample_rate * FRAME_MS // 1000


def _not_before(moment_s: float | None, onset_s: float) -> float | None:
    return moment_s if moment_s is not None and moment_s >= onset_s else None


def _since_ms(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else 1000 * (end_s - start_s)
