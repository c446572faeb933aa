"""Our own audio output for a LiveKit room: 20 ms frames, a short queue, and a position that is known to the sample.

LiveKit's own output holds 200 ms in 50 ms frames, and what it holds is lost when it is paused. This one holds 40 ms.
A pause or a clear takes back what has not been emitted, fades 10 ms out and stops; a resume goes on at that sample.

    capture_frame() ─▶ [segment, segment] ─▶ pump, 20 ms at a time ─▶ rtc.AudioSource ─▶ track
                            ▲ sent                                        │ emits 10 ms a tick
                            └────── pause(): what was not emitted ◀───────┘
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from agent_tts.audio.pcm import fade_out
from agent_tts.livekit.queue_level import TICK_S, QueueLevel
from agent_tts.types import Pcm

FRAME_S = 0.02
LEAD_S = 0.04
"""Audio kept in the source: enough for a late event loop, little enough to be stopped within a frame."""
SOURCE_QUEUE_MS = 100
"""The source blocks above this; the pump stays below, so that a cut never meets a capture that waits."""
FADE_S = 0.01


@dataclass(slots=True)
class _Segment:
    """What lies between two flushes."""

    pcm: bytearray = field(default_factory=bytearray)
    sent: int = 0
    """Samples handed to the source."""
    heard: int = 0
    """Samples certainly emitted; grows at each cut."""
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

    pauses_without_loss = True

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
        self._track_name = track_name
        self._publish_options = publish_options or rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self._source = rtc.AudioSource(sample_rate, 1, queue_size_ms=SOURCE_QUEUE_MS)
        self._level = QueueLevel()
        self._segments: deque[_Segment] = deque()
        self._incoming: _Segment | None = None
        self._discarding = False
        self._paused = False
        self._fade_in = False
        self._cuts = 0
        self._wake = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Publish the track. Frames wait until somebody has subscribed to it."""
        track = rtc.LocalAudioTrack.create_audio_track(self._track_name, self._source)
        publication = await self._room.local_participant.publish_track(track, self._publish_options)
        self._spawn(self._await_subscription(publication))
        self._spawn(self._pump())

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.aclose()

    @property
    def subscribed(self) -> asyncio.Event:
        return self._subscribed

    # -- what LiveKit calls -------------------------------------------------------------------------------------------

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await self._subscribed.wait()
        await super().capture_frame(frame)
        if self._discarding:
            return
        if self._incoming is None:
            self._incoming = _Segment()
            self._segments.append(self._incoming)
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
        if not self._paused:
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

    @property
    def position_s(self) -> float:
        """Media time of the current segment that has been emitted."""
        if not self._segments:
            return 0.0
        segment = self._segments[0]
        queued = 0 if self._paused else round(self._level.seconds() * self._rate)
        return max(segment.heard, segment.sent - queued) / self._rate

    # -- playing ------------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        await self._find_tick()
        while True:
            self._wake.clear()
            segment = self._segments[0] if self._segments else None
            if segment is None or self._paused:
                await self._wake.wait()
            elif (piece := self._next_piece(segment)) is not None:
                await self._play(segment, piece)
            elif segment.ended:
                await self._drain(segment)
            else:
                await self._wake.wait()

    def _next_piece(self, segment: _Segment) -> Pcm | None:
        """20 ms, or at the end what is left, padded to whole ticks: the source glues a shorter rest to what follows."""
        size, left = round(FRAME_S * self._rate), segment.num_samples - segment.sent
        if left >= size:
            return segment.samples(segment.sent, size)
        if not segment.ended or left <= 0:
            return None
        tick = round(TICK_S * self._rate)
        padded = np.zeros(-(-left // tick) * tick, np.int16)
        padded[:left] = segment.samples(segment.sent, left)
        return padded

    async def _play(self, segment: _Segment, piece: Pcm) -> None:
        if self._fade_in:
            self._fade_in = False
            count = min(len(piece), round(FADE_S * self._rate))
            piece = np.concatenate([fade_out(piece[count - 1 :: -1], count)[::-1], piece[count:]])
        if not segment.started:
            segment.started = True
            self.on_playback_started(created_at=time.time())
        segment.sent = min(segment.sent + len(piece), segment.num_samples)
        await self._push(piece)
        if (ahead_s := self._level.seconds() + FRAME_S - LEAD_S) > 0:
            await asyncio.sleep(ahead_s)

    async def _drain(self, segment: _Segment) -> None:
        """Wait until all has been emitted; a pause or a clear meanwhile changes what that means."""
        try:
            await asyncio.wait_for(self._wake.wait(), self._level.seconds() + TICK_S)
        except TimeoutError:
            if self._level.seconds() == 0 and self._segments and self._segments[0] is segment and not self._paused:
                self._segments.popleft()
                segment.heard = segment.num_samples
                self._finish(segment, interrupted=False)
                if not self._segments:
                    await self._find_tick()

    def _cut(self) -> None:
        """Take back what the source has not emitted, and let the sound fade where it stands."""
        segment = self._segments[0] if self._segments else None
        if segment is None or not segment.started:
            return
        queued = round(self._level.seconds() * self._rate)
        segment.sent = segment.heard = max(segment.heard, segment.sent - queued)
        self._source.clear_queue()
        self._level.cleared()
        self._cuts += 1
        tail = segment.samples(segment.sent, round(FADE_S * self._rate))
        if len(tail) == round(FADE_S * self._rate):
            self._spawn(self._push(fade_out(tail, len(tail))))

    def _finish(self, segment: _Segment, *, interrupted: bool) -> None:
        self.on_playback_finished(playback_position=segment.heard / self._rate, interrupted=interrupted)

    async def _push(self, pcm: Pcm) -> None:
        was_empty, cuts = self._level.seconds() == 0, self._cuts
        self._level.pushed(len(pcm) / self._rate)
        await self._source.capture_frame(rtc.AudioFrame(pcm.tobytes(), self._rate, 1, len(pcm)))
        if was_empty and cuts == self._cuts:
            self._level.cleared()  # it began to count when the source had it, not when it was sent off
            self._level.pushed(len(pcm) / self._rate)

    async def _find_tick(self) -> None:
        """Learn when the source ticks: a capture that has to wait returns at a tick. Only while nothing is played."""
        silence = rtc.AudioFrame.create(self._rate, 1, self._rate * (SOURCE_QUEUE_MS + 10) // 1000)
        await self._source.capture_frame(silence)
        self._level.saw_tick()
        self._source.clear_queue()
        self._level.cleared()

    async def _await_subscription(self, publication: rtc.LocalTrackPublication) -> None:
        await publication.wait_for_subscription()
        self._subscribed.set()

    def _spawn(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
