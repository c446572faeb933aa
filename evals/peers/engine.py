"""Peer: agent_tts itself, in process or behind a socket. Uses its public names and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from agent_tts import AgentTTSError, Engine, EngineConfig, Utterance, WordTime
from evals.peers.base import Abilities, PeerUnavailableError, Piece
from evals.serving import served


class EngineReply:
    """An Utterance as a Reply."""

    def __init__(self, utterance: Utterance) -> None:
        self.id = utterance.id
        self._utterance = utterance
        self._ack: Any = None

    def push_text(self, text: str) -> None:
        self._utterance.push_text(text)

    def end_text(self) -> None:
        self._utterance.end_text()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        async for chunk in self._utterance:
            yield Piece(chunk.pcm[: chunk.num_samples])

    def abort(self) -> None:
        self._ack = self._utterance.abort()

    async def released(self) -> None:
        # After its end an abort changes nothing; its acknowledgement is how one waits for the metrics.
        self._ack = self._ack or self._utterance.abort()
        await self._ack.released()

    def pause(self) -> None:
        self._utterance.pause()

    def resume(self) -> None:
        self._utterance.resume()

    def report_playout(self, played_ms: float) -> None:
        self._utterance.report_playout(played_ms)

    def heard_text(self, played_ms: float) -> str:
        return self._utterance.heard_text(played_ms)

    @property
    def words(self) -> tuple[WordTime, ...]:
        return self._utterance.words

    def facts(self) -> dict[str, float | int | None]:
        metrics = self._utterance.metrics
        if metrics is None:
            return {}
        return {
            "ttfa_first_frame_ms": metrics.ttfa_first_frame_ms,
            "queue_ms": metrics.queue_ms,
            "rtf_compute": metrics.rtf,
            "generated_ms": metrics.generated_audio_ms,
            "delivered_ms": metrics.delivered_audio_ms,
            "frames_wasted": metrics.frames_wasted,
            "prompt_tokens": metrics.prompt_tokens,
            "cached_tokens": metrics.cached_tokens,
            "cancellation_latency_ms": metrics.cancellation_latency_ms,
        }


class EnginePeer:
    """agent_tts with one loaded model.

    Args:
        model: "bundled", a checkpoint folder, a hub id, or the address of an engine process.
        lead_ms: How far ahead of playout an utterance may be; None = the engine's default. For throughput: very large.
        engine: One that is already loaded, in place of `model`; close() closes it too.
        serve: Command of a server to start for this peer, which is then behind its socket; it is ended by close().
    """

    name = "engine"
    abilities = Abilities(text="stream", audio="frames", abort="step", pause=True, words=True)

    def __init__(
        self,
        model: str = "bundled",
        *,
        config: EngineConfig | None = None,
        lead_ms: float | None = None,
        engine: Engine | None = None,
        serve: Sequence[str] = (),
    ) -> None:
        self._serve = serve
        self._until_closed = AsyncExitStack()
        self._model = model
        self._config = config
        self._lead_ms = lead_ms
        self._engine = engine

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "open() comes first"
        return self._engine

    @property
    def sample_rate(self) -> int:
        return self.engine.sample_rate

    async def open(self) -> None:
        if self._engine is not None:
            return
        try:
            if self._serve:
                self._engine, _ = await self._until_closed.enter_async_context(served(self._serve))
                return
            self._engine = await Engine.load(self._model, config=self._config)
        except (AgentTTSError, ImportError) as error:
            raise PeerUnavailableError(f"agent_tts cannot load {self._model!r}: {error}") from error

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()
        await self._until_closed.aclose()

    def reply(self, *, voice: str = "default") -> EngineReply:
        return EngineReply(self.engine.utterance(voice=voice, lead_ms=self._lead_ms))

    def pages_leaked(self) -> int | None:
        stats = self.engine.stats()
        if stats.open:
            return None
        return stats.total_pages - stats.free_pages - stats.cached_pages
