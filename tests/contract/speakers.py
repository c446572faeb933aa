"""One small interface over all that speaks: the engine, its socket client, the LiveKit plugin, Pipecat's service.

A `Stage` is an engine behind one of its doors; it opens `Speaker`s, each of which speaks as one caller of that
framework does; a `Speech` is one utterance of it. The frameworks' own speakers lie in files beside this one.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from agent_tts import Engine, EngineConfig, TtsMetrics, errors
from agent_tts.errors import AgentTTSError
from agent_tts.runtime.step import Row, RowResult, Work
from agent_tts.types import Pcm
from tests.doors import behind_a_socket, in_process
from tests.fakes import FakeText, ToneRunner


class SpellingText(FakeText):
    """Tells the runner which word it is at."""

    def next_work(self, position: int) -> Work:
        return replace(
            FakeText.next_work(self, position), payload=self._words()[self.frames // self.frames_per_word][2]
        )


class SpellingRunner(ToneRunner):
    """Every frame sounds different, by voice, word and place: a sample that is lost, doubled or another's is seen."""

    def new_text(self, voice: str) -> FakeText:
        return SpellingText(self.frames_per_word)

    def _frame(self, row: Row) -> RowResult:
        place = self._frames.get(row.slot, 0)
        result = ToneRunner._frame(self, row)
        name = f"{row.voice}/{row.work.payload}/{place}"
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
        pcm = np.random.default_rng(seed).uniform(-0.5, 0.5, self.frame_samples).astype(np.float32)
        return replace(result, pcm=pcm)


class Trouble(Enum):
    """What can go wrong for a caller of any framework."""

    BUSY = "the engine takes no further utterance"
    CLOSED = "the engine is closed"
    UNKNOWN_VOICE = "no voice has that name"
    FAILED = "the model failed"


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    end_ms: float


@dataclass(slots=True)
class Said:
    """What came of one utterance."""

    frames: list[Pcm] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    error: object | None = None
    """As the framework's caller gets it."""

    @property
    def pcm(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.int16), *self.frames])


class Speech(ABC):
    """One utterance. `said` grows while it is read."""

    def __init__(self) -> None:
        self.said = Said()

    @abstractmethod
    async def push(self, text: str) -> None: ...

    @abstractmethod
    async def end(self) -> None:
        """No more text."""

    @abstractmethod
    async def next(self) -> Pcm | None:
        """The next frame, None after the last one. An error ends it and lies in `said.error`."""

    @abstractmethod
    async def stop(self) -> None:
        """What the framework does when the caller talks over it."""

    @abstractmethod
    def pause(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...

    async def rest(self) -> Said:
        """Everything up to the end."""
        while await self.next() is not None:
            pass
        return self.said


class Speaker(ABC):
    """One caller's TTS."""

    held_back_ms = 0.0
    """The framework may cut the first and the last frame by so much."""

    def __init__(self, engine: Engine, voice: str) -> None:
        self.engine = engine
        self.voice = voice
        self.metrics: asyncio.Queue[TtsMetrics] = asyncio.Queue()
        """Of every utterance that ended, as the framework's user is told."""

    @abstractmethod
    def speech(self) -> AbstractAsyncContextManager[Speech]: ...

    @abstractmethod
    def is_error(self, error: object, trouble: Trouble) -> bool:
        """Whether that is how the framework says it, with the right word on whether asking again helps."""

    async def say(self, *pieces: str) -> Said:
        async with self.speech() as speech:
            for piece in pieces:
                await speech.push(piece)
            await speech.end()
            return await speech.rest()


# -- the engine, in process or behind a socket ------------------------------------------------------------------------


class EngineSpeech(Speech):
    def __init__(self, speaker: EngineSpeaker) -> None:
        super().__init__()
        self._utterance = None
        try:
            self._utterance = speaker.engine.utterance(voice=speaker.voice, lead_ms=60_000)
            self.chunks = aiter(self._utterance)
        except AgentTTSError as error:
            self.said.error = error

    async def push(self, text: str) -> None:
        if self._utterance:
            self._utterance.push_text(text)

    async def end(self) -> None:
        if self._utterance:
            self._utterance.end_text()

    async def next(self) -> Pcm | None:
        if self._utterance is None:
            return None
        try:
            chunk = await anext(self.chunks, None)
        except AgentTTSError as error:
            self.said.error, chunk = error, None
        if chunk is None:
            return None
        self.said.frames.append(chunk.pcm)
        self.said.words += [Word(word.text, word.end_ms) for word in chunk.words]
        return chunk.pcm

    async def stop(self) -> None:
        self._utterance.abort()

    def pause(self) -> None:
        self._utterance.pause()

    def resume(self) -> None:
        self._utterance.resume()


class EngineSpeaker(Speaker):
    @classmethod
    @asynccontextmanager
    async def open(cls, engine: Engine, voice: str) -> AsyncIterator[Speaker]:
        speaker = cls(engine, voice)
        remove = engine.on_metrics(speaker.metrics.put_nowait)
        yield speaker
        remove()

    @asynccontextmanager
    async def speech(self) -> AsyncIterator[Speech]:
        speech = EngineSpeech(self)
        if speech._utterance is None:
            yield speech
            return
        async with speech._utterance, aclosing(speech.chunks):
            yield speech

    def is_error(self, error: object, trouble: Trouble) -> bool:
        return isinstance(
            error,
            {
                Trouble.BUSY: errors.EngineBusyError,
                Trouble.CLOSED: errors.EngineClosedError,
                Trouble.UNKNOWN_VOICE: errors.UnknownVoiceError,
                Trouble.FAILED: errors.GenerationError,
            }[trouble],
        )


# -- all of them ------------------------------------------------------------------------------------------------------


class Stage:
    """An engine behind one door, and the speakers of one framework on it."""

    def __init__(self, engine: Engine, open_speaker: Callable[[Engine, str], AbstractAsyncContextManager[Speaker]]):
        self.engine = engine
        self._open_speaker = open_speaker

    def speaker(self, voice: str = "default") -> AbstractAsyncContextManager[Speaker]:
        return self._open_speaker(self.engine, voice)

    async def let_go(self) -> None:
        """Every utterance has ended and nothing is held."""
        while (stats := self.engine.stats()).open or stats.running or stats.waiting:  # noqa: ASYNC110 - on its thread
            await asyncio.sleep(0)
        assert self.engine.closed or stats.free_slots == stats.total_slots


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that speaks: its door, and where its speaker is found."""

    door: Callable[..., AbstractAsyncContextManager[Engine]]
    module: str
    speaker: str
    needs: str | None = None

    @asynccontextmanager
    async def stage(self, runner: ToneRunner, config: EngineConfig | None = None) -> AsyncIterator[Stage]:
        speaker = getattr(importlib.import_module(self.module), self.speaker)
        async with self.door(runner, config) as engine:
            yield Stage(engine, speaker.open)


KINDS = {
    "engine": Kind(in_process, "tests.contract.speakers", "EngineSpeaker"),
    "socket client": Kind(behind_a_socket, "tests.contract.speakers", "EngineSpeaker"),
    "LiveKit": Kind(in_process, "tests.contract.livekit_speaker", "LiveKitSpeaker", needs="livekit.agents"),
    "Pipecat": Kind(in_process, "tests.contract.pipecat_speaker", "PipecatSpeaker", needs="pipecat"),
}
