"""One utterance that another process speaks: messages out, chunks into the same AudioStream as in process.

abort() has dropped the audio here before its message leaves; what was on its way is dropped when it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from agent_tts.errors import AgentTTSError
from agent_tts.remote.values import order_to_json
from agent_tts.remote.wire import Kind, Piece, pack, pack_json, pack_playout, text_messages
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.door import Order
from agent_tts.runtime.timing import UtteranceCounts, summarise
from agent_tts.types import FinishReason, TtsMetrics

LEAST_MOVE_MS = 1.0
"""A listener who has moved by less is not reported."""


class Sender(Protocol):
    """The connection, as a line needs it."""

    def add(self, line: RemoteLine, opening: bytes) -> None: ...

    def send(self, data: bytes) -> None: ...


class RemoteLine:
    """The caller's side of one utterance. `number` names it on the connection."""

    def __init__(self, sender: Sender, number: int, order: Order, sample_rate: int, frame_ms: float) -> None:
        self.number = number
        self.stream = AudioStream(order.utterance_id, order.voice, sample_rate)
        self.finish_reason: FinishReason | None = None
        self._sender = sender
        self._order = order
        self._frame_ms = frame_ms
        self._on_retired: Callable[[], None] = lambda: None
        self._abort_sent = False
        self._reported_ms = 0.0
        self._engine: TtsMetrics | None = None

    # -- any thread ---------------------------------------------------------------------------------------------------

    def open(self, on_retired: Callable[[], None]) -> None:
        self._on_retired = on_retired
        self._sender.add(self, pack_json(Kind.OPEN, self.number, order_to_json(self._order)))

    def push(self, text: str) -> None:
        self._sender.send(text_messages(self.number, text))

    def flush(self) -> None:
        self._sender.send(pack(Kind.FLUSH, self.number))

    def end(self) -> None:
        self._sender.send(pack(Kind.END, self.number))

    def abort(self) -> None:
        if self.finish_reason is None:
            self.finish_reason = FinishReason.ABORTED
        self._abort_sent = True
        self._sender.send(pack(Kind.ABORT, self.number))

    def pause(self) -> None:
        self._sender.send(pack(Kind.PAUSE, self.number))

    def resume(self) -> None:
        self._sender.send(pack(Kind.RESUME, self.number))

    # -- the link's thread --------------------------------------------------------------------------------------------

    def take(self, piece: Piece) -> None:
        self.stream.write_chunk(piece.pcm, piece.num_samples, piece.text_end, piece.words, is_final=piece.is_final)
        if self.stream.aborted and not self._abort_sent:
            self.abort()  # the consumer's event loop is gone

    def end_audio(self, error: AgentTTSError | None) -> None:
        """No more chunks will come."""
        if error is None:
            self.stream.finish(0)
        else:
            self._set_reason(FinishReason.FAILED)
            self.stream.fail(error)

    def release(self, metrics: TtsMetrics | None) -> None:
        """The engine has let go of it, or (None) never took it."""
        self._engine = metrics
        if metrics is not None and not self.stream.aborted:
            self._set_reason(metrics.finish_reason)
        self._retire()

    def lose(self, error: AgentTTSError, *, silently: bool) -> None:
        """The connection broke: nobody will speak it to its end."""
        if not self.stream.ended:
            self._set_reason(FinishReason.FAILED)
        if silently:
            self.stream.finish(0)
        else:
            self.stream.fail(error)
        self._retire()

    def playout_message(self) -> bytes:
        """Where the listener is, if that has changed."""
        played_ms = self.stream.played_ms()
        if played_ms < self._reported_ms + LEAST_MOVE_MS:
            return b""
        self._reported_ms = played_ms
        return pack_playout(self.number, played_ms)

    # -- the end ------------------------------------------------------------------------------------------------------

    def metrics(self) -> TtsMetrics:
        """Ours for what the caller felt, the engine's for what was computed. Abort to release as both have seen it."""
        engine, stream = self._engine, self.stream
        reason = FinishReason.ABORTED if stream.aborted else self.finish_reason or FinishReason.COMPLETED
        generated_ms = max(stream.generated_ms, engine.generated_audio_ms if engine else 0.0)
        rtf = engine.rtf if engine else None
        counts = UtteranceCounts(
            generated_ms=generated_ms,
            delivered_ms=stream.delivered_ms,
            frame_ms=self._frame_ms,
            compute_s=(rtf or 0.0) * generated_ms / 1000,
            prompt_tokens=engine.prompt_tokens if engine else 0,
            cached_tokens=engine.cached_tokens if engine else 0,
            characters=engine.characters if engine else 0,
        )
        mine = summarise(stream.utterance_id, stream.voice_id, reason, stream.timing, counts)
        return replace(
            mine,
            rtf=rtf,
            ttfa_first_frame_ms=engine.ttfa_first_frame_ms if engine else None,
            queue_ms=engine.queue_ms if engine else None,
            engine_cancellation_ms=engine.cancellation_latency_ms if engine else None,
        )

    def _set_reason(self, reason: FinishReason) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason

    def _retire(self) -> None:
        self.stream.note_released()
        self._on_retired()
