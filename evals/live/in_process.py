"""The caller without a line: the agent's session in this process, its microphone fed directly, its own track heard.

What is left is the agent: VAD, policy, output, engine (in its own process). No encoder, network or jitter buffer; the
ear is what the output's source emits into the track, 10 ms at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import Agent
from livekit.agents.voice import io
from livekit.plugins import silero

from agent_tts.livekit import TTS, BindingEvent, RoomAudioOutput, bind
from agents.demo_livekit.server import engine_process, write_config
from evals.live.hearing import Hearing
from evals.live.line import Packets, Setting
from evals.live.room import agent_changes
from evals.live.tracks import RATE, Pcm, Tracks, arrived_s, recording, spoken_s

FRAME = RATE // 100
AGENT_EVERY = 3
"""The agent hears 16 kHz: every third sample, since clips hold nothing above 8 kHz."""


class Microphone(io.AudioInput):
    """10 ms frames in real time, silence between clips."""

    def __init__(self, hearing: Hearing) -> None:
        super().__init__(label="Microphone")
        self._hearing = hearing
        self._pending: Pcm = np.zeros(0, np.int16)
        self._silent = asyncio.Event()
        self._next_s: float | None = None

    async def say(self, pcm: Pcm) -> None:
        self._silent.clear()
        self._pending = pcm
        await self._silent.wait()

    async def __anext__(self) -> rtc.AudioFrame:
        self._next_s = (self._next_s or time.monotonic()) + FRAME / RATE
        begin_s = time.monotonic()
        await asyncio.sleep(self._next_s - begin_s)
        piece, self._pending = self._pending[:FRAME], self._pending[FRAME:]
        if not len(self._pending):
            self._silent.set()
        pcm: Pcm = np.zeros(FRAME, np.int16)
        pcm[: len(piece)] = piece
        self._hearing.add_said(self._next_s - FRAME / RATE, pcm)
        heard = pcm[::AGENT_EVERY].copy()
        return rtc.AudioFrame(heard.tobytes(), RATE // AGENT_EVERY, 1, len(heard))


class InProcessLine:
    """A Line whose other end is a session here."""

    def __init__(self) -> None:
        self.hearing = Hearing()
        self.microphone = Microphone(self.hearing)
        self.track: rtc.LocalAudioTrack | None = None

    async def say(self, pcm: Pcm) -> None:
        await self.microphone.say(pcm)

    async def tracks(self) -> Tracks:
        said, heard = self.hearing.said, self.hearing.heard
        return recording(said, spoken_s(said), heard, arrived_s(heard))

    async def packets(self) -> Packets | None:
        return None

    async def listen(self) -> None:
        """Keep what the track emits."""
        assert self.track is not None, "nothing was published"
        stream = rtc.AudioStream.from_track(track=self.track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self.hearing.add_heard(time.monotonic(), np.frombuffer(event.frame.data, np.int16).copy())
        finally:
            await stream.aclose()

    # -- as much of a room as the output asks for ---------------------------------------------------------------------

    @property
    def local_participant(self) -> InProcessLine:
        return self

    async def publish_track(self, track: rtc.LocalAudioTrack, options: rtc.TrackPublishOptions) -> Any:
        self.track = track

        async def subscribed() -> None:
            return

        return SimpleNamespace(sid="TR_here", wait_for_subscription=subscribed)


@asynccontextmanager
async def open_line(setting: Setting) -> AsyncIterator[InProcessLine]:
    """The agent's session, speaking into a track that nobody carries away."""
    from agents.livekit_agent import WhisperSTT, make_session, read_config, tell_all

    config = read_config(write_config(setting.folder, agent_changes(setting)))
    line = InProcessLine()

    def tell(event: dict[str, Any]) -> None:
        line.hearing.add_told(event)

    def bound(event: BindingEvent) -> None:
        tell(asdict(event))

    setting.narrate("starting the engine")
    async with engine_process(setting.folder) as engine:
        tts = TTS(engine=engine, voice=config.voice)
        vad = await asyncio.to_thread(silero.VAD.load)
        session = make_session(config, tts, vad, await asyncio.to_thread(WhisperSTT, config.stt))
        output = RoomAudioOutput(line)  # type: ignore[arg-type]
        session.input.audio, session.output.audio = line.microphone, output
        await output.start()
        listening = asyncio.create_task(line.listen())
        try:
            await session.start(Agent(instructions=config.instructions), record=False)
            bind(session, preset=config.barge_in, on_event=bound)
            tell_all(session, tts, tell)
            yield line
        finally:
            await session.aclose()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await output.aclose()
            await tts.aclose()
