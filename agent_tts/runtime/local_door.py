"""The door to an engine in this process: a Line is a Request of its loop. Knows no tensor and no framework."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from agent_tts.config import EngineConfig
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.door import Order
from agent_tts.runtime.loop import EngineLoop
from agent_tts.runtime.request import Request
from agent_tts.runtime.step import Runner
from agent_tts.runtime.timing import UtteranceCounts, summarise
from agent_tts.types import EngineStats, FinishReason, TtsMetrics


class LocalLine:
    """One request, marked and fed by the caller's threads."""

    def __init__(self, request: Request, loop: EngineLoop) -> None:
        self._request = request
        self._loop = loop

    @property
    def stream(self) -> AudioStream:
        return self._request.stream

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._request.finish_reason

    def open(self, on_retired: Callable[[], None]) -> None:
        def retired() -> None:
            self.stream.note_released()
            on_retired()

        self._loop.submit(self._request, retired)

    def push(self, text: str) -> None:
        self._loop.post(self._request, lambda: self._request.source.push(text))

    def flush(self) -> None:
        self._loop.post(self._request, self._request.source.flush)

    def end(self) -> None:
        self._loop.post(self._request, self._request.source.end)

    def abort(self) -> None:
        self._loop.abort(self._request)

    def pause(self) -> None:
        self._request.paused = True

    def resume(self) -> None:
        self._request.paused = False
        self._loop.wake()

    def metrics(self) -> TtsMetrics:
        request, stream = self._request, self._request.stream
        reason = FinishReason.ABORTED if stream.aborted else request.finish_reason or FinishReason.COMPLETED
        counts = UtteranceCounts(
            generated_ms=stream.generated_ms,
            delivered_ms=stream.delivered_ms,
            frame_ms=request.frame_ms,
            compute_s=request.compute_s,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=request.cached_tokens,
            characters=request.source.num_characters,
        )
        return summarise(request.id, request.voice, reason, stream.timing, counts)


class LocalDoor:
    """Owns the loop and its thread.

    Args:
        clock: What every moment of an utterance is read from.
        own_thread: False = nobody steps the loop but who holds this door (`loop.step()`); for tests and soaks.
    """

    def __init__(
        self,
        runner: Runner,
        config: EngineConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        own_thread: bool = True,
    ) -> None:
        self._config = config
        self._clock = clock
        self._loop = EngineLoop(runner, config, clock=clock)
        for voice in runner.voices:
            self._loop.scheduler.pins.want(voice, runner.voice_keys(voice))
        if own_thread:
            self._loop.start()

    @property
    def loop(self) -> EngineLoop:
        return self._loop

    def wait_until_prepared(self) -> None:
        """Block until the first utterance would be as fast as the next. Raises EngineClosedError."""
        self._loop.wait_until_prepared()

    @property
    def sample_rate(self) -> int:
        return self._loop.runner.sample_rate

    @property
    def frame_ms(self) -> float:
        return 1000 * self._loop.runner.frame_samples / self._loop.runner.sample_rate

    @property
    def model_name(self) -> str:
        return self._loop.runner.model_name

    @property
    def voices(self) -> tuple[str, ...]:
        return self._loop.runner.voices

    @property
    def max_waiting(self) -> int:
        return self._config.max_waiting

    @property
    def closed(self) -> bool:
        """True also when the loop's thread has ended by itself."""
        return self._loop.closing

    def line(self, order: Order) -> LocalLine:
        runner, config = self._loop.runner, self._config
        seed = next((seed for seed in (order.sampling.seed, config.seed) if seed is not None), secrets.randbits(32))
        request = Request(
            id=order.utterance_id,
            voice=order.voice,
            sampling=order.sampling,
            seed=seed,
            source=runner.new_text(order.voice),
            stream=AudioStream(order.utterance_id, order.voice, runner.sample_rate, clock=self._clock),
            lead_limit_ms=order.lead_ms or config.lead_ms,
            max_frames=int(config.max_utterance_ms // self.frame_ms),
            frame_ms=self.frame_ms,
        )
        return LocalLine(request, self._loop)

    def stats(self, num_open: int) -> EngineStats:
        books, counters = self._loop.scheduler.books(), self._loop.counters
        return EngineStats(
            open=num_open,
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
            pinned_pages=books.pinned_pages,
        )

    def close(self) -> None:
        self._loop.close()
