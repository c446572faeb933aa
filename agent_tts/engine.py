"""Engine and Utterance: the async face of the package. Knows no tensor and no framework; loads torch only in load().

text:   push_text() ─▶ line ─▶ TextSource ─▶ scheduler ─▶ runner ─▶ AudioStream ─▶ async for chunk in utterance
abort:  abort() ─▶ AudioStream closed, line marked ─▶ retire() after the step in flight ─▶ ack.released()

The line leads to the engine's thread in this process, or over a socket to another one (runtime/door.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from agent_tts.config import EngineConfig
from agent_tts.errors import ConfigError, EngineBusyError, EngineClosedError, TextAfterEndError, UnknownVoiceError
from agent_tts.runtime.door import Door, Line, Order
from agent_tts.runtime.local_door import LocalDoor
from agent_tts.runtime.step import Runner
from agent_tts.types import AudioChunk, EngineStats, FinishReason, SamplingParams, TtsMetrics, WordTime

MetricsCallback = Callable[[TtsMetrics], None]
REMOTE_SCHEMES = ("unix://", "tcp://")
WARM_UP_TEXT = "Hello."


class Engine:
    """Speaks many utterances at once with one loaded model. One thread computes; this object never does."""

    provider = "agent_tts"

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open: set[Utterance] = set()
        self._warming: set[Utterance] = set()
        self._callbacks: list[MetricsCallback] = []
        self._names = itertools.count(1)
        self._closed = False

    @classmethod
    async def load(cls, model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        """Load a model and start its thread, or connect to an engine that `agent-tts serve` runs in another process.

        Args:
            model: "bundled", a checkpoint folder, "unix:///path" or "tcp://host:port"; overrides `config.model`.
            config: What the machine can hold. An engine in another process has its own.

        Raises:
            LicenseNotAcceptedError: The licence of its weights has to be accepted first.
            CheckpointError: The model cannot be loaded; says what was expected.
            UnknownVoiceError: `config.warm_voices` names one that is not there.
            ConfigError: A config value is not allowed.
            EngineUnavailableError: Nobody answers at that address.
        """
        config = config or EngineConfig()
        if model is not None:
            config = replace(config, model=model)
        if config.model.startswith(REMOTE_SCHEMES):
            return cls(await asyncio.to_thread(_connect, config.model))
        door = await asyncio.to_thread(_load_door, config)
        async with contextlib.AsyncExitStack() as until_warm:
            engine = await until_warm.enter_async_context(cls(door))
            await engine.warm(config.warm_voices)
            until_warm.pop_all()
        return engine

    @classmethod
    def from_runner(cls, runner: Runner, config: EngineConfig | None = None) -> Engine:
        """An engine around a runner that is loaded already; starts its thread."""
        return cls(LocalDoor(runner, config or EngineConfig()))

    @property
    def sample_rate(self) -> int:
        """Hz of every chunk."""
        return self._door.sample_rate

    @property
    def frame_ms(self) -> float:
        """Audio of one codec frame: what a step adds."""
        return self._door.frame_ms

    @property
    def max_waiting(self) -> int:
        """Utterances that may be open at once."""
        return self._door.max_waiting

    @property
    def model_name(self) -> str:
        return self._door.model_name

    @property
    def voices(self) -> tuple[str, ...]:
        return self._door.voices

    @property
    def closed(self) -> bool:
        """True after close(), and when the engine's thread has ended by itself."""
        return self._closed or self._door.closed

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
            UnknownVoiceError, EngineBusyError, EngineClosedError, EngineUnavailableError, ConfigError
        """
        if self.closed:
            raise EngineClosedError
        if voice not in self.voices:
            raise UnknownVoiceError(voice, self.voices)
        if len(self._open) >= self._door.max_waiting:
            raise EngineBusyError(len(self._open), self._door.max_waiting)
        if lead_ms is not None and not lead_ms > 0:
            raise ConfigError(f"lead_ms is {lead_ms!r}; it must be greater than 0.")
        utterance_id = utterance_id or f"utterance-{next(self._names)}-{secrets.token_hex(3)}"
        if any(utterance.id == utterance_id and utterance.holds_id for utterance in self._open):
            raise ConfigError(f"utterance_id {utterance_id!r} is open already; give another one, or None.")
        line = self._door.line(Order(utterance_id, voice, sampling or SamplingParams(), lead_ms))
        utterance = Utterance(line, self._utterance_ended)
        self._open.add(utterance)
        return utterance

    async def warm(self, voices: Iterable[str]) -> None:
        """Speak one frame with each voice to nobody, so that its prompt is computed and pinned before a caller waits.

        Counts in stats(); no metrics are published for it. Raises what utterance() raises.
        """
        for voice in voices:
            async with self.utterance(voice=voice, lead_ms=1.0) as utterance:
                self._warming.add(utterance)
                utterance.push_text(WARM_UP_TEXT)
                utterance.end_text()
                async for _ in utterance:
                    break
            await utterance.released()

    def on_metrics(self, callback: MetricsCallback) -> Callable[[], None]:
        """Call `callback` once for each utterance that ends, on its event loop. Returns what removes it again."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def stats(self) -> EngineStats:
        """The engine at this moment; behind a socket, as it reported last (within half a second)."""
        return self._door.stats(len(self._open))

    async def close(self) -> None:
        """Abort what runs and end the thread. Later calls do nothing; later utterances raise EngineClosedError."""
        self._closed = True
        for utterance in list(self._open):
            utterance.abort()
        await asyncio.to_thread(self._door.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _utterance_ended(self, utterance: Utterance, metrics: TtsMetrics) -> None:
        self._open.discard(utterance)
        if utterance in self._warming:
            self._warming.discard(utterance)
            return
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
        if self._stream.timing.first_text_s is None:
            self._stream.timing.first_text_s = time.monotonic()
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
        now = time.monotonic()
        self._text_ended = True
        if self._stream.abort():
            self._line.abort()
        self._settle_soon()
        return AbortAck(now, self._released)

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
        self._released.set_result(self.metrics)
        self._on_ended(self, self.metrics)


async def _wait_for(released: Future[TtsMetrics]) -> TtsMetrics:
    """Shielded: whoever waits may be cancelled; the receipt stays good for others."""
    return await asyncio.shield(asyncio.wrap_future(released))


def _load_door(config: EngineConfig) -> Door:
    """The runner that fits the checkpoint's layout, on a thread that is ready. The first place that imports torch."""
    from agent_tts.runtime.loading import load_runner
    from agent_tts.voices.registry import find_references

    door = LocalDoor(load_runner(config, lambda folder: find_references(folder, config)), config)
    door.wait_until_prepared()
    return door


def _connect(address: str) -> Door:
    """The door to an engine in another process. No torch on this side."""
    from agent_tts.remote.door import RemoteDoor

    return RemoteDoor.connect(address)
