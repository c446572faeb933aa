"""Engine and Utterance: the async face of the package. Knows no tensor and no framework; loads torch only in load().

text:   push_text() ─▶ mailbox ─▶ TextSource ─▶ scheduler ─▶ runner ─▶ AudioStream ─▶ async for chunk in utterance
abort:  abort() ─▶ AudioStream closed, request marked ─▶ retire() after the step in flight ─▶ ack.released()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from agent_tts.config import EngineConfig
from agent_tts.errors import ConfigError, EngineBusyError, EngineClosedError, TextAfterEndError, UnknownVoiceError
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.loop import EngineLoop
from agent_tts.runtime.request import Request
from agent_tts.runtime.step import Runner
from agent_tts.runtime.timing import UtteranceCounts, summarise
from agent_tts.types import AudioChunk, FinishReason, SamplingParams, TtsMetrics, WordTime

MetricsCallback = Callable[[TtsMetrics], None]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine at this moment. Counts since it was loaded, except for what is open, running, waiting and free."""

    open: int
    running: int
    waiting: int
    free_slots: int
    total_slots: int
    free_pages: int
    cached_pages: int
    total_pages: int
    steps: int
    frames: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    evicted_tokens: int

    @property
    def hit_rate(self) -> float:
        """Prompt tokens taken from the prefix cache, of all prompt tokens; 0 when there were none."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class Engine:
    """Speaks many utterances at once with one loaded model. One thread computes; this object never does."""

    provider = "agent_tts"

    def __init__(self, loop: EngineLoop, config: EngineConfig) -> None:
        self._loop = loop
        self._config = config
        self._open: set[Utterance] = set()
        self._callbacks: list[MetricsCallback] = []
        self._names = itertools.count(1)
        self._closed = False

    @classmethod
    async def load(cls, model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        """Load a model and start its thread.

        Args:
            model: "bundled", or a checkpoint folder; overrides `config.model`.
            config: What the machine can hold.

        Raises:
            CheckpointError: The model cannot be loaded; says what was expected.
            ConfigError: A config value is not allowed.
        """
        config = config or EngineConfig()
        if model is not None:
            config = replace(config, model=model)
        runner = await asyncio.to_thread(_load_runner, config)
        return cls.from_runner(runner, config)

    @classmethod
    def from_runner(cls, runner: Runner, config: EngineConfig | None = None) -> Engine:
        """An engine around a runner that is loaded already; starts its thread."""
        config = config or EngineConfig()
        loop = EngineLoop(runner, config)
        loop.start()
        return cls(loop, config)

    @property
    def sample_rate(self) -> int:
        """Hz of every chunk."""
        return self._loop.runner.sample_rate

    @property
    def model_name(self) -> str:
        return self._loop.runner.model_name

    @property
    def voices(self) -> tuple[str, ...]:
        return self._loop.runner.voices

    @property
    def closed(self) -> bool:
        """True after close(), and when the engine's thread has ended by itself."""
        return self._closed or self._loop.closing

    def utterance(
        self,
        *,
        voice: str = "default",
        sampling: SamplingParams | None = None,
        utterance_id: str | None = None,
        lead_ms: float | None = None,
    ) -> Utterance:
        """Open one utterance. Cheap; must be called in a running event loop. The caller owns it and ends or aborts it.

        Args:
            voice: One of `voices`.
            sampling: What this utterance wants from the sampler.
            utterance_id: Name in chunks and metrics; made up when None.
            lead_ms: How far ahead of playout it may be generated; None = the engine's.

        Raises:
            UnknownVoiceError, EngineBusyError, EngineClosedError
        """
        if self.closed:
            raise EngineClosedError
        if voice not in self.voices:
            raise UnknownVoiceError(voice, self.voices)
        if len(self._open) >= self._config.max_waiting:
            raise EngineBusyError(len(self._open), self._config.max_waiting)
        if lead_ms is not None and not lead_ms > 0:
            raise ConfigError(f"lead_ms is {lead_ms!r}; it must be greater than 0.")
        request = self._new_request(voice, sampling or SamplingParams(), utterance_id, lead_ms)
        utterance = Utterance(request, self._loop, self._utterance_ended)
        self._open.add(utterance)
        return utterance

    def on_metrics(self, callback: MetricsCallback) -> Callable[[], None]:
        """Call `callback` once for each utterance that ends, on its event loop. Returns what removes it again."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def stats(self) -> EngineStats:
        books, counters = self._loop.scheduler.books(), self._loop.counters
        return EngineStats(
            open=len(self._open),
            running=books.running,
            waiting=books.waiting,
            free_slots=books.free_slots,
            total_slots=books.total_slots,
            free_pages=books.free_pages,
            cached_pages=books.cached_pages,
            total_pages=books.total_pages,
            steps=counters.steps,
            frames=counters.frames,
            failed=counters.failed,
            prompt_tokens=counters.prompt_tokens,
            cached_tokens=counters.cached_tokens,
            evicted_tokens=self._loop.scheduler.cache.evicted_tokens,
        )

    async def close(self) -> None:
        """Abort what runs and end the thread. Later calls do nothing; later utterances raise EngineClosedError."""
        self._closed = True
        for utterance in list(self._open):
            utterance.abort()
        await asyncio.to_thread(self._loop.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _new_request(
        self, voice: str, sampling: SamplingParams, utterance_id: str | None, lead_ms: float | None
    ) -> Request:
        runner, config = self._loop.runner, self._config
        request_id = utterance_id or f"utterance-{next(self._names)}-{secrets.token_hex(3)}"
        seed = next((seed for seed in (sampling.seed, config.seed) if seed is not None), secrets.randbits(32))
        frame_ms = 1000 * runner.frame_samples / runner.sample_rate
        return Request(
            id=request_id,
            voice=voice,
            sampling=sampling,
            seed=seed,
            source=runner.new_text(voice),
            stream=AudioStream(request_id, voice, runner.sample_rate),
            lead_limit_ms=lead_ms or config.lead_ms,
            max_frames=int(config.max_utterance_ms // frame_ms),
            frame_ms=frame_ms,
        )

    def _utterance_ended(self, utterance: Utterance, metrics: TtsMetrics) -> None:
        self._open.discard(utterance)
        for callback in list(self._callbacks):
            callback(metrics)


@dataclass(frozen=True, slots=True)
class AbortAck:
    """The receipt of an abort. Nothing is delivered any more; `released()` says when the engine has let go of it."""

    called_at: float
    """time.monotonic() of the call."""
    _released: Future[TtsMetrics]

    async def released(self) -> TtsMetrics:
        """Wait until pages, slot and codec state are back; the utterance's metrics."""
        # Shielded: whoever waits may be cancelled; the receipt stays good for others.
        return await asyncio.shield(asyncio.wrap_future(self._released))


