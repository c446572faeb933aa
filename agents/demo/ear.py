"""The caller's two ends of the line, on one clock: what its mouth says and what its ear hears. Knows no WebRTC.

A microphone can hand over a sound only after it was made, and a loudspeaker plays what arrives at once or right behind
what it is still playing. Both are kept as samples from one moment on, so that they can be laid side by side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

RATE = 48_000
FRAME_SAMPLES = RATE // 50
FRAME_S = 0.02
AUDIBLE = 180
"""Peak of a frame that counts as sound while the call runs: -45 dB."""
LONGEST_BACKLOG_S = 0.06


class Mouth:
    """Says what it is given and is silent otherwise; keeps every sample it said."""

    def __init__(self) -> None:
        self.frames: list[Samples] = []
        self._pieces: deque[Samples] = deque()
        self._said = asyncio.Event()

    def say(self, pcm: Samples) -> int:
        """Begin to speak. Returns the sample of the recording at which the sound begins."""
        padding = -len(pcm) % FRAME_SAMPLES
        frames = np.concatenate([pcm, np.zeros(padding, np.int16)]).reshape(-1, FRAME_SAMPLES)
        start = (len(self.frames) + len(self._pieces)) * FRAME_SAMPLES
        self._pieces.extend(frames)
        self._said.clear()
        return start

    async def until_said(self) -> None:
        await self._said.wait()

    def next_frame(self) -> Samples:
        """20 ms for the microphone."""
        frame = self._pieces.popleft() if self._pieces else np.zeros(FRAME_SAMPLES, np.int16)
        self.frames.append(frame)
        if not self._pieces:
            self._said.set()
        return frame


class Ear:
    """Plays what arrives, keeps it with the time at which it sounded, and tells how much was heard."""

    def __init__(self) -> None:
        self.heard_ms = 0.0
        self.quiet_ms = 0.0
        self._played: list[tuple[float, float, Samples]] = []
        self._end_s = 0.0
        self._offset_s: float | None = None
        self._changed = asyncio.Condition()

    def reset(self) -> None:
        """Count from here on."""
        self.heard_ms = self.quiet_ms = 0.0

    async def hear(self, pcm: Samples, now_s: float, media_s: float) -> None:
        """A frame arrives at `now_s`; the sender made it at `media_s` of its own clock."""
        self._offset_s = min(now_s - media_s, now_s - media_s if self._offset_s is None else self._offset_s)
        loud = bool(len(pcm)) and int(np.abs(pcm.astype(np.int32)).max()) > AUDIBLE
        late_s = self._end_s - now_s
        if late_s <= LONGEST_BACKLOG_S or loud:  # silence is where a player gives back time it is behind
            start_s = max(self._end_s, now_s)
            self._played.append((start_s, media_s, pcm))
            self._end_s = start_s + len(pcm) / RATE
        length_ms = 1000 * len(pcm) / RATE
        self.heard_ms += length_ms if loud else 0.0
        self.quiet_ms = 0.0 if loud else self.quiet_ms + length_ms
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[Ear], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self))

    def recording(self, start_s: float, num_samples: int) -> Samples:
        """What sounded from `start_s` on."""
        whole = np.zeros(num_samples, np.int16)
        for at_s, _, pcm in self._played:
            at = round((at_s - start_s) * RATE)
            piece = pcm[max(0, -at) : max(0, num_samples - at)]
            whole[max(0, at) : max(0, at) + len(piece)] = piece
        return whole

    def sent_times(self) -> npt.NDArray[np.float64]:
        """[num_frames, 3]: when each frame sounded, when it was sent (had it taken the shortest way), how long it is.

        What was sent before the agent stopped may arrive late on a busy line; what was sent after is another matter.
        """
        offset_s = self._offset_s or 0.0
        rows = [(at_s, media_s + offset_s, len(pcm) / RATE) for at_s, media_s, pcm in self._played]
        return np.array(rows, np.float64).reshape(-1, 3)
