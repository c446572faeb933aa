"""The TTS that LiveKit Agents sees: options, engine, streams, events. The streams translate; nothing here computes.

session = AgentSession(tts=agent_tts.livekit.TTS(), ...)
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from livekit.agents import tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from agent_tts.config import EngineConfig
from agent_tts.engine import Engine, Utterance
from agent_tts.engine_ref import EngineRef
from agent_tts.livekit.streams import ChunkedStream, SynthesizeStream
from agent_tts.livekit.tracing import UtteranceTrace
from agent_tts.types import SamplingParams, TtsMetrics

SAMPLE_RATE_UNTIL_LOADED = 24_000
"""The bundled voice's rate. An engine with another one corrects it as soon as it is loaded."""


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """What a stream speaks with; taken when the stream is opened, so that an update changes the next one."""

    voice: str = "default"
    sampling: SamplingParams | None = None
    lead_ms: float | None = None


class TTS(tts.TTS[Literal["utterance_metrics"]]):
    """Text to speech by an agent_tts engine in this process or behind a socket.

    Beside the framework's `metrics_collected` and `error` it emits `utterance_metrics` with one TtsMetrics for every
    utterance, also for an interrupted one, of which the framework itself reports nothing.

    Args:
        engine: A loaded Engine (stays yours), or what Engine.load() takes: "bundled", a checkpoint folder, a socket.
            None = the model of `config`, else AGENT_TTS_ENGINE, else "bundled". A name is loaded in the background, on
            first use or prewarm().
        voice: A voice of that engine.
        sampling: None = as the checkpoint recommends.
        lead_ms: How far generation may run ahead of playout; None = the engine's setting.
        config: Only for an engine that is loaded here.
    """

    def __init__(
        self,
        *,
        engine: Engine | str | None = None,
        voice: str = "default",
        sampling: SamplingParams | None = None,
        lead_ms: float | None = None,
        config: EngineConfig | None = None,
    ) -> None:
        self._engine = EngineRef(engine, config)
        loaded = self._engine.loaded
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=loaded.sample_rate if loaded else SAMPLE_RATE_UNTIL_LOADED,
            num_channels=1,
        )
        self._options = VoiceOptions(voice, sampling, lead_ms)
        self._streams: weakref.WeakSet[SynthesizeStream | ChunkedStream] = weakref.WeakSet()
        self._traces: dict[str, UtteranceTrace] = {}
        self._watched: Engine | None = None
        self._stop_metrics: Callable[[], None] | None = None

    @property
    def model(self) -> str:
        return self._engine.name

    @property
    def provider(self) -> str:
        return "agent_tts"

    @property
    def options(self) -> VoiceOptions:
        return self._options

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        sampling: NotGivenOr[SamplingParams | None] = NOT_GIVEN,
        lead_ms: NotGivenOr[float | None] = NOT_GIVEN,
    ) -> None:
        """Change options for streams opened from now on."""
        options = self._options
        if is_given(voice):
            options = replace(options, voice=voice)
        if is_given(sampling):
            options = replace(options, sampling=sampling)
        if is_given(lead_ms):
            options = replace(options, lead_ms=lead_ms)
        self._options = options

    def prewarm(self) -> None:
        """Begin to load the engine in the background. Without a running event loop the first use loads it."""
        with contextlib.suppress(RuntimeError):  # what get_running_loop() raises
            asyncio.get_running_loop()
            self._engine.start_loading()

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> SynthesizeStream:
        self._engine.start_loading()
        stream = SynthesizeStream(tts=self, options=self._options, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> ChunkedStream:
        stream = ChunkedStream(tts=self, input_text=text, options=self._options, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """End every stream, then the engine if it was loaded here."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._engine.aclose()
        if self._stop_metrics is not None:
            self._stop_metrics()
            self._stop_metrics = None

    async def load_engine(self) -> Engine:
        """The engine, loaded; streams call this before they speak. Raises AgentTTSError when it can't be had."""
        engine = await self._engine.get()
        if self._stop_metrics is None or engine is not self._watched:  # the first, or one in place of a dead one
            self._watched, self._stop_metrics = engine, engine.on_metrics(self._on_metrics)
        self._sample_rate = engine.sample_rate  # behind a socket another engine may answer by now
        return engine

    async def open_utterance(self, options: VoiceOptions) -> Utterance:
        """One utterance with these options, watched until its metrics have been emitted. The caller owns it."""
        engine = await self.load_engine()
        utterance = engine.utterance(voice=options.voice, sampling=options.sampling, lead_ms=options.lead_ms)
        self._traces[utterance.id] = UtteranceTrace()
        return utterance

    def _on_metrics(self, metrics: TtsMetrics) -> None:
        trace = self._traces.pop(metrics.utterance_id, None)
        if trace is None:
            return  # of another user of the same engine
        trace.end(metrics)
        self.emit("utterance_metrics", metrics)
