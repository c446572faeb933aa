"""What the ear heard of one reply: its sound, its words, what it lost, repeated or was held back from. All pure.

Knows a track and one reply of it; what that means for an event is barge_in's. Definitions: evals/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from evals.calls.events import FRAME_MS, EarTrack, EventRecord, ReplyTrace
from evals.metrics.audio import Span, audible_ms, audible_spans

EPISODE_GAP_FRAMES = 5
"""A reply that was silent for so many frames had fallen silent; what comes of it afterwards is stale."""
TOLERANCE_MS = 2.0 * FRAME_MS
MIN_STALE_MS = 5.0
ROUNDING_S = 1e-6


class Heard:
    """What the ear recorded of the reply that was spoken over, on the loop's clock."""

    def __init__(self, event: EventRecord) -> None:
        ear, reply = event.ear, event.reply
        self.reference_s = event.moments.decision_s or event.onset_s
        self.ended_s = ear.at_s(len(ear.frames))
        self.spans = spans_of(ear, reply.reply_id)
        indexes = [index for index, frame in enumerate(ear.frames) if frame.reply_id == reply.reply_id]
        self.num_frames = len(indexes)
        self.leak_end_s = self.ended_s if reply.abort_s is None else self._end_of_leak(ear, indexes)
        self.sounding = [span for span in self.spans if span.start_ms < 1000 * self.leak_end_s]
        self.silence_s = max((min(span.end_ms / 1000, self.leak_end_s) for span in self.sounding), default=None)
        stale = audible_ms(self.spans, start_ms=1000 * self.leak_end_s) if reply.abort_s is not None else 0.0
        self.stale_ms = stale if stale >= MIN_STALE_MS else 0.0
        self.underruns = underruns_of(ear, reply, self.leak_end_s)
        heard = [(ear.at_s(index), ear.frames[index].media_start // ear.frame_samples) for index in indexes]
        played = {number for _, number in heard}
        self.words = [word.text for word in reply.words if _covered(word.start_ms, word.end_ms, played)]
        begun = {number: at_s for at_s, number in reversed(heard)}
        self.leaked_words = sum(
            begun.get(int(word.start_ms // FRAME_MS), -1.0) > self.reference_s for word in reply.words
        )

    def audible_after_ms(self, moment_s: float | None) -> float | None:
        """The leak after a stage."""
        if moment_s is None:
            return None
        return audible_ms(self.spans, start_ms=1000 * moment_s, end_ms=1000 * self.leak_end_s)

    def audible_between(self, begin_s: float, end_s: float) -> bool:
        """Whether the reply sounded in a stretch, what was stale included."""
        return audible_ms(self.spans, start_ms=1000 * begin_s, end_ms=1000 * end_s) > 0

    @property
    def cut_off(self) -> bool:
        """The recording ended while the reply was still audible."""
        return bool(self.spans) and self.spans[-1].end_ms > 1000 * self.ended_s - FRAME_MS

    def _end_of_leak(self, ear: EarTrack, indexes: list[int]) -> float:
        """End of the run of this reply's frames that was under way at the decision; later ones are stale."""
        limit_s = self.reference_s + TOLERANCE_MS / 1000
        before = [index for index in indexes if ear.at_s(index) <= limit_s]
        if not before:
            return self.reference_s
        last = before[-1]
        for index in indexes:
            if last < index <= last + EPISODE_GAP_FRAMES:
                last = index
        return ear.at_s(last + 1)


def spans_of(ear: EarTrack, reply_id: str) -> list[Span]:
    """Audible spans of one reply in ms of the loop's clock."""
    offset_ms = 1000 * ear.begin_s
    # Frames are 20 ms each, also at a rate at which that is no whole number of samples.
    spans = audible_spans(ear.of_reply(reply_id), ear.frame_samples * 1000 // FRAME_MS)
    return [Span(offset_ms + span.start_ms, offset_ms + span.end_ms) for span in spans]


def first_sound_s(ear: EarTrack, reply: ReplyTrace | None) -> float | None:
    """When a reply is audible first; None when it never is."""
    spans = spans_of(ear, reply.reply_id) if reply is not None and reply.reply_id else []
    return spans[0].start_ms / 1000 if spans else None


def media_faults(ear: EarTrack, reply: ReplyTrace) -> tuple[float, float]:
    """Media time that the ear skipped inside what it heard of a reply, and that it heard twice, ms.

    Of a reply that ended by itself the end counts too, where the peer says how much it handed over; so does audio
    beyond that, which can only have been sent twice.
    """
    expected, lost, repeated, heard = 0, 0, 0, 0
    for frame in ear.frames:
        if frame.reply_id != reply.reply_id:
            continue
        lost += max(0, frame.media_start - expected)
        repeated += min(len(frame.pcm), max(0, expected - frame.media_start))
        expected = max(expected, frame.media_start + len(frame.pcm))
        heard += len(frame.pcm)
    lost_ms, repeated_ms = 1000 * lost / ear.sample_rate, 1000 * repeated / ear.sample_rate
    delivered_ms = reply.facts.get("delivered_ms")
    if delivered_ms is None or ear.held_s is None:
        return lost_ms, repeated_ms
    if reply.completed and delivered_ms - 1000 * expected / ear.sample_rate > FRAME_MS:
        lost_ms += delivered_ms - 1000 * expected / ear.sample_rate
    beyond_ms = 1000 * heard / ear.sample_rate - delivered_ms
    return lost_ms, max(repeated_ms, beyond_ms if beyond_ms > FRAME_MS else 0.0)


def stand_stills(moments_s: Sequence[float], begin_s: float = -math.inf, end_s: float = math.inf) -> list[Span]:
    """Frames in a row that had to be silent are one stand-still; those that begin in [begin_s, end_s), ms."""
    found: list[Span] = []
    for at_s in sorted(moments_s):
        start_ms, end_ms = 1000 * at_s, 1000 * at_s + FRAME_MS
        if found and start_ms - found[-1].end_ms < FRAME_MS / 2:
            found[-1] = Span(found[-1].start_ms, end_ms)
        else:
            found.append(Span(start_ms, end_ms))
    return [span for span in found if 1000 * begin_s <= span.start_ms < 1000 * end_s]


def underruns_of(ear: EarTrack, reply: ReplyTrace | None, end_s: float = math.inf) -> int:
    """Stand-stills of one reply, until a moment. What follows its last frame is none: only its end came late."""
    indexes = [index for index, frame in enumerate(ear.frames) if reply and frame.reply_id == reply.reply_id]
    if reply is None or not indexes:
        return 0
    last_s = ear.at_s(indexes[-1]) if reply.completed else math.inf
    return len(stand_stills(ear.underruns_s, ear.at_s(indexes[0]), min(end_s, last_s)))


def held_ms(ear: EarTrack, begin_s: float) -> float | None:
    """How long a reply was held back or quieter at the ear since a moment; None where the ear cannot tell."""
    if ear.held_s is None:
        return None
    return float(FRAME_MS * sum(at_s + FRAME_MS / 1000 > begin_s for at_s in ear.held_s))


def held_from_s(ear: EarTrack, begin_s: float) -> float | None:
    """The first frame since a moment that was held back or quieter."""
    return next((at_s for at_s in ear.held_s or () if at_s >= begin_s - ROUNDING_S), None)


def is_held_at_the_end(ear: EarTrack) -> bool:
    """Whether the last frame of the recording is one that should have sounded, or sounded louder."""
    return bool(ear.held_s) and ear.held_s[-1] >= ear.at_s(len(ear.frames) - 1) - ROUNDING_S  # type: ignore[index]


def other_replies(ear: EarTrack, reply: ReplyTrace) -> list[str]:
    """Replies at the ear that are audible and not this one."""
    names = dict.fromkeys(frame.reply_id for frame in ear.frames if frame.reply_id not in (None, reply.reply_id))
    return [name for name in names if name is not None and spans_of(ear, name)]


def _covered(start_ms: float, end_ms: float, played: set[int]) -> bool:
    """Whether every frame was heard that holds a part of the word."""
    frames: Sequence[int] = range(int(start_ms // FRAME_MS), math.ceil(end_ms / FRAME_MS - 1e-6))
    return bool(frames) and all(frame in played for frame in frames)
