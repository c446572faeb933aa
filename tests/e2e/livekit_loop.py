"""A whole LiveKit conversation in one process: real AgentSession, Silero VAD, room output and AudioSource, no server.

    caller's clip ─▶ Mouth ─▶ AgentSession (Silero ▸ scripted STT ▸ scripted LLM ▸ our TTS) ─▶ LiveKit's room output
                                                                                                   │ rtc.AudioSource
                                       Ear ◀── rtc.AudioStream.from_track(the local track) ◀───────┘

Everything is timed on time.monotonic(). Only what would need a network or weights is scripted.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soxr
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.voice import io
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput
from livekit.agents.voice.transcription import TranscriptSynchronizer
from livekit.plugins import silero

from agent_tts import TtsMetrics
from agent_tts.livekit import TTS, RoomAudioOutput
from agent_tts.livekit.streams import UTTERANCE_KEY

MOUTH_RATE = 16_000
EAR_RATE = 24_000
FRAME_S = 0.02
LOUD = 200
"""A 10 ms frame at the ear with a larger sample than this is audible."""
GIVE_UP_S = 300.0
"""A conversation of 12 s that takes so long has hung."""
SPEECH = Path(__file__).resolve().parents[3] / "shared" / "speech" / "librivox"


# -- the caller -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """Something the caller says."""

    text: str
    pcm: np.ndarray
    """int16, MOUTH_RATE"""

    @property
    def onset(self) -> int:
        """The first audible sample."""
        return int(np.argmax(np.abs(self.pcm.astype(np.int32)) > 500))


def caller_clips() -> list[Clip]:
    """A recorded reader where the recordings lie beside the project, else the demo's made caller."""
    texts = ["he was not an ill disposed young man", "he might even have been made amiable himself"]
    recorded = [SPEECH / f"sense_and_sensibility_01_austen_64kb-{number}.wav" for number in ("0880", "0930")]
    if all(path.exists() for path in recorded):
        return [Clip(text, _read(path)) for text, path in zip(texts, recorded, strict=True)]
    return [Clip(text, _made(text)) for text in texts]


def _read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == MOUTH_RATE
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def _made(text: str) -> np.ndarray:
    from agents.demo.speech import CALL_RATE, caller_speech, read_wav

    path = caller_speech(text, Path(tempfile.gettempdir()) / "agent_tts_caller")
    return soxr.resample(read_wav(path), CALL_RATE, MOUTH_RATE)


class Mouth(io.AudioInput):
    """The caller's microphone: 20 ms frames in real time, silence between clips."""

    def __init__(self) -> None:
        super().__init__(label="Mouth")
        self.heard_as = ""
        """What the scripted STT makes of the latest clip."""
        self.onsets_s: list[float] = []
        self._pending = np.zeros(0, np.int16)
        self._next_s: float | None = None
        self._silent = asyncio.Event()

    async def say(self, clip: Clip) -> None:
        """Play a clip to its end."""
        self.heard_as = clip.text
        self._silent.clear()
        self._pending = clip.pcm
        begin = max(time.monotonic(), self._next_s or 0.0)
        self.onsets_s.append(begin + clip.onset / MOUTH_RATE)
        await self._silent.wait()

    async def __anext__(self) -> rtc.AudioFrame:
        if self._next_s is None:
            self._next_s = time.monotonic()
        self._next_s += FRAME_S
        await asyncio.sleep(self._next_s - time.monotonic())
        size = int(MOUTH_RATE * FRAME_S)
        piece, self._pending = self._pending[:size], self._pending[size:]
        if not len(self._pending):
            self._silent.set()
        pcm = np.zeros(size, np.int16)
        pcm[: len(piece)] = piece
        return rtc.AudioFrame(pcm.tobytes(), MOUTH_RATE, 1, size)


class Ear:
    """Every 10 ms frame that the AudioSource emits into the track, with its time of arrival."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, np.ndarray]] = []
        self._heard = asyncio.Event()

    async def listen(self, track: rtc.LocalAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=EAR_RATE, num_channels=1)
        try:
            async for event in stream:
                pcm = np.frombuffer(event.frame.data, np.int16).copy()
                self.frames.append((time.monotonic(), pcm))
                if int(np.abs(pcm).max()) > LOUD:
                    self._heard.set()
        finally:
            await stream.aclose()

    def loud(self, since_s: float = 0.0, until_s: float = float("inf")) -> list[float]:
        """Times of the audible frames between two moments."""
        return [at for at, pcm in self.frames if since_s < at < until_s and int(np.abs(pcm).max()) > LOUD]

    async def hears(self, seconds: float) -> None:
        """Wait until so much audible audio has arrived from now on."""
        target = len(self.loud()) + round(100 * seconds)
        while len(self.loud()) < target:
            self._heard.clear()
            await self._heard.wait()


# -- what is scripted -------------------------------------------------------------------------------------------------


class ScriptedSTT(stt.STT):
    """Understands whatever the mouth said last. Not streaming: the framework asks at the VAD's end of speech."""

    def __init__(self, mouth: Mouth) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._mouth = mouth

    async def _recognize_impl(self, buffer: Any, *, language: Any = None, conn_options: Any = None) -> stt.SpeechEvent:
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language="en", text=self._mouth.heard_as)],
        )


