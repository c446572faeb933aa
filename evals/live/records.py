"""From the recording of a call and what the agent told to the events that evals judges. Pure.

A reply sounds at the ear from when the agent began it until the next one begins. What the transport had taken before
it was cleared has sounded GRACE_S later; what is heard of the reply after that is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.calls.events import FRAME_MS, EarFrame, EarTrack, EventRecord, Moments, ReplyTrace
from evals.live.call import Attempt
from evals.live.llm import Answer
from evals.live.quiet import quiet_span
from evals.live.tracks import Tracks
from evals.metrics.audio import Span, audible_ms, audible_spans

GRACE_S = 0.3
TRANSPORT_MS = 100.0
"""What a real line holds between the agent and the ear: encoder, network, jitter buffer."""
AFTER_S = 1.5
EDGE_S = 0.05
FRAME_S = FRAME_MS / 1000


@dataclass(frozen=True, slots=True)
class Made:
    """An event, and what only a live call knows of it.

    Attributes:
        paused_s: The agent paused its output.
        in_a_gap: The pause met a silence of the reply itself.
        played_ms: Media time of the reply that the agent's output had played when it was cleared.
    """

    record: EventRecord
    paused_s: float | None
    in_a_gap: bool
    played_ms: float | None


def records(
    tracks: Tracks, told: Sequence[dict[str, Any]], attempts: Sequence[Attempt], answers: Sequence[Answer]
) -> list[Made]:
    """Every attempt whose clip is in the recording."""
    timed = sorted((event for event in told if "at_s" in event), key=lambda event: event["at_s"])
    return [_made(tracks, _Told(timed, attempt.until_s), attempt, answers) for attempt in attempts]


class _Told:
    """Look-ups in what the agent told until a moment."""

    def __init__(self, timed: Sequence[dict[str, Any]], until_s: float) -> None:
        self._timed = [event for event in timed if event["at_s"] <= until_s]

    def first(self, name: str, since_s: float) -> dict[str, Any]:
        """The first of a name from a moment on; empty when there is none."""
        return next((event for event in self._timed if event["name"] == name and event["at_s"] >= since_s), {})

    def last(self, name: str, before_s: float) -> dict[str, Any]:
        found = (event for event in reversed(self._timed) if event["name"] == name and event["at_s"] < before_s)
        return next(found, {})


def _made(tracks: Tracks, told: _Told, attempt: Attempt, answers: Sequence[Answer]) -> Made:
    scenario = attempt.plan.scenario
    onset_s, caller_end_s = _mouth(tracks, attempt)
    began_s = told.last("speaking", onset_s).get("at_s", onset_s)
    abort = told.first("abort", onset_s)
    following_s = told.first("speaking", abort.get("at_s", onset_s)).get("at_s") if abort else None
    moments = _moments(told, onset_s)
    reply = _reply(told, began_s, abort, onset_s, answers)
    over_s = told.first("cleared", onset_s).get("at_s") or moments.decision_s or abort.get("at_s")
    ends_s = following_s + AFTER_S if following_s is not None else attempt.until_s
    sounding = _sounding(tracks, began_s - EDGE_S, ends_s)
    paused_s = told.first("duck", onset_s).get("at_s") or moments.decision_s
    quiet = _quiet(told, sounding, paused_s, following_s or attempt.until_s)
    if quiet is not None:
        moments.dip_s = quiet.start_ms / 1000
        resumed_s = told.first("resumed", paused_s or onset_s).get("at_s", np.inf)
        went_on = resumed_s < (over_s or np.inf) and np.isfinite(quiet.end_ms)
        moments.restored_s = quiet.end_ms / 1000 if went_on else None
    if moments.suspicion_s is not None and moments.dip_s is not None and moments.suspicion_s > moments.dip_s:
        moments.suspicion_s = None  # something else had paused it already
    following = _following(attempt, following_s, answers)
    ear = _ear(tracks, (began_s - EDGE_S, ends_s), reply, over_s, following, following_s)
    record = EventRecord(
        key=f"{attempt.plan.key} | event {attempt.number}",
        scenario=scenario.name,
        kind=scenario.kind,
        expect=scenario.expect,
        onset_s=onset_s,
        caller_end_s=caller_end_s,
        transport_ms=TRANSPORT_MS,
        ear=ear,
        reply=reply,
        moments=moments,
        next_reply=following,
        mouth=tracks.mouth[tracks.sample(began_s - EDGE_S) : tracks.sample(ends_s)],
        mouth_rate=tracks.rate,
        mouth_start_s=began_s - EDGE_S,
        mouth_clip=attempt.plan.clip,
    )
    in_a_gap = bool(quiet is not None and paused_s is not None and quiet.start_ms <= 1000 * paused_s)
    return Made(record, paused_s, in_a_gap, told.first("cleared", onset_s).get("played_ms"))


def _mouth(tracks: Tracks, attempt: Attempt) -> tuple[float, float]:
    """Onset and end of the clip in the caller's clean recording."""
    first = tracks.sample(attempt.begin_s - EDGE_S)
    spans = audible_spans(tracks.mouth[first : tracks.sample(attempt.end_s + GRACE_S)], tracks.rate)
    assert spans, f"nothing was said in {attempt.plan.key}"
    begin_s = tracks.begin_s + first / tracks.rate
    return begin_s + spans[0].start_ms / 1000, begin_s + spans[-1].end_ms / 1000