class Utterance:
    """One turn of speech: text goes in as it is written, 20 ms chunks come out, and it can be stopped at any moment.

    Use it as an async context manager: leaving the block aborts what has not ended.
    """

    def __init__(self, request: Request, loop: EngineLoop, on_ended: Callable[[Utterance, TtsMetrics], None]) -> None:
        self.id = request.id
        self.voice_id = request.voice
        self.sample_rate = request.stream.sample_rate
        self.metrics: TtsMetrics | None = None
        self._request = request
        self._stream = request.stream
        self._loop = loop
        self._on_ended = on_ended
        self._home = asyncio.get_running_loop()
        self._text: list[str] = []
        self._text_ended = False
        self._retired = threading.Event()
        self._released: Future[TtsMetrics] = Future()
        loop.submit(request, self._on_retired)

    # -- text ---------------------------------------------------------------------------------------------------------

    def push_text(self, text: str) -> None:
        """Add text, in any portions. Raises TextAfterEndError, EngineClosedError."""
        if self._text_ended:
            raise TextAfterEndError(self.id)
        if not text:
            return
        if self._stream.timing.first_text_s is None:
            self._stream.timing.first_text_s = time.monotonic()
        self._text.append(text)
        self._loop.post(self._request, lambda: self._request.source.push(text))

    def flush(self) -> None:
        """Speak what has been pushed, as if a sentence ended here."""
        if self._text_ended:
            raise TextAfterEndError(self.id)
        self._loop.post(self._request, self._request.source.flush)

    def end_text(self) -> None:
        """No more text will come."""
        if not self._text_ended:
            self._text_ended = True
            self._loop.post(self._request, self._request.source.end)

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
        now = time.monotonic()
        self._text_ended = True
        if self._stream.abort():
            self._loop.abort(self._request)
        self._settle_soon()
        return AbortAck(now, self._released)

    def pause(self) -> None:
        """Stop scheduling and delivering without losing state or a sample."""
        self._request.paused = True
        self._stream.pause()

    def resume(self) -> None:
        """Go on where pause() stopped."""
        self._request.paused = False
        self._stream.resume()
        self._loop.wake()

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
        return self._request.finish_reason

    def heard_text(self, played_ms: float) -> str:
        """The pushed text up to the last word that had been spoken whole when `played_ms` of it had been heard."""
        heard = [word.text_end for word in self.words if word.end_ms <= played_ms]
        return "".join(self._text)[: max(heard, default=0)]

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
        """On the engine's thread: everything the request held is back."""
        self._stream.timing.released_s = time.monotonic()
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
        self.metrics = self._summary()
        self._released.set_result(self.metrics)
        self._on_ended(self, self.metrics)

    def _summary(self) -> TtsMetrics:
        request, stream = self._request, self._stream
        reason = FinishReason.ABORTED if stream.aborted else request.finish_reason or FinishReason.COMPLETED
        counts = UtteranceCounts(
            generated_ms=stream.generated_ms,
            delivered_ms=1000 * stream.delivered_samples / stream.sample_rate,
            frame_ms=request.frame_ms,
            compute_s=request.compute_s,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=request.cached_tokens,
            characters=request.source.num_characters,
        )
        return summarise(self.id, self.voice_id, reason, stream.timing, counts)


def _load_runner(config: EngineConfig) -> Runner:
    """Build the runner that fits the checkpoint's layout. The first place that imports torch."""
    from agent_tts.runtime.loading import load_runner

    return load_runner(config)
