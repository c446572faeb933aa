"""Peers that speak one whole sentence at a time with a blocking library: hibari, Piper, Kokoro, espeak-ng.

Text is cut into sentences as it comes; one worker thread per peer speaks them in order, as these libraries are used in
agents today. abort() drops the sentences not begun; the one in work is computed to its end and thrown away, and
released() says when that was.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from evals.peers.base import Abilities, Pcm, PeerUnavailableError, Piece, QuietReply
from evals.peers.cutting import SentenceCutter

BY_SENTENCE = Abilities(
    text="sentences",
    audio="sentences",
    abort="sentence",
    lacks=(
        "no audio before the first whole sentence is computed",
        "abort() does not stop the sentence in work",
        "no word times: heard text is an estimate",
        "no lead limit: it computes as far as there is text",
    ),
)


class SentencePeer(ABC):
    """Base of peers with a blocking `speak`. Subclasses load in `load` and set `sample_rate` there."""

    name = "sentences"
    abilities = BY_SENTENCE
    sample_rate = 24_000

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"peer-{self.name}")
        self._expected: list[str] = []

    @abstractmethod
    def load(self) -> None:
        """Load the model. Raises PeerUnavailableError."""

    @abstractmethod
    def speak(self, sentence: str, voice: str) -> Pcm:
        """The audio of one sentence; blocks."""

    def expect(self, voice: str) -> None:
        """Name a voice that will be asked for, so that open() can say whether it is there."""
        self._expected.append(voice)

    def check_voice(self, voice: str) -> None:
        """Raises PeerUnavailableError for a voice that is not there; here "default" is the only one."""
        if voice != "default":
            raise PeerUnavailableError(f"{self.name} has one voice, 'default'; asked for: {voice!r}")

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, self.load)
        for voice in self._expected:
            self.check_voice(voice)

    async def close(self) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)

    def reply(self, *, voice: str = "default") -> SentenceReply:
        return SentenceReply(self, voice)

    def pages_leaked(self) -> int | None:
        return None

    def submit(self, sentence: str, voice: str) -> asyncio.Future[tuple[Pcm, float]]:
        """Speak on the worker thread; also says how long it computed, s."""
        return asyncio.get_running_loop().run_in_executor(self._worker, self._timed, sentence, voice)

    def _timed(self, sentence: str, voice: str) -> tuple[Pcm, float]:
        started = time.perf_counter()
        pcm = self.speak(sentence, voice)
        return pcm, time.perf_counter() - started


class SentenceReply(QuietReply):
    """One turn: sentences in, one Piece per sentence out."""

    def __init__(self, peer: SentencePeer, voice: str) -> None:
        super().__init__()
        self._peer = peer
        self._voice = voice
        self._delivered_ms = 0.0
        self._cutter = SentenceCutter()
        self._sentences: asyncio.Queue[str | None] = asyncio.Queue()
        self._in_work: asyncio.Future[tuple[Pcm, float]] | None = None
        self._aborted = False
        self._compute_s = 0.0

    def push_text(self, text: str) -> None:
        self.text += text
        for sentence in self._cutter.push(text):
            self._sentences.put_nowait(sentence)

    def end_text(self) -> None:
        for sentence in self._cutter.rest():
            self._sentences.put_nowait(sentence)
        self._sentences.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while not self._aborted and (sentence := await self._sentences.get()) is not None:
            self._in_work = self._peer.submit(sentence, self._voice)
            self._in_work.add_done_callback(self._count)  # also when nobody waits for it any more
            pcm, _ = await asyncio.shield(self._in_work)
            if self._aborted:
                return
            self._delivered_ms += self._ms(pcm)
            yield Piece(pcm)

    def _count(self, done: asyncio.Future[tuple[Pcm, float]]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        pcm, compute_s = done.result()
        self._compute_s += compute_s
        self.generated_ms += self._ms(pcm)

    def _ms(self, pcm: Pcm) -> float:
        return 1000 * len(pcm) / self._peer.sample_rate

    def abort(self) -> None:
        self._aborted = True
        self._sentences.put_nowait(None)

    async def released(self) -> None:
        if self._in_work is not None:
            await asyncio.wait([self._in_work])

    def facts(self) -> dict[str, float | int | None]:
        rtf = 1000 * self._compute_s / self.generated_ms if self.generated_ms else None
        return {"generated_ms": self.generated_ms, "delivered_ms": self._delivered_ms, "rtf_compute": rtf}
