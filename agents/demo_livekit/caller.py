"""The caller in a LiveKit room: talks from clips, hears the agent, keeps both on one clock (time.monotonic)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc

from agent_tts.livekit import EVENTS_TOPIC

RATE = 48_000
MOUTH_FRAME = RATE // 50
LOUD = 200
"""A 10 ms frame at the ear with a larger sample than this is audible (-44 dBFS; Opus leaves less of silence)."""
ONSET = 500

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Heard:
    """10 ms at the ear."""

    at_s: float
    pcm: Pcm

    @property
    def loud(self) -> bool:
        return int(np.abs(self.pcm.astype(np.int32)).max()) > LOUD


class Caller:
    """One participant of a room. Everything it said and heard can be read afterwards."""

    def __init__(self) -> None:
        self.said: list[tuple[float, Pcm]] = []
        self.heard: list[Heard] = []
        self.events: list[dict[str, Any]] = []
        self.onsets_s: list[float] = []
        self.track_subscribed = asyncio.Event()
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=20)
        self._pending: Pcm = np.zeros(0, np.int16)
        self._silent = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what a caller does -------------------------------------------------------------------------------------------

    async def say(self, pcm: Pcm) -> float:
        """Speak a clip (int16, RATE) to its end; returns when it began."""
        self._silent.clear()
        self._pending = pcm
        begins = len(self.said)
        await self._silent.wait()
        return self.said[begins][0]

    async def hears_speech(self, seconds: float = 0.1) -> None:
        """Wait until so much audible audio has come since now."""
        target = self._loud_frames() + round(100 * seconds)
        await self._until(lambda: self._loud_frames() >= target)

    async def hears_silence(self, seconds: float) -> None:
        """Wait until nothing audible has come for so long."""
        await self._until(lambda: bool(self.heard) and self.heard[-1].at_s - self.last_loud_s() >= seconds)

    async def is_told(self, name: str, count: int) -> None:
        """Wait until the agent has told so many events of a name."""
        await self._until(lambda: sum(event["name"] == name for event in self.events) >= count)

    def last_loud_s(self) -> float:
        return next((frame.at_s for frame in reversed(self.heard) if frame.loud), 0.0)

    def loud_between(self, since_s: float, until_s: float = float("inf")) -> list[float]:
        return [frame.at_s for frame in self.heard if since_s < frame.at_s < until_s and frame.loud]

    # -- the room -----------------------------------------------------------------------------------------------------

    def attach(self, room: rtc.Room) -> None:
        room.on("track_subscribed", self._on_track)
        room.on("data_received", self._on_data)

    async def publish(self, room: rtc.Room) -> None:
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await room.local_participant.publish_track(track, options)
        self._spawn(self._speak())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.aclose()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        while True:
            piece, self._pending = self._pending[:MOUTH_FRAME], self._pending[MOUTH_FRAME:]
            pcm: Pcm = np.zeros(MOUTH_FRAME, np.int16)
            pcm[: len(piece)] = piece
            now = time.monotonic()
            if len(piece) and int(np.abs(pcm.astype(np.int32)).max()) > ONSET and self._silent_before():
                self.onsets_s.append(now)
            self.said.append((now, pcm))
            if not len(self._pending):
                self._silent.set()
            await self._source.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, MOUTH_FRAME))

    def _silent_before(self) -> bool:
        """Whether the last second held no speech: then what comes is an onset."""
        return not any(int(np.abs(pcm.astype(np.int32)).max()) > ONSET for _, pcm in self.said[-50:])

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self.heard.append(Heard(time.monotonic(), np.frombuffer(event.frame.data, np.int16).copy()))
                self._news.set()
        finally:
            await stream.aclose()

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        if isinstance(track, rtc.RemoteAudioTrack) and not self.track_subscribed.is_set():
            self.track_subscribed.set()
            self._spawn(self._listen(track))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS_TOPIC:
            self.events.append(json.loads(packet.data))
            self._news.set()

    def _loud_frames(self) -> int:
        return sum(frame.loud for frame in self.heard)

    async def _until(self, condition: Any) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def caller_in_room(url: str, token: str) -> AsyncIterator[Caller]:
    """Join, publish the microphone, and wait until the agent's voice is subscribed."""
    room, caller = rtc.Room(), Caller()
    caller.attach(room)
    options = rtc.RoomOptions(rtc_config=rtc.RtcConfiguration(ice_servers=[]))
    await room.connect(url, token, options=options)
    try:
        await caller.publish(room)
        await caller.track_subscribed.wait()
        yield caller
    finally:
        await caller.close()
        await room.disconnect()
