"""From the recording of a call and what the agent told to the events that evals judges. Pure.

A reply sounds at the ear from when the agent began it until the next one begins; a sound that is under way then is
still its own. What the transport had taken before it was cleared has sounded GRACE_S later; what is heard of the reply
after that is stale. Of a sound that begins after the next reply has begun nobody can tell that it is an old one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.calls.events import FRAME_MS, EarFrame, EarTrack, EventRecord, Moments, ReplyTrace
from evals.live.call import Attempt
from evals.live.dips import Told, dip_of
from evals.live.llm import Answer
from evals.live.quiet import quiet_span
from evals.live.tracks import Tracks
from evals.metrics.audio import Span, audible_ms, audible_spans
from evals.metrics.ear import EPISODE_GAP_FRAMES

GRACE_S = 0.3
TRANSPORT_MS = 100.0
"""What a real line holds between the agent and the ear: encoder, network, jitter buffer."""
AFTER_S = 1.5
EDGE_S = 0.05
FRAME_S = FRAME_MS / 1000
NOT_SPEAKING = ("listening", "thinking", "idle")


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
    return [_made(tracks, _Log(timed, attempt.until_s), attempt, answers) for attempt in attempts]


class _Log:
    """Look-ups in what the agent told until a moment."""

    def __init__(self, timed: Sequence[dict[str, Any]], until_s: float) -> None:
        self._timed = [event for event in timed if event["at_s"] <= until_s]

    def first(self, name: str, since_s: float) -> dict[str, Any]:
        """The first of a name from a moment on; empty when there is none."""
        return next((event for event in self._timed if event["name"] == name and event["at_s"] >= since_s), {})

    def last(self, name: str, before_s: float) -> dict[str, Any]:
        found = (event for event in reversed(self._timed) if event["name"] == name and event["at_s"] < before_s)
        return next(found, {})

    def pauses(self, since_s: float) -> list[tuple[float, float | None]]:
        """Each pause from a moment on, and when the agent went on; a pause may be told again while it lasts."""
        found: list[tuple[float, float | None]] = []
        for event in self._timed:
            is_open = bool(found) and found[-1][1] is None
            if event["at_s"] < since_s:
                continue
            if event["name"] == "duck" and not is_open:
                found.append((event["at_s"], None))
            elif event["name"] == "resumed" and is_open:
                found[-1] = (found[-1][0], event["at_s"])
        return found


def _made(tracks: Tracks, told: _Log, attempt: Attempt, answers: Sequence[Answer]) -> Made:
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
    said = Told(told.pauses(onset_s), over_s if abort else None, None if abort else _ended_s(told, began_s))
    reply.completed = said.completed
    if scenario.expect == "yield":
        moments.dip_s = None if quiet is None else quiet.start_ms / 1000
    elif dip := dip_of(said, sounding, onset_s=onset_s, caller_end_s=caller_end_s, until_s=attempt.until_s):
        moments.dip_s, moments.restored_s, moments.held_ms = dip.begin_s, dip.restored_s, dip.held_ms
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


def _moments(told: _Log, onset_s: float) -> Moments:
    decision_s = told.first("decision", onset_s).get("at_s")
    return Moments(
        suspicion_s=told.first("suspicion", onset_s).get("at_s"),
        vad_s=told.first("vad", onset_s).get("at_s"),
        decision_s=decision_s,
        cleared_s=told.first("cleared", decision_s or onset_s).get("at_s"),
    )


def _ended_s(told: _Log, began_s: float) -> float | None:
    """When the agent said that it was not speaking any more."""
    ends = (told.first(name, began_s).get("at_s") for name in NOT_SPEAKING)
    return min((at_s for at_s in ends if at_s is not None), default=None)


def _reply(told: _Log, began_s: float, abort: dict[str, Any], onset_s: float, answers: Sequence[Answer]) -> ReplyTrace:
    answer = next((item for item in reversed(answers) if item.first_token_s < began_s), None)
    reply = ReplyTrace(answer.text if answer else "", reply_id=f"reply at {began_s:.3f}")
    reply.first_text_s = answer.first_token_s if answer else None
    if not abort:
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


def _quiet(told: _Log, sounding: list[Span], paused_s: float | None, over_s: float) -> Span | None:
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
    later = _end_of_sound(loud, later)
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


def _end_of_sound(loud: Sequence[bool], begins: int) -> int:
    """Where a sound that is under way at a frame ends: with the last one before a silence that ends an episode."""
    end = begins
    if 0 < begins <= len(loud) and loud[begins - 1]:
        while any(sounds := loud[end : end + EPISODE_GAP_FRAMES]):
            end += len(sounds) - list(reversed(sounds)).index(True)
    return end
