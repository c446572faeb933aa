"""Agents that are broken on purpose, each in one way: what the evaluation must catch by name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evals.agent import Agent, Turn
from evals.events import EarFrame
from evals.peers.base import Reply
from evals.peers.tone import TonePeer
from evals.texts import Token

LATE_S = 0.3


class IgnoresAbort(Agent):
    """Decides to stop and goes on."""

    def stop(self, turn: Turn) -> None:
        """Nothing."""


class AbortsLate(Agent):
    """Stops everything, 300 ms after it decided to."""

    def stop(self, turn: Turn) -> None:
        self.late = asyncio.get_running_loop().call_later(LATE_S, super().stop, turn)


class LeaksStaleFrames(Agent):
    """Stops at once, but a buffer of old frames comes out 400 ms later."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._buffer: list[EarFrame] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        self._buffer = [*self._buffer[-9:], frame]
        await super().hand_over(turn, frame)

    def stop(self, turn: Turn) -> None:
        super().stop(turn)
        self.tasks.add(asyncio.create_task(self._leak(turn, self._buffer)))

    async def _leak(self, turn: Turn, frames: list[EarFrame]) -> None:
        await asyncio.sleep(0.4)
        for frame in frames:
            await super().hand_over(turn, frame)


class DropsWord(Agent):
    """Loses the third word between the LLM and the TTS."""

    def say(self, text: str, tokens: Sequence[Token], *, voice: str = "default") -> Turn:
        self._words = 0
        return super().say(text, tokens, voice=voice)

    def push(self, reply: Reply, text: str) -> None:
        self._words += text.startswith(" ")
        if self._words != 2:
            super().push(reply, text)


class LosesAudioOnResume(Agent):
    """Pauses by throwing away what was already queued."""

    def dip(self) -> None:
        super().dip()
        self.player.clear()


class ClaimsTooMuch(Agent):
    """Writes into the conversation what it meant to say, not what was heard."""

    def stop(self, turn: Turn) -> None:
        super().stop(turn)
        turn.trace.claimed = turn.trace.text


def underrunning_peer() -> TonePeer:
    """A TTS that needs 25 ms for 20 ms of audio."""
    return TonePeer(chunk_compute_ms=25.0)
