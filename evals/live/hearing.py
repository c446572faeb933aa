"""What a caller has said, heard and been told so far, and waiting for it. Knows no transport.

The agent tells {"name": ..., "at_s": time.monotonic()}. Names: those of a barge-in (suspicion, duck, resumed, vad,
decision, last_frame, abort, released, cleared; with `utterance_id`, and at `released` with `metrics`), the agent's
states (thinking, speaking, listening), and what was said: user and assistant (with `text`, and `interrupted`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from evals.live.tracks import RATE, Frame, Pcm


class Hearing:
    """Filled by a line, from the event loop; waited on by whoever makes the call."""

    def __init__(self) -> None:
        self.said: list[Frame] = []
        self.heard: list[Frame] = []
        self.told: list[dict[str, Any]] = []
        self._loud_s = 0.0
        self._quiet_s = 0.0
        self._news = asyncio.Event()

    def add_said(self, at_s: float, pcm: Pcm) -> None:
        """A frame of the mouth, when it was given to the microphone."""
        self.said.append(Frame(at_s, pcm))

    def add_heard(self, at_s: float, pcm: Pcm) -> None:
        """A frame at the ear, when it came; 10 or 20 ms of it."""
        frame, seconds = Frame(at_s, pcm), len(pcm) / RATE
        self.heard.append(frame)
        if frame.loud:
            self._loud_s, self._quiet_s = self._loud_s + seconds, 0.0
        else:
            self._quiet_s += seconds
        self._news.set()

    def add_told(self, event: dict[str, Any]) -> None:
        self.told.append(event)
        self._news.set()

    async def speech(self, seconds: float) -> None:
        """Wait until so much audible sound has come since now."""
        target = self._loud_s + seconds
        await self._until(lambda: self._loud_s >= target)

    async def silence(self, seconds: float) -> None:
        """Wait until nothing audible has come for so long."""
        await self._until(lambda: self._quiet_s >= seconds)

    async def event(self, name: str, count: int) -> None:
        """Wait until the agent has told so many events of a name in all."""
        await self._until(lambda: self.count(name) >= count)

    def count(self, name: str) -> int:
        return sum(event["name"] == name for event in self.told)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()
