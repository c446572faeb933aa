"""How far the listener is: reported by the consumer, or assumed to play in real time. Knows milliseconds, no audio.

The scheduler compares this position with what has been generated: the difference is the lead, and the lead limit is
what keeps a fast engine from rendering a whole reply that an abort could then no longer save.
"""

from __future__ import annotations


class PlayoutClock:
    """Media time heard so far, in ms. All times in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._reported_ms: float | None = None
        self._started_s: float | None = None
        self._paused_s: float | None = None

    def report(self, played_ms: float) -> None:
        """The consumer knows: `played_ms` of media time have been heard. From now on nothing is assumed."""
        self._reported_ms = max(played_ms, self._reported_ms or 0.0)

    def start(self, now_s: float) -> None:
        """The consumer took its first chunk: an assumed player starts now."""
        if self._started_s is None:
            self._started_s = now_s

    def refill(self, available_ms: float, now_s: float) -> bool:
        """More audio arrives; so far there were `available_ms`. True when the player had run dry (an underrun)."""
        if self._started_s is None or self._paused_s is not None:
            return False
        if self._reported_ms is not None:
            return self._reported_ms >= available_ms
        behind_s = (now_s - self._started_s) - available_ms / 1000
        if behind_s <= 0:
            return False
        self._started_s += behind_s  # the player stood still for so long
        return True

    def pause(self, now_s: float) -> None:
        if self._paused_s is None:
            self._paused_s = now_s

    def resume(self, now_s: float) -> None:
        if self._paused_s is not None and self._started_s is not None:
            self._started_s += now_s - self._paused_s
        self._paused_s = None

    def played_ms(self, available_ms: float, now_s: float) -> float:
        """Media time heard by now; never more than `available_ms`, the audio that exists."""
        if self._reported_ms is not None:
            return min(self._reported_ms, available_ms)
        if self._started_s is None:
            return 0.0
        until_s = now_s if self._paused_s is None else self._paused_s
        return min(max(0.0, 1000 * (until_s - self._started_s)), available_ms)
