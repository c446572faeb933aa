"""How long was a reply that should have gone on held back at the caller's ear, and did it come back? Pure.

A line's ear cannot say which of its silences are a pause: the agent says when it paused, the ear how long that was. The
ear has the last word: an agent that says it has gone on and is not heard, or pauses and says nothing, did not go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evals.live.quiet import quiet_span
from evals.metrics.audio import Span

SILENT_S = 1.0
"""A reply that is to go on is heard again within this: the way out and a gap between two words are shorter."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent said of a reply after the caller's onset.

    Attributes:
        pauses: When it paused its output and when it went on (None: never), in order.
        over_s: It ended the reply for the caller.
        ended_s: The reply ended by itself.
    """

    pauses: Sequence[tuple[float, float | None]]
    over_s: float | None
    ended_s: float | None

    @property
    def last_s(self) -> float:
        """The last time it paused or went on."""
        return max((at_s for pause in self.pauses for at_s in pause if at_s is not None), default=-math.inf)

    @property
    def is_paused(self) -> bool:
        """It has not said that it went on."""
        return bool(self.pauses) and self.pauses[-1][1] is None

    @property
    def completed(self) -> bool:
        """The reply came to its end, not to a pause that nobody took back until the transport gave it up."""
        if self.over_s is not None or self.ended_s is None:
            return False
        return not self.is_paused or self.ended_s - self.pauses[-1][0] < SILENT_S


@dataclass(frozen=True, slots=True)
class Dip:
    """What the pauses of one event came to at the ear.

    Attributes:
        restored_s: The reply was heard again after the last of them, or was at its end. None: neither, when the
            watching ended.
        held_ms: All of them together.
    """

    begin_s: float
    restored_s: float | None
    held_ms: float


def dip_of(told: Told, sounding: Sequence[Span], *, onset_s: float, caller_end_s: float, until_s: float) -> Dip | None:
    """The dip of a reply that should have gone on; None: it went on.

    Args:
        sounding: Audible spans of the ear, ms of time.monotonic().
        caller_end_s: A reply that is not heard any more from here on, and has not ended, was paused without a word.
        until_s: The watching ended.
    """
    ends_s = told.over_s if told.over_s is not None else told.ended_s if told.completed else None
    limit_ms = 1000 * (until_s if ends_s is None else min(ends_s, until_s))
    silences = _pauses_heard(told, sounding, limit_ms)
    if not silences:
        last_ms = max([1000 * onset_s, *(span.end_ms for span in sounding)])
        gone = last_ms <= 1000 * caller_end_s or (told.is_paused and until_s - last_ms / 1000 >= SILENT_S)
        if ends_s is not None or not gone:
            return None
        silences = [Span(last_ms, limit_ms)]
    back_s: float | None = silences[-1].end_ms / 1000
    if silences[-1].end_ms >= limit_ms:
        back_s = _back_at_the_end_s(told, until_s)
    return Dip(silences[0].start_ms / 1000, back_s, _total_ms(silences))


def _pauses_heard(told: Told, sounding: Sequence[Span], limit_ms: float) -> list[Span]:
    """The silences that the pauses made, each until the reply was heard again or the limit."""
    found = []
    for paused_s, resumed_s in told.pauses:
        if 1000 * paused_s >= limit_ms:
            break
        back_ms = limit_ms if resumed_s is None else min(1000 * resumed_s, limit_ms)
        if (span := quiet_span(sounding, 1000 * paused_s, back_ms)) is not None and span.start_ms < limit_ms:
            found.append(Span(span.start_ms, min(span.end_ms, limit_ms)))
    return found


def _total_ms(silences: Sequence[Span]) -> float:
    """Their length; two pauses between which nothing was heard are one silence."""
    total_ms, until_ms = 0.0, -math.inf
    for span in silences:
        total_ms += max(0.0, span.end_ms - max(span.start_ms, until_ms))
        until_ms = max(until_ms, span.end_ms)
    return total_ms


def _back_at_the_end_s(told: Told, until_s: float) -> float | None:
    """When a reply that is silent at the end of the watching was released, if it was."""
    if told.over_s is not None:
        return None
    if told.completed:
        return told.ended_s
    return until_s if until_s - told.last_s < SILENT_S else None  # too soon to be heard, or to come back