def _moments(told: _Told, onset_s: float) -> Moments:
    decision_s = told.first("decision", onset_s).get("at_s")
    return Moments(
        suspicion_s=told.first("suspicion", onset_s).get("at_s"),
        vad_s=told.first("vad", onset_s).get("at_s"),
        decision_s=decision_s,
        cleared_s=told.first("cleared", decision_s or onset_s).get("at_s"),
    )


def _reply(told: _Told, began_s: float, abort: dict[str, Any], onset_s: float, answers: Sequence[Answer]) -> ReplyTrace:
    answer = next((item for item in reversed(answers) if item.first_token_s < began_s), None)
    reply = ReplyTrace(answer.text if answer else "", reply_id=f"reply at {began_s:.3f}")
    reply.first_text_s = answer.first_token_s if answer else None
    if not abort:
        reply.completed = True
        return reply
    released = told.first("released", abort["at_s"])
    reply.abort_s, reply.released_s = abort["at_s"], released.get("at_s")
    reply.last_frame_s = told.first("last_frame", onset_s).get("at_s") or told.last("last_frame", onset_s).get("at_s")
    if metrics := released.get("metrics"):
        reply.facts = {
            "generated_ms": metrics["generated_audio_ms"],
            "delivered_ms": metrics["delivered_audio_ms"],
            "frames_wasted": metrics["frames_wasted"],
        }
    return reply


def _following(attempt: Attempt, following_s: float | None, answers: Sequence[Answer]) -> ReplyTrace | None:
    """The reply after an interruption; one without sound when it was due and never came."""
    if following_s is None:
        return ReplyTrace("") if attempt.plan.scenario.expect == "yield" and not attempt.answered else None
    answer = next((item for item in reversed(answers) if item.first_token_s < following_s), None)
    reply = ReplyTrace(answer.text if answer else "", reply_id=f"reply at {following_s:.3f}")
    reply.first_text_s = answer.first_token_s if answer else None
    return reply


def _sounding(tracks: Tracks, begin_s: float, end_s: float) -> list[Span]:
    """Audible spans of the ear, ms of time.monotonic()."""
    first = tracks.sample(begin_s)
    offset_ms = 1000 * (tracks.begin_s + first / tracks.rate)
    spans = audible_spans(tracks.ear[first : tracks.sample(end_s)], tracks.rate)
    return [Span(offset_ms + span.start_ms, offset_ms + span.end_ms) for span in spans]


def _quiet(told: _Told, sounding: list[Span], paused_s: float | None, over_s: float) -> Span | None:
    if paused_s is None:
        return None
    back_s = told.first("resumed", paused_s).get("at_s")
    return quiet_span(sounding, 1000 * paused_s, 1000 * min(back_s or over_s, over_s))


def _ear(
    tracks: Tracks,
    window: tuple[float, float],
    reply: ReplyTrace,
    over_s: float | None,
    following: ReplyTrace | None,
    following_s: float | None,
) -> EarTrack:
    """The ear in frames of 20 ms, each with the reply it belongs to."""
    first, last = (tracks.sample(at_s) for at_s in window)
    ear = EarTrack(tracks.rate, tracks.begin_s + first / tracks.rate)
    size = tracks.rate * FRAME_MS // 1000
    pieces = [tracks.ear[at : at + size] for at in range(first, last - size + 1, size)]
    spans = audible_spans(tracks.ear[first:last], tracks.rate)
    loud = [audible_ms(spans, FRAME_MS * index, FRAME_MS * (index + 1)) > 0 for index in range(len(pieces))]
    later = len(pieces) if following_s is None else round((following_s - ear.begin_s) / FRAME_S)
    limit = later if over_s is None else min(later, round((over_s + GRACE_S - ear.begin_s) / FRAME_S))
    held = [index for index in range(min(limit, len(pieces))) if loud[index]]
    media = {"": 0}
    for index, pcm in enumerate(pieces):
        whole = bool(held) and held[0] <= index <= held[-1]
        mine = index < later and (whole or loud[index])
        name = reply.reply_id if mine else following.reply_id if following and index >= later and loud[index] else None
        start = media.get(name or "", 0)
        ear.frames.append(EarFrame(name, start, pcm))
        if name is not None:
            media[name] = start + len(pcm)
    return ear
