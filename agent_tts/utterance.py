"""Utterance: one turn of speech as its caller has it. Text in, 20 ms chunks out, and an end at any moment.

text:   push_text() ─▶ line ─▶ TextSource ─▶ scheduler ─▶ runner ─▶ AudioStream ─▶ async for chunk in utterance
abort:  abort() ─▶ AudioStream closed, line marked ─▶ retire() after the step in flight ─▶ ack.released()

The line leads to the engine's thread in this process, or over a socket to another one (runtime/door.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from agent_tts.errors import TextAfterEndError
from agent_tts.runtime.door import Line
from agent_tts.types import AudioChunk, FinishReason, TtsMetrics, WordTime

logger = logging.getLogger("agent_tts.engine")


@dataclass(frozen=True, slots=True)
class AbortAck:
    """The receipt of an abort. Nothing is delivered any more; `released()` says when the engine has let go of it."""

    called_at: float
    """time.monotonic() of the call."""
    _released: Future[TtsMetrics]

    async def released(self) -> TtsMetrics:
        """Wait until pages, slot and codec state are back; the utterance's metrics."""
        return await _wait_for(self._released)


class Utterance:
    """One turn of speech: text goes in as it is written, 20 ms chunks come out, and it can be stopped at any moment.

    Use it as an async context manager: leaving the block aborts what has not ended.
    """

    def __init__(self, line: Line, on_ended: Callable[[Utterance, TtsMetrics], None]) -> None:
        self.id = line.stream.utterance_id
        self.voice_id = line.stream.voice_id
        self.sample_rate = line.stream.sample_rate
        self.metrics: TtsMetrics | None = None
        self._line = line
        self._stream = line.stream
        self._on_ended = on_ended
        self._home = asyncio.get_running_loop()
        self._text: list[str] = []
        self._text_ended = False
        self._retired = threading.Event()
        self._released: Future[TtsMetrics] = Future()
        line.open(self._on_retired)

    # -- text ---------------------------------------------------------------------------------------------------------

    def push_text(self, text: str) -> None:
        """Add text, in any portions. Raises TextAfterEndError, EngineClosedError."""
        if self._text_ended:
            raise TextAfterEndError(self.id)
        if not text:
            return
        self._stream.note_text()
        self._text.append(text)
        self._line.push(text)

    def flush(self) -> None:
        """Speak what has been pushed, as if a sentence ended here."""
        if self._text_ended:
            raise TextAfterEndError(self.id)
        self._line.flush()

    def end_text(self) -> None:
        """No more text will come."""
        if not self._text_ended:
            self._text_ended = True
            self._line.end()

    # -- audio --------------------------------------------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[AudioChunk]:
        """Chunks until the end of the utterance; ends early, without an error, when it is aborted.

        Raises:
            GenerationError: The model failed in this utterance.
            EngineClosedError: The engine was closed underneath it.
        """
        try:
            while (chunk := await self._stream.next_chunk()) is not None:
                yield chunk
        finally:
            self._settle()

    def abort(self) -> AbortAck:
        """Stop now. Sets a mark and drops undelivered audio; never waits; harmless when late or repeated.

        After it returns no chunk of this utterance is delivered. The engine lets go of it after the step in flight.
        """
        ack = AbortAck(self._stream.now(), self._released)
        self._text_ended = True
        if self._stream.abort():
            self._line.abort()
        self._settle_soon()
        return ack

    def pause(self) -> None:
        """Stop scheduling and delivering without losing state or a sample."""
        self._line.pause()
        self._stream.pause()

    def resume(self) -> None:
        """Go on where pause() stopped."""
        self._stream.resume()
        self._line.resume()

    def report_playout(self, played_ms: float) -> None:
        """Say how much media time of this utterance has been heard. Without it, real-time playback is assumed."""
        self._stream.report_playout(played_ms)

    # -- what is known of it ------------------------------------------------------------------------------------------

    @property
    def words(self) -> tuple[WordTime, ...]:
        """Words timed so far, in order; empty where the model cannot tell."""
        return self._stream.words

    @property
    def generated_ms(self) -> float:
        """Audio computed so far."""
        return self._stream.generated_ms

    @property
    def played_ms(self) -> float:
        """Audio heard so far, as reported or assumed."""
        return self._stream.played_ms()

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._line.finish_reason

    @property
    def holds_id(self) -> bool:
        """Whether no other utterance may be opened under its id yet."""
        return not self._retired.is_set() and (self._stream.aborted or not self._stream.drained)

    def heard_text(self, played_ms: float) -> str:
        """The pushed text up to the last word that had been spoken whole when `played_ms` of it had been heard."""
        heard = [word.text_end for word in self.words if word.end_ms <= played_ms]
        return "".join(self._text)[: max(heard, default=0)]

    async def released(self) -> TtsMetrics:
        """Wait until the utterance has ended and the engine has let go of it; its metrics. Ends nothing by itself."""
        return await _wait_for(self._released)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._released.done():
            return
        self.abort()

    # -- the end ------------------------------------------------------------------------------------------------------

    def _on_retired(self) -> None:
        """On the door's thread: everything the utterance held is back."""
        self._retired.set()
        self._settle_soon()

    def _settle_soon(self) -> None:
        # Once the event loop is closed nobody is left who could ask.
        with contextlib.suppress(RuntimeError):
            self._home.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        """Publish the metrics once: when the engine has let go and the consumer has had all it will get."""
        if self._released.done() or not self._retired.is_set() or not self._stream.drained:
            return
        self.metrics = self._line.metrics()
        self._warn_of_silence(self.metrics)
        self._released.set_result(self.metrics)
        self._on_ended(self, self.metrics)

    def _warn_of_silence(self, metrics: TtsMetrics) -> None:
        """Text in a script that the voice does not read is silence, as an emoji is; but nobody means it to be."""
        silent = metrics.finish_reason is FinishReason.COMPLETED and not metrics.generated_audio_ms
        if silent and any(character.isalpha() for part in self._text for character in part):
            said = "voice %s can say none of %d characters: it does not read their script"
            logger.warning(said, self.voice_id, metrics.characters, extra={"utterance_id": self.id})


async def _wait_for(released: Future[TtsMetrics]) -> TtsMetrics:
    """Shielded: whoever waits may be cancelled; the receipt stays good for others."""
    return await asyncio.shield(asyncio.wrap_future(released))
