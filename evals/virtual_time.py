"""An event loop whose clock jumps to the next thing that happens: hours of conversation in seconds, the same each time.

For peers and agents that live on the event loop alone (the tone, the broken agents of the tests). A peer with a thread
of its own needs real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_S = 1_000.0


class NothingHappensError(RuntimeError):
    """Every task waits for another one: a deadlock, found because the clock has nowhere to jump."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Never sleeps; `time()` moves instead."""

    def __init__(self) -> None:
        self._now_s = START_S
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        return self._now_s

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, jump: Any) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingHappensError("no timer is set and nothing is ready: all tasks wait for each other")
        self._jump(max(0.0, timeout))
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run() on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
