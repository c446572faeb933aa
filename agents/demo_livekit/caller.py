"""The caller in a LiveKit room: talks from clips, hears the agent, keeps both on one clock (time.monotonic)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from livekit import rtc

from agent_tts.livekit import EVENTS_TOPIC
from evals.live.hearing import Hearing
from evals.live.line import Packets
from evals.live.tracks import RATE, Pcm, Tracks, arrived_s, recording, spoken_s

MOUTH_FRAME = RATE // 50


class Caller:
    """One participant of a room. Everything it said, heard and was told can be read in `hearing`."""

    def __init__(self) -> None:
        self.hearing = Hearing()
        self.track: rtc.RemoteAudioTrack | None = None
        """The agent's voice."""
        self._subscribed = asyncio.Event()
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=20)
        self._pending: Pcm = np.zeros(0, np.int16)
        self._silent = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def say(self, pcm: Pcm) -> float:
        """Speak a clip (int16, RATE) to its end; returns when it began."""
        self._silent.clear()
        self._pending = pcm
        begins = len(self.hearing.said)
        await self._silent.wait()
        return self.hearing.said[begins].at_s

    async def subscribed(self) -> None:
        """Wait until the agent's voice arrives."""
        await self._subscribed.wait()

    async def tracks(self) -> Tracks:
        """Mouth and ear of the call so far, on one clock."""
        said, heard = self.hearing.said, self.hearing.heard
        return recording(said, spoken_s(said), heard, arrived_s(heard))

    async def packets(self) -> Packets | None:
        """What has come of the agent's voice, as the WebRTC stack counts it."""
        if self.track is None:
            return None
        inbound = [stat.inbound_rtp for stat in await self.track.get_stats() if stat.HasField("inbound_rtp")]
        return Packets(
            received=sum(stat.received.packets_received for stat in inbound),
            lost=sum(stat.received.packets_lost for stat in inbound),
            samples=sum(stat.inbound.total_samples_received for stat in inbound),
            sample_rate=RATE,
        )

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
            self.hearing.add_said(time.monotonic(), pcm)
            if not len(self._pending):
                self._silent.set()
            await self._source.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, MOUTH_FRAME))

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self.hearing.add_heard(time.monotonic(), np.frombuffer(event.frame.data, np.int16).copy())
        finally:
            await stream.aclose()

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        if isinstance(track, rtc.RemoteAudioTrack) and self.track is None:
            self.track = track
            self._subscribed.set()
            self._spawn(self._listen(track))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS_TOPIC:
            self.hearing.add_told(json.loads(packet.data))

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
        await caller.subscribed()
        yield caller
    finally:
        await caller.close()
        await room.disconnect()
