"""One LLM turn being spoken: text into its utterance, audio and words out of it into Pipecat's audio context.

A turn whose model fails says no more: what had been generated is still heard, later text of the turn is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from pipecat.frames.frames import TTSAudioRawFrame
from pipecat.services.tts_service import TTSService

from agent_tts.engine import AbortAck, Utterance
from agent_tts.errors import AgentTTSError, EngineClosedError, TextAfterEndError
from agent_tts.pipecat.translate import TurnFailedFrame
from agent_tts.types import FinishReason, WordTime

CHUNK_MS = 20


class Turn:
    """Owned by its service, which opens and aborts it."""

    def __init__(
        self,
        service: TTSService,
        context_id: str,
        utterance: Utterance | None,
        *,
        word_delay_ms: float,
        told_as: Callable[[AgentTTSError, str], TurnFailedFrame],
    ) -> None:
        """`utterance` is None when the engine refused to open one: such a turn has failed from the start."""
        self.utterance = utterance
        self._service = service
        self._context_id = context_id
        self._word_delay_ms = word_delay_ms
        self._told_as = told_as
        self._over = utterance is None
        self._text_ended = False

    # -- text in ------------------------------------------------------------------------------------------------------

    def push_text(self, text: str, *, flush: bool) -> None:
        """Add text; `flush`: it is a whole sentence."""
        if self.utterance is None or self._over:
            return
        with contextlib.suppress(EngineClosedError, TextAfterEndError):  # speak() ends too, and tells of it
            self.utterance.push_text(text)
            if flush:
                self.utterance.flush()

    async def end_text(self) -> None:
        """No more text: the context ends behind what is still to be said."""
        self._text_ended = True
        if self.utterance is None or self._over:
            await self._end_context()
        else:
            with contextlib.suppress(AgentTTSError):  # as in push_text()
                self.utterance.end_text()

    def abort(self) -> AbortAck | None:
        """Never waits. None when nothing had been begun, or it had ended by itself."""
        if self.utterance is None:
            return None
        ack, metrics = self.utterance.abort(), self.utterance.metrics
        return ack if metrics is None or metrics.finish_reason is FinishReason.ABORTED else None

    # -- audio out ----------------------------------------------------------------------------------------------------

    async def speak(self, utterance: Utterance, speaking: asyncio.Lock) -> None:
        """Carry the utterance's audio into its audio context until it ends. Turns are carried one after the other."""
        try:
            async with speaking:
                num_chunks = await self._carry(utterance)
            if utterance.finish_reason is FinishReason.COMPLETED and not num_chunks:
                # Nothing of it could be spoken. Pipecat would count a context without audio as a failing service.
                await self._append_audio(bytes(2 * (utterance.sample_rate * CHUNK_MS // 1000)), utterance.sample_rate)
        except AgentTTSError as error:
            self._over = True
            await self._service.append_to_audio_context(self._context_id, self._told_as(error, self._context_id))
        finally:
            utterance.abort()
        self._over = True  # by itself, or aborted with its engine: text that is still written for it opens no other
        if self._text_ended:
            await self._end_context()

    async def _carry(self, utterance: Utterance) -> int:
        """Chunks, and behind each the words that have been heard when it has been played."""
        num_chunks = 0
        words: deque[WordTime] = deque()
        try:
            async for chunk in utterance:
                await self._append_audio(chunk.pcm.tobytes(), utterance.sample_rate)
                num_chunks += 1
                words.extend(chunk.words)
                heard_ms = chunk.start_ms + CHUNK_MS - self._word_delay_ms
                while words and words[0].end_ms <= heard_ms:
                    await self._add_word(words.popleft())
        except AgentTTSError:
            await self._add_words(words)  # their audio is on its way
            raise
        await self._add_words(words)
        return num_chunks

    async def _add_words(self, words: deque[WordTime]) -> None:
        for word in words:
            await self._add_word(word)

    async def _add_word(self, word: WordTime) -> None:
        await self._service.add_word_timestamps([(word.text, word.end_ms / 1000)], self._context_id)

    async def _append_audio(self, pcm: bytes, sample_rate: int) -> None:
        frame = TTSAudioRawFrame(pcm, sample_rate, 1, context_id=self._context_id)
        await self._service.append_to_audio_context(self._context_id, frame)

    async def _end_context(self) -> None:
        if self._service.audio_context_available(self._context_id):
            await self._service.remove_audio_context(self._context_id)
