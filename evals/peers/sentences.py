"""Peers that speak one whole sentence at a time with a blocking library: hibari, Piper, Kokoro, espeak-ng.

Text is cut into sentences as it comes; one worker thread per peer speaks them in order and ahead of playout, as these
libraries are used in agents today. abort() drops the sentences not begun; the one in work is computed to its end and
thrown away, and released() says when that was.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from evals.peers.base import Abilities, Pcm, PeerUnavailableError, Piece, QuietReply, heard_of
from evals.peers.cutting import SentenceCutter

FRAME_MS = 20
Job = asyncio.Future[tuple[Pcm, float]]
"""One sentence on the worker thread: its audio, and how long it computed, s."""

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
        self._work: dict[Job, Future[tuple[Pcm, float]]] = {}

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

    def submit(self, sentence: str, voice: str) -> Job:
        """Speak on the worker thread; also says how long it computed, s."""
        work = self._worker.submit(self._timed, sentence, voice)
        job = asyncio.wrap_future(work)
        self._work[job] = work
        job.add_done_callback(lambda done: self._work.pop(done, None))
        return job

    def drop(self, jobs: Sequence[Job]) -> None:
        """Forget those that have not begun."""
        for job in jobs:
            work = self._work.get(job)
            if work is not None and work.cancel():
                job.cancel()

    def _timed(self, sentence: str, voice: str) -> tuple[Pcm, float]:
        started = time.perf_counter()
        pcm = self.speak(sentence, voice)
        return pcm, time.perf_counter() - started


class SentenceReply(QuietReply):
    """One turn: sentences in, one Piece per sentence out. Each is begun once it is known and the worker is free."""

    def __init__(self, peer: SentencePeer, voice: str) -> None:
        super().__init__()
        self._peer = peer
        self._voice = voice
        self._cutter = SentenceCutter()
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._begun: list[Job] = []
        self._made: list[tuple[str, float]] = []
        self._aborted = False
        self._compute_s = 0.0
        self._delivered_ms = 0.0

    def push_text(self, text: str) -> None:
        self.text += text
        self._submit(self._cutter.push(text))

    def end_text(self) -> None:
        self._submit(self._cutter.rest())
        self._jobs.put_nowait(None)

    def _submit(self, sentences: list[str]) -> None:
        for sentence in [] if self._aborted else sentences:
            job = self._peer.submit(sentence, self._voice)
            job.add_done_callback(lambda done, said=sentence: self._count(said, done))
            self._begun.append(job)
            self._jobs.put_nowait(job)

    def _count(self, sentence: str, done: Job) -> None:
        """Also of what nobody waits for any more."""
        if done.cancelled() or done.exception() is not None:
            return
        pcm, compute_s = done.result()
        self._compute_s += compute_s
        self.generated_ms += self._ms(pcm)
        self._made.append((sentence, self._ms(pcm)))

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while not self._aborted and (job := await self._jobs.get()) is not None:
            # The worker computes on whatever becomes of who waits here.
            await asyncio.wait([job])
            if self._aborted:
                return
            pcm, _ = job.result()
            self._delivered_ms += self._ms(pcm)
            yield Piece(pcm)

    def abort(self) -> None:
        self._aborted = True
        self._peer.drop(self._begun)
        self._jobs.put_nowait(None)

    async def released(self) -> None:
        """The sentence in work has been computed to its end."""
        if left := [job for job in self._begun if not job.done()]:
            await asyncio.wait(left)

    def heard_text(self, played_ms: float) -> str:
        """Whole sentences by the length of their audio, and of the one that sounds a share, cut at a word."""
        return heard_of(self._made, played_ms)

    def facts(self) -> dict[str, float | int | None]:
        rtf = 1000 * self._compute_s / self.generated_ms if self.generated_ms else None
        wasted = int((self.generated_ms - self._delivered_ms) // FRAME_MS)
        made = {"generated_ms": self.generated_ms, "delivered_ms": self._delivered_ms, "frames_wasted": wasted}
        return made | {"rtf_compute": rtf}

    def _ms(self, pcm: Pcm) -> float:
        return 1000 * len(pcm) / self._peer.sample_rate
