"""How much audio a LiveKit AudioSource still holds. Pure arithmetic on a clock: the source itself can't be asked.

The source gives away exactly 10 ms at each tick of its own 10 ms clock, or silence when it holds nothing:

    pushes      20        20                  20
    ticks      |    |    |    |    |    |    |    |        10 ms apart
    level       20 10   20+10  20   10   0    20 10
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

TICK_S = 0.01
TICK_LATENESS_S = 0.0015
"""A tick counts once it is so late. Counting one too early loses 10 ms at a cut, counting one too late repeats them."""


class QueueLevel:
    """Seconds of audio in the source, exact once a tick has been seen, else to one tick."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._now = clock
        self._tick_s = clock()
        self._level_s = 0.0
        self._at_s = clock()

    def saw_tick(self) -> None:
        """A tick has just happened."""
        self._tick_s = self._now()

    def pushed(self, seconds: float) -> None:
        self._level_s = self.seconds() + seconds
        self._at_s = self._now()

    def cleared(self) -> None:
        self._level_s = 0.0
        self._at_s = self._now()

    def seconds(self) -> float:
        """Audio not given away yet."""
        ticks = self._ticks(self._now() - TICK_LATENESS_S) - self._ticks(self._at_s - TICK_LATENESS_S)
        return max(0.0, self._level_s - TICK_S * ticks)

    def _ticks(self, at_s: float) -> int:
        return math.floor((at_s - self._tick_s) / TICK_S)