class ScriptedLLM(llm.LLM):
    """Answers each question it knows, a word at a time."""

    def __init__(self, replies: dict[str, str]) -> None:
        super().__init__()
        self.replies = replies

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[Any] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _ScriptedStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _ScriptedStream(llm.LLMStream):
    async def _run(self) -> None:
        assert isinstance(self._llm, ScriptedLLM)
        asked = next(m.text_content or "" for m in reversed(self._chat_ctx.messages()) if m.role == "user")
        reply = next(reply for question, reply in self._llm.replies.items() if question in asked)
        for index, word in enumerate(reply.split(" ")):
            delta = llm.ChoiceDelta(role="assistant", content=f" {word}" if index else word)
            self._event_ch.send_nowait(llm.ChatChunk(id="scripted", delta=delta))


# -- the room that is none --------------------------------------------------------------------------------------------


class StubRoom:
    """As much of a room as LiveKit's room output asks for: a participant that publishes one track."""

    def __init__(self) -> None:
        self.local_participant = self
        self.track: rtc.LocalAudioTrack | None = None

    async def publish_track(self, track: rtc.LocalAudioTrack, options: rtc.TrackPublishOptions) -> Any:
        self.track = track

        async def wait_for_subscription() -> None:
            return

        return SimpleNamespace(sid="TR_stub", wait_for_subscription=wait_for_subscription)


class _Traced(io.AudioOutput):
    """Notes what an output is asked to do."""

    captured: list[tuple[float, str]]
    cleared_s: list[float]
    paused_s: list[float]

    def trace(self) -> None:
        self.captured, self.cleared_s, self.paused_s = [], [], []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.captured.append((time.monotonic(), frame.userdata[UTTERANCE_KEY].id))
        await super().capture_frame(frame)

    def clear_buffer(self) -> None:
        self.cleared_s.append(time.monotonic())
        super().clear_buffer()

    def pause(self) -> None:
        self.paused_s.append(time.monotonic())
        super().pause()


class FrameworkOutput(_Traced, _ParticipantAudioOutput):
    """LiveKit's own room output."""

    def __init__(self, room: StubRoom) -> None:
        self.trace()
        super().__init__(
            room,  # type: ignore[arg-type]
            sample_rate=EAR_RATE,
            num_channels=1,
            track_publish_options=rtc.TrackPublishOptions(),
        )


class OurOutput(_Traced, RoomAudioOutput):
    def __init__(self, room: StubRoom) -> None:
        self.trace()
        super().__init__(room, sample_rate=EAR_RATE)  # type: ignore[arg-type]


# -- the conversation -------------------------------------------------------------------------------------------------


@dataclass
class Conversation:
    """A running session and everything that was noted about it."""

    session: AgentSession
    tts: TTS
    mouth: Mouth
    ear: Ear
    output: FrameworkOutput | OurOutput
    states: list[tuple[float, str, str]] = field(default_factory=list)
    utterances: list[TtsMetrics] = field(default_factory=list)
    finished: list[io.PlaybackFinishedEvent] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def watch(self) -> None:
        self.session.on("agent_state_changed", lambda event: self._note("agent", event.new_state))
        self.session.on("user_state_changed", lambda event: self._note("user", event.new_state))
        self.tts.on("utterance_metrics", self.utterances.append)
        self.output.on("playback_finished", self.finished.append)

    def _note(self, who: str, state: str) -> None:
        self.states.append((time.monotonic(), who, state))
        self._changed.set()

    async def agent_is(self, state: str) -> None:
        """Wait until the agent's state is this one."""
        while self.session.agent_state != state:
            self._changed.clear()
            await self._changed.wait()

    @property
    def pauses(self) -> int:
        return len(self.output.paused_s)

    @property
    def replies(self) -> list[tuple[str, bool]]:
        """What the history says the agent said, and whether it was interrupted."""
        messages = [item for item in self.session.history.messages() if item.role == "assistant"]
        return [(message.text_content or "", message.interrupted) for message in messages]


@asynccontextmanager
async def conversation(
    tts: TTS, replies: dict[str, str], *, output_type: type[FrameworkOutput | OurOutput] = FrameworkOutput
) -> AsyncIterator[Conversation]:
    """Start a session with our TTS, and the framework's defaults for interruptions."""
    mouth, ear, room = Mouth(), Ear(), StubRoom()
    output = output_type(room)
    synchronizer = TranscriptSynchronizer(next_in_chain_audio=output, next_in_chain_text=None)
    session: AgentSession = AgentSession(
        stt=ScriptedSTT(mouth),
        vad=silero.VAD.load(),
        llm=ScriptedLLM(replies),
        tts=tts,
        turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
        use_tts_aligned_transcript=True,
        aec_warmup_duration=None,
    )
    session.input.audio = mouth
    session.output.audio = synchronizer.audio_output
    session.output.transcription = synchronizer.text_output
    await output.start()
    assert room.track is not None
    listening = asyncio.create_task(ear.listen(room.track))
    try:
        async with asyncio.timeout(GIVE_UP_S):
            await session.start(Agent(instructions="You answer."), record=False)
            talk = Conversation(session, tts, mouth, ear, output)
            talk.watch()
            yield talk
    finally:
        await session.aclose()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await synchronizer.aclose()
        await output.aclose()
