"""A voice agent on LiveKit Agents that stops when you talk: Silero VAD, faster-whisper, any OpenAI endpoint, our voice.

    python -m agents.livekit_agent console      talk to it here, with your own microphone
    python -m agents.livekit_agent start        serve rooms; needs LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET

Everything is set in configs/agents/livekit.yaml (AGENT_CONFIG names another file).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from livekit import rtc
from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    JobContext,
    JobProcess,
    cli,
    room_io,
    stt,
)
from livekit.agents.llm import ChatMessage
from livekit.agents.types import NOT_GIVEN
from livekit.plugins import openai, silero

from agent_tts.config import Environment, from_mapping, load_yaml
from agent_tts.livekit import EVENTS_TOPIC, TTS, RoomAudioOutput, attach, bind
from agents.demo.models import whisper_model

CONFIG_FILE = Path(__file__).resolve().parents[1] / "configs" / "agents" / "livekit.yaml"
WHISPER_RATE = 16_000

# -- configuration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SttConfig:
    model: str = "base"
    language: str = "en"
    compute_type: str = "int8"
    cpu_threads: int = 1


@dataclass(frozen=True, slots=True)
class LlmConfig:
    base_url: str = "http://127.0.0.1:8080/v1"
    model: str = "local"
    api_key: str = ""
    temperature: float = 0.7
    max_tokens: int = 200


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    engine_process: bool = False
    idle_processes: int = 1
    load_threshold: float | None = 0.7
    health_host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    agent_name: str = ""
    instructions: str = "You are a friendly voice assistant."
    greeting: str = ""
    engine: str = ""
    voice: str = "default"
    barge_in: str = "framework"
    aec_warmup_s: float | None = 3.0
    publish_events: bool = False
    stt: SttConfig = field(default_factory=SttConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)


def read_config(path: str | Path) -> AgentConfig:
    """The file at `path`; ConfigError for a key that does not exist."""
    values = load_yaml(path)
    for name, section in (("stt", SttConfig), ("llm", LlmConfig), ("worker", WorkerConfig)):
        values[name] = from_mapping(section, values.get(name, {}), where=f"{path}: {name}")
    return from_mapping(AgentConfig, values, where=str(path))


# -- speech to text ---------------------------------------------------------------------------------------------------


class WhisperSTT(stt.STT):
    """faster-whisper on each stretch of speech that the VAD cuts out."""

    def __init__(self, config: SttConfig) -> None:
        from faster_whisper import WhisperModel

        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._language = config.language
        self._model = WhisperModel(
            whisper_model(config.model, Environment.read().cache_dir),
            device="cpu",
            compute_type=config.compute_type,
            cpu_threads=config.cpu_threads,
        )

    async def _recognize_impl(self, buffer: Any, *, language: Any, conn_options: Any) -> stt.SpeechEvent:
        text = await asyncio.to_thread(self._transcribe, rtc.combine_audio_frames(buffer))
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language=self._language, text=text)],
        )

    def _transcribe(self, audio: rtc.AudioFrame) -> str:
        pcm = np.frombuffer(audio.data, np.int16).astype(np.float32) / 32768
        pcm = soxr.resample(pcm, audio.sample_rate, WHISPER_RATE)
        segments, _ = self._model.transcribe(
            pcm, language=self._language, beam_size=1, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


# -- the agent --------------------------------------------------------------------------------------------------------

config = read_config(os.environ.get("AGENT_CONFIG", CONFIG_FILE))


def prewarm(process: JobProcess) -> None:
    """In each job process, before it takes a call."""
    process.userdata["vad"] = silero.VAD.load()
    process.userdata["stt"] = WhisperSTT(config.stt)


def make_tts() -> TTS:
    """With an engine process attach() has put its address where a TTS without an engine looks."""
    return TTS(engine=None if config.worker.engine_process else config.engine or None, voice=config.voice)


def make_session(config: AgentConfig, tts: TTS, vad: silero.VAD, stt: WhisperSTT) -> AgentSession:
    """Ears, mind and voice of one call; it has no audio in or out yet."""
    return AgentSession(
        vad=vad,
        stt=stt,
        llm=openai.LLM(
            base_url=config.llm.base_url,
            model=config.llm.model,
            api_key=config.llm.api_key or NOT_GIVEN,
            temperature=config.llm.temperature,
            max_completion_tokens=config.llm.max_tokens,
        ),
        tts=tts,
        turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
        use_tts_aligned_transcript=True,
        aec_warmup_duration=config.aec_warmup_s,
    )


server = AgentServer(
    setup_fnc=prewarm,
    num_idle_processes=config.worker.idle_processes,
    load_fnc=(lambda: 0.0) if config.worker.load_threshold is None else None,
    load_threshold=config.worker.load_threshold or 0.99,
    host=config.worker.health_host,
    port=0,
    initialize_process_timeout=60.0,
)

if config.worker.engine_process:
    attach(server, model=config.engine or "bundled")


@server.rtc_session(agent_name=config.agent_name)
async def talk(context: JobContext) -> None:
    """One call."""
    tts = make_tts()
    context.add_shutdown_callback(tts.aclose)
    session = make_session(config, tts, context.proc.userdata["vad"], context.proc.userdata["stt"])
    options = room_io.RoomOptions(audio_input=room_io.AudioInputOptions(sample_rate=WHISPER_RATE, frame_size_ms=10))
    if not context.is_fake_job():  # the console brings its own loudspeaker
        await context.connect()
        output = RoomAudioOutput(context.room)
        context.add_shutdown_callback(output.aclose)
        await output.start()
        session.output.audio = output
        options.audio_output = False
    await session.start(Agent(instructions=config.instructions), room=context.room, room_options=options, record=False)
    publish = publisher(context)
    bind(
        session,
        preset=config.barge_in,
        on_event=lambda event: publish(asdict(event)) if config.publish_events else None,
    )
    if config.publish_events:
        tell_all(session, tts, publish)
    if config.greeting:
        session.say(config.greeting)


def tell_all(session: AgentSession, tts: TTS, publish: Callable[[dict[str, Any]], None]) -> None:
    """Send what is said, what is heard of it, and how fast it came, beside the moments of the interruptions."""

    def item_added(event: ConversationItemAddedEvent) -> None:
        if isinstance(event.item, ChatMessage):
            text = event.item.text_content or ""
            publish({"name": event.item.role, "text": text, "interrupted": event.item.interrupted})

    def state_changed(event: AgentStateChangedEvent) -> None:
        publish({"name": event.new_state, "at_s": time.monotonic()})

    session.on("conversation_item_added", item_added)
    session.on("agent_state_changed", state_changed)
    tts.on("utterance_metrics", lambda metrics: publish({"name": "metrics", "metrics": asdict(metrics)}))


def publisher(context: JobContext) -> Callable[[dict[str, Any]], None]:
    """Sends events to the room, where a caller can draw the ledger from them."""
    tasks: set[asyncio.Task[None]] = set()

    def publish(event: dict[str, Any]) -> None:
        data = json.dumps(event, default=lambda value: value.value)
        task = asyncio.create_task(context.room.local_participant.publish_data(data, topic=EVENTS_TOPIC))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return publish


def need_sound() -> None:
    """The console is this machine's microphone and loudspeaker: ends with what is missing, without a traceback."""
    try:
        import sounddevice
    except OSError:
        raise SystemExit("console needs PortAudio (Debian: apt-get install libportaudio2); start does not.") from None
    if not sounddevice.query_devices():
        raise SystemExit("console needs a microphone and a loudspeaker, this machine has none; start does not.")


if __name__ == "__main__":
    if "console" in sys.argv[1:2] and "--text" not in sys.argv:
        need_sound()
    cli.run_app(server)
