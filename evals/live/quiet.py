"""When did the caller's ear notice that the agent had paused? Pure; the definition is the docstring of `quiet_span`."""

from __future__ import annotations

from collections.abc import Sequence

from evals.metrics.audio import Span

TOLERANCE_MS = 80.0
"""So much shorter may a pause be at the ear than at the agent: a jitter buffer stretches sound and catches up."""

LATEST_MS = 500.0
"""What was under way when the agent paused has been heard by then."""


def quiet_span(sounding: Sequence[Span], paused_ms: float, back_ms: float) -> Span | None:
    """The silence at the ear that the agent's pause from `paused_ms` to `back_ms` made.

    It is the first silence that ends after the pause began and is as long as the pause (less TOLERANCE_MS, at least
    half of it): the gap between two words is shorter. It begins with the end of the last audible sample, but not
    before the pause itself: when the pause met a gap, the caller could not tell it from the gap at first. None: no
    such silence within LATEST_MS, as when something of the reply was still heard in it.

    Args:
        sounding: Audible spans of the ear, ms of the clock of the two moments.
        back_ms: The agent went on, or began its next reply.
    """
    ends = [-float("inf"), *(span.end_ms for span in sounding)]
    starts = [*(span.start_ms for span in sounding), float("inf")]
    length_ms = back_ms - paused_ms
    least_ms = max(length_ms - TOLERANCE_MS, length_ms / 2)
    for start_ms, end_ms in zip(ends, starts, strict=True):
        begin_ms = max(start_ms, paused_ms)
        if end_ms > paused_ms and end_ms - begin_ms >= least_ms:
            return Span(begin_ms, end_ms) if begin_ms <= paused_ms + LATEST_MS else None
    return None
