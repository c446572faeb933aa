"""The two streams a LiveKit TTS owes its framework. They carry text in and 20 ms chunks out, and abort in `finally`.

One SynthesizeStream is one utterance (LiveKit calls it a segment). A flush means "speak what you have".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import TimedString

from agent_tts.engine import Utterance
from agent_tts.errors import AgentTTSError, TextAfterEndError
from agent_tts.livekit.errors import to_api_error
from agent_tts.types import AudioChunk, FinishReason, WordTime

if TYPE_CHECKING:
    from agent_tts.livekit.tts import TTS, VoiceOptions

FRAME_SIZE_MS = 20
UTTERANCE_KEY = "agent_tts.utterance"
"""In `AudioFrame.userdata`: the Utterance a frame belongs to, so that an audio output can report its playout."""
CLIENT_CLOSED_REQUEST = 499
"""The status with which the framework ends a stream without an error."""


class _Speech:
    """One attempt to speak: an open utterance, the framework's emitter, and the clock of the first chunk."""

    def __init__(self, utterance: Utterance, emitter: tts.AudioEmitter, *, timeout_s: float, stream: bool) -> None:
        self.utterance = utterance
        self._emitter = emitter
        self._timeout_s = timeout_s
        self._due_s: float | None = None
        self._deadline: asyncio.Timeout | None = None
        self._error: AgentTTSError | None = None
        self._text: list[str] = []
        self._timed_end = 0
        self._started = False
        emitter.initialize(
            request_id=utterance.id,
            sample_rate=utterance.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=FRAME_SIZE_MS,
            stream=stream,
        )

    def push_text(self, text: str) -> None:
        self._text.append(text)
        self.utterance.push_text(text)

    def end_text(self) -> None:
        """No more text: from here on the first chunk is due within the framework's timeout."""
        self.utterance.end_text()
        if not self._started:
            self._due_s = asyncio.get_running_loop().time() + self._timeout_s
            if self._deadline is not None:
                self._deadline.reschedule(self._due_s)

    def fail(self, error: AgentTTSError) -> None:
        """The engine refused the text: end the audio too, with this error."""
        self._error = error
        self.utterance.abort()

    async def forward(self) -> None:
        """Hand over every chunk as it comes. Raises APIError; AgentTTSError comes through as it is."""
        try:
            async with asyncio.timeout_at(self._due_s) as self._deadline:
                async for chunk in self.utterance:
                    self._started = True
                    self._deadline.reschedule(None)
                    self._emit(chunk)
        except TimeoutError as error:
            raise APITimeoutError(f"no audio within {self._timeout_s} s of the end of the text") from error
        finally:
            self._deadline = None
        if self._error is not None:
            raise self._error
        if self._started:
            return
        if self.utterance.finish_reason is FinishReason.ABORTED:
            raise APIStatusError("the utterance was aborted", status_code=CLIENT_CLOSED_REQUEST)
        if "".join(self._text).strip():
            self._emitter.push(bytes(2 * self.utterance.sample_rate * FRAME_SIZE_MS // 1000))

    def _emit(self, chunk: AudioChunk) -> None:
        end_ms = chunk.start_ms + 1000 * chunk.num_samples / chunk.sample_rate
        for word in chunk.words:
            self._emitter.push_timed_transcript(self._timed(word))
        rest = "".join(self._text)[self._timed_end : chunk.text_end] if chunk.is_final and self._timed_end else ""
        if rest.strip():  # behind the last word: an emoji, a bracket
            self._emitter.push_timed_transcript(TimedString(rest, start_time=end_ms / 1000, end_time=end_ms / 1000))
        if chunk.num_samples:  # the last chunk may be nothing but padding
            self._emitter.push(chunk.pcm.tobytes())

    def _timed(self, word: WordTime) -> TimedString:
        """The word with what stands before it, so that all of them together are the pushed text."""
        text = "".join(self._text)[self._timed_end : word.text_end]
        self._timed_end = word.text_end
        return TimedString(text, start_time=word.start_ms / 1000, end_time=word.end_ms / 1000)


@asynccontextmanager
async def _speech(
    owner: TTS, options: VoiceOptions, emitter: tts.AudioEmitter, conn_options: APIConnectOptions, *, stream: bool
) -> AsyncIterator[_Speech]:
    """An open utterance that is aborted however this ends; our errors leave it as the framework's."""
    try:
        utterance = await owner.open_utterance(options)
        try:
            yield _Speech(utterance, emitter, timeout_s=conn_options.timeout, stream=stream)
        finally:
            utterance.abort()  # a flag; harmless when all has been spoken
    except AgentTTSError as error:
        raise to_api_error(error) from error


class SynthesizeStream(tts.SynthesizeStream):
    """Text as the LLM writes it, speech as it comes."""

    def __init__(self, *, tts: TTS, options: VoiceOptions, conn_options: APIConnectOptions) -> None:
        self._owner = tts
        self._options = options
        self._utterance: Utterance | None = None
        super().__init__(tts=tts, conn_options=conn_options)

    @property
    def utterance(self) -> Utterance | None:
        """What is being spoken; None before the first text."""
        return self._utterance

    async def __anext__(self) -> tts.SynthesizedAudio:
        audio = await super().__anext__()
        audio.frame.userdata[UTTERANCE_KEY] = self._utterance
        return audio

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        first = await self._first_text()
        if first is None:
            self._end_empty(output_emitter)
            return
        async with _speech(self._owner, self._options, output_emitter, self._conn_options, stream=True) as speech:
            self._utterance = speech.utterance
            output_emitter.start_segment(segment_id=speech.utterance.id)
            self._mark_started()
            speech.push_text(first)
            feeding = asyncio.create_task(self._feed(speech), name="agent_tts.feed")
            try:
                await speech.forward()
            finally:
                speech.utterance.abort()
                await utils.aio.cancel_and_wait(feeding)
            output_emitter.end_segment()

    async def _first_text(self) -> str | None:
        """No slot is asked for before there is something to say."""
        async for item in self._input_ch:
            if isinstance(item, str):
                return item
        return None

    def _end_empty(self, emitter: tts.AudioEmitter) -> None:
        emitter.initialize(
            request_id=utils.shortuuid("utt_"),
            sample_rate=self._owner.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            frame_size_ms=FRAME_SIZE_MS,
            stream=True,
        )

    async def _feed(self, speech: _Speech) -> None:
        try:
            async for item in self._input_ch:
                if isinstance(item, str):
                    speech.push_text(item)
                else:
                    speech.utterance.flush()
            speech.end_text()
        except TextAfterEndError:
            return  # aborted from outside, by an audio output that was cleared: nobody hears the rest
        except AgentTTSError as error:
            speech.fail(error)


class ChunkedStream(tts.ChunkedStream):
    """All text at once, one metrics event."""

    def __init__(self, *, tts: TTS, input_text: str, options: VoiceOptions, conn_options: APIConnectOptions) -> None:
        self._owner = tts
        self._options = options
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        async with _speech(self._owner, self._options, output_emitter, self._conn_options, stream=False) as speech:
            speech.push_text(self._input_text)
            speech.end_text()
            await speech.forward()
