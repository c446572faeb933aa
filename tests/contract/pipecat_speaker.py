"""The common suite's Speaker as a Pipecat user has it: a service in a running pipeline, and one LLM turn for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.worker import PipelineWorker
from pipecat.utils.errors import ErrorCategory

from agent_tts import Engine, errors
from agent_tts.pipecat import AgentTTSService, AgentTTSSettings
from agent_tts.types import Pcm
from tests.contract.pipecat_harness import Line, Upstream, pipeline_of
from tests.contract.speakers import Speaker, Speech, Trouble, Word


class PipecatSpeech(Speech):
    """Reads what reaches the end of the pipeline from where it was when the turn began."""

    def __init__(self, service: AgentTTSService, worker: PipelineWorker, line: Line, upstream: Upstream) -> None:
        super().__init__()
        self._service = service
        self._worker = worker
        self._line = line
        self._upstream = upstream
        self._at = len(line.frames)
        self._errors_before = len(upstream.errors)
        self._end: type[Frame] | None = LLMFullResponseEndFrame

    async def begin(self) -> None:
        await self._worker.queue_frame(LLMFullResponseStartFrame())

    async def push(self, text: str) -> None:
        await self._worker.queue_frame(LLMTextFrame(text))

    async def end(self) -> None:
        await self._worker.queue_frame(LLMFullResponseEndFrame())

    async def next(self) -> Pcm | None:
        while self._end is not None:
            await self._line.until(lambda frames: len(frames) > self._at)
            frame = self._line.frames[self._at]
            self._at += 1
            if isinstance(frame, TTSAudioRawFrame):
                self.said.frames.append(np.frombuffer(frame.audio, np.int16))
                return self.said.frames[-1]
            if isinstance(frame, TTSTextFrame):
                self.said.words.append(Word(frame.text.strip(), 20.0 * len(self.said.frames)))
            if isinstance(frame, self._end):
                self._end = None
        self.said.error = next(iter(self._upstream.errors[self._errors_before :]), None)
        return None

    async def stop(self) -> None:
        """Until the interruption has passed the service; what comes behind it is what leaks."""
        count = sum(isinstance(frame, InterruptionFrame) for frame in self._line.frames)
        await self._worker.queue_frame(InterruptionFrame())
        await self._line.until_seen(InterruptionFrame, count + 1)
        interruptions = [index for index, frame in enumerate(self._line.frames) if isinstance(frame, InterruptionFrame)]
        self._at = interruptions[-1] + 1
        await self._worker.queue_frames([LLMFullResponseStartFrame(), LLMFullResponseEndFrame()])

    def pause(self) -> None:
        self._service.pause()

    def resume(self) -> None:
        self._service.resume()


class PipecatSpeaker(Speaker):
    @classmethod
    @asynccontextmanager
    async def open(cls, engine: Engine, voice: str) -> AsyncIterator[Speaker]:
        speaker = cls(engine, voice)
        service = AgentTTSService(engine=engine, settings=AgentTTSSettings(voice=voice))
        upstream = Upstream()
        remove = engine.on_metrics(speaker.metrics.put_nowait)
        async with pipeline_of(upstream, service) as (worker, line):
            speaker.parts = (service, worker, line, upstream)
            yield speaker
        remove()

    @asynccontextmanager
    async def speech(self) -> AsyncIterator[Speech]:
        speech = PipecatSpeech(*self.parts)
        await speech.begin()
        yield speech

    def is_error(self, error: object, trouble: Trouble) -> bool:
        kind, category = {
            Trouble.BUSY: (errors.EngineBusyError, ErrorCategory.SERVER),
            Trouble.CLOSED: (errors.EngineClosedError, ErrorCategory.INVALID_REQUEST),
            Trouble.UNKNOWN_VOICE: (errors.UnknownVoiceError, ErrorCategory.INVALID_REQUEST),
            Trouble.FAILED: (errors.GenerationError, ErrorCategory.SERVER),
        }[trouble]
        return isinstance(error, ErrorFrame) and isinstance(error.exception, kind) and error.category is category
