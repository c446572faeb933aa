"""Agents that are broken on purpose, each in one way: what the evaluation must catch by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np

from evals.calls.agent import Agent, Turn
from evals.calls.events import FRAME_MS, EarFrame
from evals.peers.base import Piece, Reply
from evals.peers.tone import SAMPLE_RATE, WORD_MS, TonePeer, ToneReply
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


class ClaimsOneWordMore(Agent):
    """Counts the word that was cut off as heard."""

    def stop(self, turn: Turn) -> None:
        super().stop(turn)
        claimed = len((turn.trace.claimed or "").split())
        turn.trace.claimed = " ".join(turn.trace.text.split()[: claimed + 1])


class SpeaksOldTail(LeaksStaleFrames):
    """Has the end of the old reply still in a buffer, and lets it out after the new reply's first frame."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._old: tuple[Turn, list[EarFrame]] | None = None

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        await super().hand_over(turn, frame)
        if self._old is not None and turn is not self._old[0]:
            (before, frames), self._old = self._old, None
            for late in frames:
                await Agent.hand_over(self, before, late)

    def stop(self, turn: Turn) -> None:
        Agent.stop(self, turn)
        self._old = (turn, self._buffer)


class ComesBack(LeaksStaleFrames):
    """Stops when it is told to, and 400 ms later goes on with the old reply for good."""

    async def _leak(self, turn: Turn, frames: list[EarFrame]) -> None:
        await super()._leak(turn, frames * 20)


class RepeatsOnResume(Agent):
    """Rewinds by 200 ms when it goes on after a pause."""

    def restore(self) -> None:
        super().restore()
        heard = [frame for frame in self.player.ear.frames if frame.reply_id is not None]
        self.player.put_back(heard[-10:])


class NeverRestores(Agent):
    """Pauses, or turns itself down, and forgets to come back; its own notes say that it did."""

    def restore(self) -> None:
        self.moments.restored_s = self._now()


class DipsAgain(Agent):
    """Comes back, and 100 ms later pauses a second time for good."""

    def restore(self) -> None:
        super().restore()
        self.again = asyncio.get_running_loop().call_later(0.1, self.dip)


class AnswersBackchannel(Agent):
    """Goes on, and answers what was no question besides."""

    def restore(self) -> None:
        super().restore()
        self.say("Yes?", [Token(0.0, "Yes?")])


class StopsByItself(Agent):
    """Takes its own voice for the caller's and stops before anyone has spoken."""

    def say(self, text: str, tokens: Sequence[Token], *, voice: str = "default") -> Turn:
        turn = super().say(text, tokens, voice=voice)
        self.early = asyncio.get_running_loop().call_later(0.8, self.stop, turn)
        return turn


class AnswersLate(Agent):
    """Is stuck for a second after each abort."""

    def stop(self, turn: Turn) -> None:
        super().stop(turn)
        self._llm_delay_s += 1.0


class TruncatesLastWord(Agent):
    """Holds 240 ms back for a crossfade and throws them away at the end of the reply."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._delayed: list[EarFrame] = []

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        self._delayed.append(frame)
        if len(self._delayed) > 12:
            await super().hand_over(turn, self._delayed.pop(0))


class SendsTwice(Agent):
    """Retries a send that had succeeded."""

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        await super().hand_over(turn, frame)
        await super().hand_over(turn, frame)


class RunsSlow(Agent):
    """Sends by a clock of its own that is 1 % slow."""

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        await asyncio.sleep(1.01 * FRAME_MS / 1000)
        await super().hand_over(turn, frame)


def underrunning_peer() -> TonePeer:
    """A TTS that needs 25 ms for 20 ms of audio."""
    return TonePeer(chunk_compute_ms=25.0)


def silent_peer() -> TonePeer:
    """A TTS that returns silence, on time and of the right length."""
    return TonePeer(sound=lambda number: np.zeros(WORD_MS * SAMPLE_RATE // 1000, np.int16))


class _Doubled(ToneReply):
    async def __aiter__(self) -> AsyncIterator[Piece]:
        async for piece in super().__aiter__():
            yield piece
            yield piece


class _Held(ToneReply):
    async def released(self) -> None:
        await asyncio.Event().wait()


class DoublingPeer(TonePeer):
    """A TTS that sends every chunk twice."""

    def reply(self, *, voice: str = "default") -> ToneReply:
        return _Doubled(*self._settings, self._sound)


class HoardingPeer(TonePeer):
    """A TTS that never lets go of an aborted reply, nor of its pages."""

    def reply(self, *, voice: str = "default") -> ToneReply:
        return _Held(*self._settings, self._sound)

    def pages_leaked(self) -> int | None:
        return 3
