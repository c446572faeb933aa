"""One event of a call, judged: the ledger row, its outcome, its penalty, and findings by name. All pure.

Findings are names, so that a broken agent is caught by what is broken in it. Definitions: evals/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent_tts.metrics import BargeInRow
from evals.calls.events import EventRecord
from evals.metrics.audio import audible_ms
from evals.metrics.ear import (
    Heard,
    first_sound_s,
    held_from_s,
    held_ms,
    is_held_at_the_end,
    media_faults,
    other_replies,
    underruns_of,
)
from evals.metrics.text import heard_text_error, lost_words

WINDOW_MS = 2_000.0
"""A true interruption after which the agent is still audible this much later was missed."""
STILL_MS = 300.0
"""Sound of the reply within this after the window is the reply that goes on, also when it had been silent between."""
LATE_MS = 200.0
"""Most that may lie between the decision and silence at the ear, besides what the transport holds."""
LATE_REPLY_MS = 1_000.0
"""Most that may lie between asking for the next reply and its first sound; only a virtual clock gates it."""
SILENT_MS = 1_000.0
"""A reply of which so much reached the ear, and nothing audible, says nothing: no voice begins with such a silence."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """What one event came to.

    Attributes:
        outcome: yielded, missed, kept, ducked or stopped.
        penalty_ms: This event's part of the average penalty time.
        dip_ms: How long a reply that should have gone on was quieter or held back at the ear.
        response_ms: End of the caller's sound -> first audible sample of the next reply.
        underruns: Stand-stills of the reply that was spoken over; `next_underruns` of the one after it.
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
    response_ms: float | None
    leaked_words: int
    lost_words: int
    lost_ms: float
    repeated_ms: float
    heard_text_error: int | None
    underruns: int
    next_underruns: int
    neighbour_underruns: int | None
    neighbour_gap_ms: float | None
    findings: tuple[str, ...] = field(default=())

    @property
    def correct(self) -> bool:
        return self.outcome == "yielded" if self.expect == "yield" else self.outcome in ("kept", "ducked")


def judge(event: EventRecord) -> EventResult:
    """All figures of one event."""
    heard, reply = Heard(event), event.reply
    outcome = _outcome(event, heard)
    dip_ms = _dip_ms(event)
    row = _row(event, heard, outcome)
    unknown = reply.claimed is None or not reply.words
    lost_ms, repeated_ms = media_faults(event.ear, reply)
    result = EventResult(
        key=event.key,
        scenario=event.scenario,
        kind=event.kind,
        expect=event.expect,
        outcome=outcome,
        row=row,
        penalty_ms=_penalty_ms(event, outcome, row, dip_ms),
        dip_ms=dip_ms,
        response_ms=_since_ms(event.caller_end_s, row.next_audio_s),
        leaked_words=heard.leaked_words,
        lost_words=len(lost_words(reply.text, heard.words, whole=reply.completed)) if reply.words else 0,
        lost_ms=lost_ms,
        repeated_ms=repeated_ms,
        heard_text_error=None if unknown else heard_text_error(reply.claimed or "", heard.words),
        underruns=heard.underruns,
        next_underruns=underruns_of(event.ear, event.next_reply),
        neighbour_underruns=event.neighbour_underruns,
        neighbour_gap_ms=event.neighbour_gap_ms,
    )
    return replace(result, findings=_findings(event, heard, result))


def _outcome(event: EventRecord, heard: Heard) -> str:
    if _stopped_before(event):
        return "stopped"
    if event.expect == "yield":
        limit_s = event.onset_s + WINDOW_MS / 1000
        goes_on = bool(audible_ms(heard.sounding, start_ms=1000 * limit_s))
        goes_on |= heard.audible_between(limit_s, limit_s + STILL_MS / 1000)
        return "missed" if goes_on or (heard.cut_off and heard.ended_s < limit_s) else "yielded"
    if event.reply.abort_s is not None or _never_restored(event):
        return "stopped"
    held = held_ms(event.ear, event.onset_s)
    dipped = event.moments.dip_s is not None if held is None else held > 0
    return "ducked" if dipped else "kept"


def _stopped_before(event: EventRecord) -> bool:
    """The agent ended the reply before the caller made a sound: it took something else for one."""
    return event.reply.abort_s is not None and event.reply.abort_s < event.onset_s


def _never_restored(event: EventRecord) -> bool:
    """A reply that should have gone on was paused or turned down, and still was when the watching ended."""
    over, moments = event.reply.abort_s is not None or event.reply.completed, event.moments
    told = event.ear.held_s is None and moments.dip_s is not None and moments.restored_s is None
    return event.expect == "absent" and not over and (told or is_held_at_the_end(event.ear))


