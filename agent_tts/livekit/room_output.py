"""Our own audio output for a LiveKit room: 20 ms frames, a queue that can be taken back, a position that is counted.

LiveKit's own output gives its source 200 ms in 50 ms frames, and what the source holds is lost when it is paused. This
one listens to its own track: what was emitted is known block by block. A pause or a clear takes back the rest, fades
10 ms out and stops; a resume goes on at that sample. So what the source holds costs nothing, and may be enough for an
event loop that is late.

    capture_frame() ─▶ [segment, segment] ─▶ pump, 20 ms at a time ─▶ rtc.AudioSource ─▶ track ─▶ room
                            ▲ sent                   │ in flight, 10 ms blocks            │
                            └─── pause(): back ──────┴◀──────── emitted ◀── AudioStream ──┘
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from agent_tts.audio.pcm import fade_out
from agent_tts.types import Pcm

BLOCK_MS = 10
"""What the source emits at a time."""
FRAME_BLOCKS = 2
LEAD_BLOCKS = 16
"""Blocks kept in the source."""
SOURCE_QUEUE_MS = 400
"""The source makes a capture wait above this; the pump stays below, so that a cut never meets one that waits."""
LOST_AFTER_S = 0.5
"""When no emission was seen for so long, what was in flight was emitted unseen."""
IDLE_BLOCKS = 100
"""The track is not listened to while there is nothing to play: an event a block is not free."""


@dataclass(slots=True)
class _Segment:
    """What lies between two flushes."""

    pcm: bytearray = field(default_factory=bytearray)
    sent: int = 0
    """Samples handed to the source."""
    heard: int = 0
    """Samples emitted."""
    ended: bool = False
    started: bool = False

    @property
    def num_samples(self) -> int:
        return len(self.pcm) // 2

    def samples(self, begin: int, count: int) -> Pcm:
        return np.frombuffer(bytes(self.pcm[2 * begin : 2 * (begin + count)]), np.int16)


class RoomAudioOutput(io.AudioOutput):
    """Publishes one audio track and plays into it.

    output = RoomAudioOutput(room)
    await output.start()
    session.output.audio = output
    await session.start(agent, room=room, room_options=RoomOptions(audio_output=False))
    """

    def __init__(
        self,
        room: rtc.Room,
        *,
        sample_rate: int = 24_000,
        track_name: str = "agent_tts",
        publish_options: rtc.TrackPublishOptions | None = None,
    ) -> None:
        super().__init__(
            label="agent_tts.RoomAudioOutput",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=sample_rate,
        )
        self._room = room
        self._rate = sample_rate
        self._block = sample_rate * BLOCK_MS // 1000
        self._track_name = track_name
        self._publish_options = publish_options or rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self._source = rtc.AudioSource(sample_rate, 1, queue_size_ms=SOURCE_QUEUE_MS)
        self._segments: deque[_Segment] = deque()
        self._incoming: _Segment | None = None
        self._in_flight: deque[bytes] = deque()
        self._discarding = False
        self._paused = False
        self._fade_in = False
        self._track: rtc.LocalAudioTrack | None = None
        self._watching = False
        self._wake = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Publish the track. Frames wait until somebody has subscribed to it."""
        self._track = rtc.LocalAudioTrack.create_audio_track(self._track_name, self._source)
        publication = await self._room.local_participant.publish_track(self._track, self._publish_options)
        self._spawn(self._await_subscription(publication))
        self._spawn(self._pump())

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.aclose()

    @property
    def position_s(self) -> float:
        """Media time of the current segment that has been emitted."""
        return self._segments[0].heard / self._rate if self._segments else 0.0

    # -- what LiveKit calls -------------------------------------------------------------------------------------------

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await self._subscribed.wait()
        await super().capture_frame(frame)
        if self._discarding:
            return
        if self._incoming is None:
            self._incoming = _Segment()
            self._segments.append(self._incoming)
            if not self._watching and self._track is not None:
                self._watching = True
                self._spawn(self._watch(self._track))
        self._incoming.pcm += frame.data.cast("B")
        self._wake.set()

    def flush(self) -> None:
        super().flush()
        self._discarding = False
        if self._incoming is not None:
            self._incoming.ended = True
            self._incoming = None
            self._wake.set()

    def clear_buffer(self) -> None:
        """Stop within 10 ms and drop the rest; audio that still comes before the next flush belongs to what was cut."""
        if not self._segments:
            return
        self._cut()
        self._discarding = self._incoming is not None
        self._incoming = None
        while self._segments:
            self._finish(self._segments.popleft(), interrupted=True)

    def pause(self) -> None:
        super().pause()
        if not self._paused:
            self._paused = True
            self._cut()

    def resume(self) -> None:
        super().resume()
        if self._paused:
            self._paused = False
            self._fade_in = bool(self._segments and self._segments[0].heard)
            self._wake.set()

    # -- playing ------------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        """Keep the source filled to LEAD_BLOCKS; every emission wakes it."""
        while True:
            self._wake.clear()
            if not await self._advance():
                await self._next_wake()

    async def _advance(self) -> bool:
        """One frame into the source, or the end of a segment. False when there is nothing to do now."""
        segment = self._segments[0] if self._segments else None
        if segment is None or self._paused:
            return False
        room = len(self._in_flight) <= LEAD_BLOCKS - FRAME_BLOCKS
        if room and (piece := self._next_piece(segment)) is not None:
            await self._play(segment, piece)
            return True
        if segment.ended and not self._in_flight and segment.sent == segment.num_samples:
            self._segments.popleft()
            self._finish(segment, interrupted=False)
            return True
        return False

    async def _next_wake(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), LOST_AFTER_S if self._in_flight else None)
        except TimeoutError:
            while self._in_flight:
                self._emitted()

    def _next_piece(self, segment: _Segment) -> Pcm | None:
        """20 ms, or at the end what is left, padded to whole blocks: the source would glue a rest to what follows."""
        size, left = FRAME_BLOCKS * self._block, segment.num_samples - segment.sent
        if left >= size:
            return segment.samples(segment.sent, size)
        if not segment.ended or left <= 0:
            return None
        padded = np.zeros(-(-left // self._block) * self._block, np.int16)
        padded[:left] = segment.samples(segment.sent, left)
        return padded

    async def _play(self, segment: _Segment, piece: Pcm) -> None:
        if self._fade_in:
            self._fade_in = False
            piece = np.concatenate([fade_out(piece[self._block - 1 :: -1], self._block)[::-1], piece[self._block :]])
        if not segment.started:
            segment.started = True
            self.on_playback_started(created_at=time.time())
        segment.sent = min(segment.sent + len(piece), segment.num_samples)
        data = piece.tobytes()
        self._in_flight.extend(data[at : at + 2 * self._block] for at in range(0, len(data), 2 * self._block))
        await self._push(data)

    async def _push(self, data: bytes) -> None:
        await self._source.capture_frame(rtc.AudioFrame(data, self._rate, 1, len(data) // 2))

    def _cut(self) -> None:
        """Take back what was not emitted, and let the sound fade where it stands."""
        segment = self._segments[0] if self._segments else None
        if segment is None or not self._in_flight:
            return
        self._source.clear_queue()
        self._in_flight.clear()
        segment.sent = segment.heard
        tail = segment.samples(segment.sent, self._block)
        if len(tail) == self._block:
            self._spawn(self._push(fade_out(tail, len(tail)).tobytes()))

    def _finish(self, segment: _Segment, *, interrupted: bool) -> None:
        """Report the end a turn of the loop later: at a clear the framework has yet to end the segment's text."""
        position_s = segment.heard / self._rate
        asyncio.get_running_loop().call_soon(
            lambda: self.on_playback_finished(playback_position=position_s, interrupted=interrupted)
        )

    # -- what was emitted ---------------------------------------------------------------------------------------------

    async def _watch(self, track: rtc.LocalAudioTrack) -> None:
        """Listen to the own track, until nothing has been played for a while."""
        stream = rtc.AudioStream.from_track(track=track, sample_rate=self._rate, num_channels=1)
        idle = 0
        try:
            async for event in stream:
                self._saw(bytes(event.frame.data.cast("B")))
                idle = 0 if self._segments else idle + 1
                if idle > IDLE_BLOCKS:
                    break
        finally:
            self._watching = False
            await stream.aclose()

    def _saw(self, block: bytes) -> None:
        """The track emitted a block: the next in flight; or, if an event was missed, a later one; or idle silence."""
        if not self._in_flight:
            return
        if block == self._in_flight[0] or (any(block) and block in self._in_flight):
            while self._in_flight[0] != block:
                self._emitted()
            self._emitted()
            self._wake.set()

    def _emitted(self) -> None:
        self._in_flight.popleft()
        segment = self._segments[0]
        segment.heard = min(segment.heard + self._block, segment.num_samples)

    async def _await_subscription(self, publication: rtc.LocalTrackPublication) -> None:
        await publication.wait_for_subscription()
        self._subscribed.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
