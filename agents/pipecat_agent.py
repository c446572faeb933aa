"""A voice agent on Pipecat that stops when you talk: WebRTC, Silero VAD, faster-whisper, an OpenAI endpoint, our voice.

    OPENAI_API_KEY=... python -m agents.pipecat_agent              then open http://127.0.0.1:7860 and talk
    python -m agents.pipecat_agent --config my.yaml --port 8000

Needs agent-tts[demo]. Everything is set in configs/agents/pipecat.yaml; `make demo` calls it from a second process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from faster_whisper import WhisperModel
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import OutputTransportMessageUrgentFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transcriptions.language import Language
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from agent_tts import Engine
from agent_tts.config import EngineConfig, from_mapping, load_yaml
from agent_tts.metrics import BargeInRow
from agent_tts.pipecat import AgentTTSService, AgentTTSSettings, InterruptionLatencyObserver, Moment, PipecatBargeIn

ROOT = Path(__file__).resolve().parents[1]
CONFIG_FILE = ROOT / "configs" / "agents" / "pipecat.yaml"
WEB = ROOT / "agents" / "web"

# -- configuration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SttConfig:
    model: str = "base"
    compute_type: str = "int8"
    cpu_threads: int = 1


@dataclass(frozen=True, slots=True)
class LlmConfig:
    base_url: str | None = None
    model: str = "gpt-4.1-mini"
    api_key: str | None = None
    temperature: float = 0.7
    max_tokens: int = 200


@dataclass(frozen=True, slots=True)
class TurnConfig:
    start_s: float = 0.1
    min_volume: float = 0.5
    confidence: float = 0.7
    end_of_turn_s: float = 0.5
    longest_wait_s: float = 10.0


@dataclass(frozen=True, slots=True)
class AgentConfig:
    instructions: str = "You are a friendly voice assistant."
    model: str = "bundled"
    voice: str = "default"
    word_delay_ms: float = 100.0
    barge_in: str = "immediate"
    stt: SttConfig = field(default_factory=SttConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    turns: TurnConfig = field(default_factory=TurnConfig)


def agent_config(values: dict[str, Any], *, where: str) -> AgentConfig:
    """ConfigError for a key that does not exist."""
    for name, section in (("stt", SttConfig), ("llm", LlmConfig), ("turns", TurnConfig)):
        values[name] = from_mapping(section, values.get(name) or {}, where=f"{where}: {name}")
    return from_mapping(AgentConfig, values, where=where)


# -- the pipeline -----------------------------------------------------------------------------------------------------


class Whisper(WhisperSTTService):
    """faster-whisper with as many threads as it is given: on a shared machine more of them make it slower."""

    def __init__(self, config: SttConfig) -> None:
        self._config = config
        settings = WhisperSTTService.Settings(model=config.model, language=Language.EN)
        super().__init__(device="cpu", compute_type=config.compute_type, settings=settings, ttfs_p99_latency=2.0)

    def _load(self) -> None:
        config = self._config
        model = WhisperModel(
            config.model, device="cpu", compute_type=config.compute_type, cpu_threads=config.cpu_threads
        )
        model.transcribe = partial(model.transcribe, beam_size=1, condition_on_previous_text=False)
        self._model = model


class Call:
    """One caller's pipeline: transport, VAD, STT, LLM, our voice, and the observer that times interruptions."""

    def __init__(
        self,
        connect: Callable[[TransportParams], BaseTransport],
        engine: Engine,
        config: AgentConfig,
        *,
        rtvi: bool = False,
    ) -> None:
        self.tts = AgentTTSService(
            engine=engine, settings=AgentTTSSettings(voice=config.voice), word_delay_ms=config.word_delay_ms
        )
        self.observer = InterruptionLatencyObserver(self.tts)
        self.barge_in = None
        if config.barge_in != "framework":
            self.barge_in = PipecatBargeIn(self.tts, preset=config.barge_in, on_moment=self.observer.note_moment)
        self.transport = connect(_transport_params(self.barge_in))
        self.context = LLMContext()
        self.user, self.assistant = LLMContextAggregatorPair(
            self.context, user_params=_user_params(config.turns, self.barge_in)
        )
        stages = [
            self.transport.input(),
            *([self.barge_in.listener] if self.barge_in else []),
            Whisper(config.stt),
            self.user,
            _llm(config),
            self.tts,
            self.transport.output(),
            self.assistant,
        ]
        self.worker = PipelineWorker(
            Pipeline(stages),
            params=PipelineParams(audio_out_sample_rate=engine.sample_rate, enable_metrics=True),
            observers=[self.observer],
            enable_rtvi=rtvi,
        )
        self._listen()

    def _listen(self) -> None:
        """Tell the page what was said and how each interruption went; end with the caller."""

        @self.transport.event_handler("on_client_disconnected")
        async def hung_up(transport: BaseTransport, client: Any) -> None:
            await self.worker.cancel()

        @self.user.event_handler("on_user_turn_stopped")
        async def asked(aggregator: Any, strategy: Any, message: Any) -> None:
            await self.tell({"name": "user", "text": message.content})

        @self.assistant.event_handler("on_assistant_turn_stopped")
        async def replied(aggregator: Any, message: Any) -> None:
            await self.tell({"name": "assistant", "text": message.content, "interrupted": message.interrupted})

        @self.observer.event_handler("on_interruption")
        async def interrupted(observer: InterruptionLatencyObserver, row: BargeInRow) -> None:
            await self.tell({"name": "interruption", "row": asdict(row)})

        @self.observer.event_handler("on_moment")
        async def seen(observer: InterruptionLatencyObserver, moment: Moment) -> None:
            await self.tell(asdict(moment))

    async def tell(self, message: dict[str, Any]) -> None:
        """To the page, over the call's data channel."""
        plain = json.loads(json.dumps(message, default=lambda value: value.value))
        await self.worker.queue_frame(OutputTransportMessageUrgentFrame(message=plain))

    async def run(self) -> None:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        await runner.run()


