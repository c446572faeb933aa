"""Peer: a sine that takes as long as speech would. The control: what it shows comes from the agent, not from a TTS.

Every word is one burst of 200 ms and 40 ms of silence; it needs no package and no thread, runs on a virtual clock too,
and its words are timed exactly, so that an evaluation can be checked against answers known beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable

import numpy as np

from agent_tts import WordTime
from evals.peers.base import Abilities, Pcm, Piece, QuietReply

SAMPLE_RATE = 24_000
CHUNK_MS = 20
WORD_MS = 240
"""Media time of one word: whole chunks, so that word ends fall on chunk ends."""
SILENT_MS = 40
"""Silence at the end of each word."""


class ToneReply(QuietReply):
    """Speaks each word once it is followed by a space or the end of the text, at most `lead_ms` ahead of playout."""

    def __init__(
        self, first_chunk_ms: float, lead_ms: float, chunk_compute_ms: float, sound: Callable[[int], Pcm]
    ) -> None:
        super().__init__()
        self._sound = sound
        self._first_chunk_ms = first_chunk_ms
        self._chunk_compute_ms = chunk_compute_ms
        self._lead_ms = lead_ms
        self._played_ms: float | None = None
        self._begun_s: float | None = None
        self._delivered_ms = 0.0
        self._ended = self._aborted = self._paused = False
        self._changed = asyncio.Event()
        self._words: list[WordTime] = []

    def push_text(self, text: str) -> None:
        self.text += text
        self._changed.set()

    def end_text(self) -> None:
        self._ended = True
        self._changed.set()

    def abort(self) -> None:
        self._aborted = True
        self._changed.set()

    async def released(self) -> None:
        """Nothing is held."""

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._changed.set()

    def report_playout(self, played_ms: float) -> None:
        self._played_ms = max(self._played_ms or 0.0, played_ms)
        self._changed.set()

    @property
    def words(self) -> tuple[WordTime, ...]:
        return tuple(self._words)

    def heard_text(self, played_ms: float) -> str:
        return self.text[: max((word.text_end for word in self._words if word.end_ms <= played_ms), default=0)]

    def facts(self) -> dict[str, float | int | None]:
        wasted = int((self.generated_ms - self._delivered_ms) // CHUNK_MS)
        return {"generated_ms": self.generated_ms, "delivered_ms": self._delivered_ms, "frames_wasted": wasted}

    async def __aiter__(self) -> AsyncIterator[Piece]:
        await self._until(lambda: self._next_word() is not None or self._ended)
        await asyncio.sleep(self._first_chunk_ms / 1000)
        while not self._aborted:
            word = self._next_word()
            if word is None:
                if self._ended:
                    return
                await self._until(lambda: self._next_word() is not None or self._ended)
                continue
            self._words.append(word)
            for chunk in np.split(self._sound(len(self._words) - 1), WORD_MS // CHUNK_MS):
                self.generated_ms += CHUNK_MS
                await self._until(lambda: not self._paused)
                await self._keep_lead()
                if self._chunk_compute_ms:
                    await asyncio.sleep(self._chunk_compute_ms / 1000)
                if self._aborted:
                    return
                self._begun_s = self._begun_s or asyncio.get_running_loop().time()
                self._delivered_ms += CHUNK_MS
                yield Piece(chunk)

    async def _keep_lead(self) -> None:
        """Wait until the listener is near enough; where nobody reports playout, real time is assumed."""
        while not self._aborted:
            played = self._played_ms
            if played is None and self._begun_s is not None:
                played = 1000 * (asyncio.get_running_loop().time() - self._begun_s)
            ahead_ms = self.generated_ms - (played or 0.0) - self._lead_ms
            if ahead_ms <= 0:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                # A millisecond at least: less is lost in rounding, and a virtual clock would stand still.
                patience_s = None if self._played_ms is not None else max(1.0, ahead_ms) / 1000
                await asyncio.wait_for(self._changed.wait(), patience_s)

    def _next_word(self) -> WordTime | None:
        start = self._words[-1].text_end if self._words else 0
        found = re.compile(r"\S+(?=\s)|\S+$" if self._ended else r"\S+(?=\s)").search(self.text, start)
        if found is None:
            return None
        begin_ms = len(self._words) * WORD_MS
        return WordTime(found[0], found.start(), found.end(), begin_ms, begin_ms + WORD_MS)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not (condition() or self._aborted):
            self._changed.clear()
            await self._changed.wait()


class TonePeer:
    """A sine in the place of a TTS.

    Args:
        first_chunk_ms: Time before the first chunk of a reply.
        chunk_compute_ms: Time each 20 ms chunk takes; above 20 it cannot keep up.
        sound: The audio of a word by its number, WORD_MS long.
    """

    name = "tone"
    abilities = Abilities(
        text="stream", audio="frames", abort="step", pause=True, words=True, lacks=("says nothing: it is a sine",)
    )
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        *,
        first_chunk_ms: float = 10.0,
        chunk_compute_ms: float = 0.0,
        lead_ms: float | None = None,
        sound: Callable[[int], Pcm] | None = None,
    ) -> None:
        self._sound = sound or (lambda number: _burst())
        self._settings = (first_chunk_ms, 1_000.0 if lead_ms is None else lead_ms, chunk_compute_ms)

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def reply(self, *, voice: str = "default") -> ToneReply:
        return ToneReply(*self._settings, self._sound)

    def pages_leaked(self) -> int | None:
        return None


def _burst() -> Pcm:
    """One word's audio."""
    loud = (WORD_MS - SILENT_MS) * SAMPLE_RATE // 1000
    times = np.arange(1, loud + 1) / SAMPLE_RATE
    burst = np.zeros(WORD_MS * SAMPLE_RATE // 1000, np.int16)
    burst[:loud] = (9_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    return burst