def _dip_ms(event: EventRecord) -> float:
    """By the ear; where that cannot tell (a real line), from what the agent did and what was measured of it."""
    if event.expect != "absent":
        return 0.0
    held = held_ms(event.ear, event.onset_s)
    held = event.moments.held_ms if held is None else held
    if held is not None:
        return held
    dip_s, restored_s = event.moments.dip_s, event.moments.restored_s
    return 0.0 if dip_s is None or restored_s is None else 1000 * (restored_s - dip_s)


def _penalty_ms(event: EventRecord, outcome: str, row: BargeInRow, dip_ms: float) -> float:
    if outcome in ("missed", "stopped"):
        return WINDOW_MS
    if event.expect == "absent":
        return min(dip_ms, WINDOW_MS)
    return min(max(0.0, row.since_onset_ms("silence_s") or 0.0), WINDOW_MS)


def _row(event: EventRecord, heard: Heard, outcome: str) -> BargeInRow:
    reply, moments, facts = event.reply, event.moments, event.reply.facts
    silence_s = heard.silence_s
    if outcome != "yielded" or silence_s is None or silence_s < event.onset_s:
        silence_s = None
    next_audio_s = first_sound_s(event.ear, event.next_reply)
    ordered = next_audio_s is not None and (silence_s is None or next_audio_s >= silence_s)
    moments_s = {"onset_s": event.onset_s, "decision_s": moments.decision_s, "abort_s": reply.abort_s}
    leaked = {name: value for name, at_s in moments_s.items() if (value := heard.audible_after_ms(at_s)) is not None}
    return BargeInRow(
        utterance_id=reply.reply_id,
        kind=event.kind,
        onset_s=event.onset_s,
        suspicion_s=_not_before(moments.suspicion_s, event.onset_s),
        duck_s=_duck_s(event),
        vad_s=_not_before(moments.vad_s, event.onset_s),
        decision_s=_not_before(moments.decision_s, event.onset_s),
        abort_s=_not_before(reply.abort_s, event.onset_s),
        released_s=_not_before(reply.released_s, event.onset_s) if reply.abort_s is not None else None,
        last_frame_s=reply.last_frame_s,
        cleared_s=moments.cleared_s,
        silence_s=silence_s,
        next_audio_s=next_audio_s if ordered else None,
        generated_ms=facts.get("generated_ms"),
        delivered_ms=facts.get("delivered_ms"),
        heard_ms=1000 * heard.num_frames * event.ear.frame_samples / event.ear.sample_rate,
        frames_wasted=int(facts.get("frames_wasted") or 0),
        stale_frames=reply.stale_frames,
        stale_ms=heard.stale_ms,
        next_ttfa_ms=_since_ms(event.next_reply.first_text_s if event.next_reply else None, next_audio_s),
        leaked_ms=leaked,
    )


def _duck_s(event: EventRecord) -> float | None:
    """When the reply was quieter at the ear, not when the agent asked for it."""
    dip_s = _not_before(event.moments.dip_s, event.onset_s)
    return dip_s if dip_s is None or event.ear.held_s is None else held_from_s(event.ear, dip_s)


def _findings(event: EventRecord, heard: Heard, result: EventResult) -> tuple[str, ...]:
    row, reply, following, instrumented = result.row, event.reply, event.next_reply, event.ear.held_s is not None
    stop_ms = _since_ms(event.moments.decision_s, row.silence_s)
    silent_ms = 0.0 if heard.spans or row.heard_ms is None else row.heard_ms
    heard_next_s = first_sound_s(event.ear, following)
    waited_ms = _since_ms(following.asked_s, heard_next_s) if following is not None else None
    found = {
        "missed_interruption": result.outcome == "missed",
        "late_stop": stop_ms is not None and stop_ms > LATE_MS + event.transport_ms,
        "false_stop": result.outcome == "stopped",
        "never_restored": _never_restored(event),
        "stale_frames": reply.stale_frames > 0,
        "stale_audio": heard.stale_ms > 0,
        "lost_word": result.lost_words > 0,
        "lost_audio": result.lost_ms > 0,
        "repeated_audio": result.repeated_ms > 0,
        "heard_text_wrong": bool(result.heard_text_error),
        "silent_reply": silent_ms >= SILENT_MS,
        "unasked_reply": instrumented and event.expect == "absent" and bool(other_replies(event.ear, reply)),
        "underrun": heard.underruns > 0,
        "next_reply_underrun": result.next_underruns > 0,
        "not_released": reply.abort_s is not None and reply.released_s is None,
        "no_next_reply": following is not None and heard_next_s is None,
        "late_reply": waited_ms is not None and waited_ms > LATE_REPLY_MS,
        "failed_reply": reply.error is not None or (following is not None and following.error is not None),
    }
    return tuple(name for name, wrong in found.items() if wrong)


def _not_before(moment_s: float | None, onset_s: float) -> float | None:
    return moment_s if moment_s is not None and moment_s >= onset_s else None


def _since_ms(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else 1000 * (end_s - start_s)