def _transport_params(barge_in: PipecatBargeIn | None) -> TransportParams:
    return TransportParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_10ms_chunks=2,
        audio_out_filter=barge_in.output_filter if barge_in else None,
    )


def _user_params(turns: TurnConfig, barge_in: PipecatBargeIn | None) -> LLMUserAggregatorParams:
    vad = VADParams(confidence=turns.confidence, start_secs=turns.start_s, min_volume=turns.min_volume)
    return LLMUserAggregatorParams(
        vad_analyzer=SileroVADAnalyzer(params=vad),
        user_turn_strategies=UserTurnStrategies(
            start=[barge_in.turn_start if barge_in else VADUserTurnStartStrategy()],
            stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=turns.end_of_turn_s)],
        ),
        user_turn_stop_timeout=turns.longest_wait_s,
    )


def _llm(config: AgentConfig) -> OpenAILLMService:
    settings = OpenAILLMService.Settings(
        model=config.llm.model,
        system_instruction=config.instructions,
        temperature=config.llm.temperature,
        max_tokens=config.llm.max_tokens,
    )
    key = config.llm.api_key or os.environ.get("OPENAI_API_KEY") or "none"  # an endpoint of one's own may need none
    return OpenAILLMService(api_key=key, base_url=config.llm.base_url, settings=settings)


def hear_at_once(connection: SmallWebRTCConnection) -> None:
    """aiortc holds the caller's last 80 ms back, for smooth playing. Nobody plays it here; order needs one packet."""
    for receiver in connection.pc.getReceivers():
        if hasattr(buffer := getattr(receiver, "_RTCRtpReceiver__jitter_buffer", None), "_prefetch"):
            buffer._prefetch = 1


# -- the server -------------------------------------------------------------------------------------------------------


def make_app(
    engine: Engine,
    config: AgentConfig,
    on_call: Callable[[Call], None] = lambda call: None,
    more: APIRouter | None = None,
) -> FastAPI:
    """The page, and the offer that starts a call. `on_call` sees each call before it runs; `more` adds routes."""
    handler = SmallWebRTCRequestHandler()
    calls: set[asyncio.Task[None]] = set()

    async def answer(connection: SmallWebRTCConnection) -> None:
        hear_at_once(connection)
        call = await asyncio.to_thread(Call, partial(SmallWebRTCTransport, connection), engine, config)
        on_call(call)
        task = asyncio.create_task(call.run())
        calls.add(task)
        task.add_done_callback(calls.discard)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await handler.close()
        await asyncio.gather(*calls)

    app = FastAPI(lifespan=lifespan)

    @app.get("/api/clock")
    async def clock() -> dict[str, float]:
        return {"now": time.monotonic()}

    @app.post("/api/offer")
    async def offer(request: dict[str, Any]) -> dict[str, str] | None:
        return await handler.handle_web_request(SmallWebRTCRequest.from_dict(request), answer)

    if more is not None:
        app.include_router(more)
    app.mount("/", StaticFiles(directory=WEB, html=True))
    return app


async def serve(config: AgentConfig, host: str, port: int) -> None:
    async with await Engine.load(config=EngineConfig(model=config.model)) as engine:
        server = uvicorn.Server(uvicorn.Config(make_app(engine, config), host=host, port=port, log_level="warning"))
        print(f"Open http://{host}:{port} and talk.")
        await server.serve()


def main() -> None:
    parser = argparse.ArgumentParser(description="A voice agent on Pipecat.")
    parser.add_argument("--config", default=str(CONFIG_FILE))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    arguments = parser.parse_args()
    config = agent_config(load_yaml(arguments.config), where=arguments.config)
    if not (config.llm.base_url or config.llm.api_key or os.environ.get("OPENAI_API_KEY")):
        parser.error(f"no language model: set OPENAI_API_KEY, or llm.base_url in {arguments.config}")
    asyncio.run(serve(config, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
