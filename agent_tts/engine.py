"""Engine: loads a model, or connects to one, and opens utterances. Knows no tensor; loads torch only in load()."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from agent_tts.config import EngineConfig
from agent_tts.errors import ConfigError, EngineBusyError, EngineClosedError, UnknownVoiceError
from agent_tts.runtime.door import Door, Order
from agent_tts.runtime.local_door import LocalDoor
from agent_tts.runtime.step import Runner
from agent_tts.types import EngineStats, SamplingParams, TtsMetrics
from agent_tts.utterance import AbortAck, Utterance

__all__ = ["AbortAck", "Engine", "Utterance"]

MetricsCallback = Callable[[TtsMetrics], None]
REMOTE_SCHEMES = ("unix://", "tcp://")
WARM_UP_TEXT = "Hello."


class Engine:
    """Speaks many utterances at once with one loaded model. One thread computes; this object never does."""

    provider = "agent_tts"

    def __init__(self, door: Door, check_voice: Callable[[str], None] = lambda voice: None) -> None:
        """`check_voice` raises VoiceError for a voice that must not be used now."""
        self._door = door
        self._check_voice = check_voice
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
            ConsentError: It names one whose speaker's consent is over.
            ConfigError: A config value is not allowed.
            EngineUnavailableError: Nobody answers at that address.
        """
        config = config or EngineConfig()
        if model is not None:
            config = replace(config, model=model)
        if config.model.startswith(REMOTE_SCHEMES):
            return cls(await asyncio.to_thread(_connect, config.model))
        door, check_voice = await asyncio.to_thread(_load_door, config)
        async with contextlib.AsyncExitStack() as until_warm:
            engine = await until_warm.enter_async_context(cls(door, check_voice))
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
            ConsentError: The consent of the voice's speaker is over. An engine in another process says so when the
                utterance is read.
        """
        if self.closed:
            raise EngineClosedError() if self._closed else EngineClosedError("its thread has stopped")
        if voice not in self.voices:
            raise UnknownVoiceError(voice, self.voices)
        self._check_voice(voice)
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


def _load_door(config: EngineConfig) -> tuple[Door, Callable[[str], None]]:
    """The runner that fits the checkpoint, on a thread that is ready; and what checks the consent for a stored voice.

    The first place that imports torch.
    """
    from agent_tts.runtime.loading import load_runner
    from agent_tts.voices.registry import StoredVoices

    voices = StoredVoices(config)
    door = LocalDoor(load_runner(config, voices.references), config)
    door.wait_until_prepared()
    return door, voices.require_consent


def _connect(address: str) -> Door:
    """The door to an engine in another process. No torch on this side."""
    from agent_tts.remote.door import RemoteDoor

    return RemoteDoor.connect(address)
