"""The common suite's Speaker as a LiveKit user has it: a TTS, and one SynthesizeStream for each utterance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT

from agent_tts import Engine
from agent_tts.livekit import TTS
from agent_tts.livekit.streams import SynthesizeStream
from agent_tts.types import Pcm
from tests.contract.speakers import Speaker, Speech, Trouble, Word

ONCE = APIConnectOptions(max_retry=0)


class LiveKitSpeech(Speech):
    def __init__(self, stream: SynthesizeStream) -> None:
        super().__init__()
        self._stream = stream

    async def push(self, text: str) -> None:
        self._stream.push_text(text)

    async def end(self) -> None:
        self._stream.end_input()

    async def next(self) -> Pcm | None:
        try:
            audio = await anext(self._stream, None)
        except APIError as error:
            self.said.error, audio = error, None
        if audio is None:
            return None
        self.said.frames.append(np.frombuffer(audio.frame.data, np.int16))
        timed = audio.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
        self.said.words += [Word(word.strip(), 1000 * word.end_time) for word in timed]
        return self.said.frames[-1]

    async def stop(self) -> None:
        await self._stream.aclose()

    def pause(self) -> None:
        self._stream.utterance.pause()

    def resume(self) -> None:
        self._stream.utterance.resume()


class LiveKitSpeaker(Speaker):
    held_back_ms = 10.0  # to mark the last frame as such

    @classmethod
    @asynccontextmanager
    async def open(cls, engine: Engine, voice: str) -> AsyncIterator[Speaker]:
        speaker = cls(engine, voice)
        speaker.tts = TTS(engine=engine, voice=voice, lead_ms=60_000)
        speaker.tts.on("utterance_metrics", speaker.metrics.put_nowait)
        yield speaker
        await speaker.tts.aclose()

    @asynccontextmanager
    async def speech(self) -> AsyncIterator[Speech]:
        async with self.tts.stream(conn_options=ONCE) as stream:
            yield LiveKitSpeech(stream)

    def is_error(self, error: object, trouble: Trouble) -> bool:
        kind, status, retryable = {
            Trouble.BUSY: (APIStatusError, 429, True),
            Trouble.CLOSED: (APIConnectionError, None, False),
            Trouble.UNKNOWN_VOICE: (APIStatusError, 404, False),
            Trouble.FAILED: (APIStatusError, 500, True),
        }[trouble]
        return isinstance(error, kind) and (getattr(error, "status_code", None), error.retryable) == (status, retryable)
