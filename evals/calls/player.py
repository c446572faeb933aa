"""The transport and the ear: a queue of 20 ms frames that is played in real time and recorded as it sounds.

    agent ─put()▶ [queue, at most transport_ms] ─every 20 ms▶ ear (recorded, one frame of output delay)

Like a sound card it plays on schedule: what is not there when its time has come is silence, also when it was the
player's own event loop that was late. put() waits while the queue is full, clear() drops what waits, pause() holds it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import numpy as np

from evals.calls.events import FRAME_MS, EarFrame, EarTrack

FRAME_S = FRAME_MS / 1000


class Player:
    """Plays what it is given and keeps a recording of it.

    Args:
        sample_rate: Hz of the frames and of the recording.
        transport_ms: How much audio may wait in the queue.
    """

    def __init__(self, sample_rate: int, transport_ms: float = 60.0) -> None:
        self.frame_samples = sample_rate * FRAME_MS // 1000
        self.transport_ms = transport_ms
        self.started: dict[str, asyncio.Event] = {}
        self.gain = 1.0
        self.paused = False
        self._limit = max(1, round(transport_ms / FRAME_MS))
        self._queue: deque[EarFrame] = deque()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        self._played: dict[str, int] = {}
        self._in_reply: str | None = None
        self._ended: set[str] = set()
        self._silence = np.zeros(self.frame_samples, np.int16)
        # The first tick sounds one frame from now: the output's own delay.
        self._held_s: list[float] = []
        self.ear = EarTrack(sample_rate, asyncio.get_running_loop().time() + FRAME_S, held_s=self._held_s)
        self._task = asyncio.create_task(self._play())

    async def put(self, frame: EarFrame) -> None:
        """Queue a frame; waits while the queue is full, and whoever waits first is first."""
        async with self._turn:
            while len(self._queue) >= self._limit:
                self._room.clear()
                await self._room.wait()
            self._queue.append(frame)

    def put_back(self, frames: Sequence[EarFrame]) -> None:
        """Play these before what waits."""
        self._queue.extendleft(reversed(frames))

    def clear(self) -> None:
        """Drop everything that waits."""
        self._queue.clear()
        self._in_reply = None
        self._room.set()

    def end_of_reply(self, reply_id: str) -> None:
        """No more frames of this reply will come: an empty queue is no underrun any more."""
        self._ended.add(reply_id)
        if self._in_reply == reply_id:
            self._in_reply = None

    def played_ms(self, reply_id: str) -> float:
        """Media time of a reply that has sounded."""
        return 1000 * self._played.get(reply_id, 0) / self.ear.sample_rate

    async def drained(self) -> None:
        """Wait until nothing waits in the queue."""
        while self._queue:
            self._room.clear()
            await self._room.wait()

    @property
    def holds(self) -> bool:
        """What it plays is paused or turned down."""
        return self.paused or self.gain != 1.0

    def recent(self, delay_frames: int) -> EarFrame | None:
        """What sounded a little while ago: what a microphone near the loudspeaker hears."""
        frames = self.ear.frames
        return frames[-1 - delay_frames] if len(frames) > delay_frames else None

    def started_event(self, reply_id: str) -> asyncio.Event:
        """Set when the first frame of a reply is played."""
        return self.started.setdefault(reply_id, asyncio.Event())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        begin_s = self.ear.begin_s - FRAME_S
        while True:
            at_s = begin_s + len(self.ear.frames) * FRAME_S
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            missed = int((loop.time() - at_s) / FRAME_S)
            self.ear.late_frames += missed
            self.ear.frames += [EarFrame(None, 0, self._silence)] * missed
            self.ear.frames.append(self._next())

    def _next(self) -> EarFrame:
        at_s = self.ear.at_s(len(self.ear.frames))
        if self.holds and (self._in_reply is not None or self._queue):
            self._held_s.append(at_s)
        if self.paused or not self._queue:
            if self._in_reply is not None and not self.paused:
                self.ear.underruns_s.append(at_s)
            return EarFrame(None, 0, self._silence)
        frame = self._queue.popleft()
        self._room.set()
        if frame.reply_id is None:
            return frame
        if not self._played.get(frame.reply_id):
            self.started_event(frame.reply_id).set()
        self._in_reply = None if frame.reply_id in self._ended else frame.reply_id
        self._played[frame.reply_id] = frame.media_start + len(frame.pcm)
        if self.gain == 1.0:
            return frame
        return EarFrame(frame.reply_id, frame.media_start, (frame.pcm * self.gain).astype(np.int16))
