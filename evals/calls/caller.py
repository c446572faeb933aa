"""The virtual caller: a mouth that speaks clips on time into the agent's microphone, 20 ms after they sounded.

The mouth's clean recording is the clock of every event: a clip's onset is its first audible sample, whatever else (the
agent's own echo) reaches the microphone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import soxr

from evals.calls.clips import RATE, Wave
from evals.calls.events import FRAME_MS
from evals.calls.player import FRAME_S, Player

ECHO_DELAY_FRAMES = 3
FRAME_SAMPLES = RATE * FRAME_MS // 1000


class Mouth:
    """Speaks when told; gives the agent one frame of microphone audio every 20 ms, silence included.

    Args:
        hear: The agent's ear.
        echo_db: Level of the agent's own voice in the microphone, relative to what it plays; None = no echo.
    """

    def __init__(self, hear: Callable[[Wave], None], player: Player, *, echo_db: float | None = None) -> None:
        self.clean: list[Wave] = []
        self.begin_s = asyncio.get_running_loop().time()
        self._hear = hear
        self._player = player
        self._echo_gain = 0.0 if echo_db is None else 10 ** (echo_db / 20)
        self._echo = soxr.ResampleStream(player.ear.sample_rate, RATE, 1, dtype="float32", quality="LQ")
        self._echo_left: Wave = np.zeros(0, np.float32)
        self._clip: Wave = np.zeros(0, np.float32)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._task = asyncio.create_task(self._run())

    def speak(self, clip: Wave) -> float:
        """Begin a clip with the next frame; returns when its first sample sounds."""
        self._clip = clip
        self._quiet.clear()
        return self.begin_s + len(self.clean) * FRAME_S

    async def quiet(self) -> None:
        """Wait until the clip has been spoken."""
        await self._quiet.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = self._next()
            self.clean.append(frame)
            await asyncio.sleep(max(0.0, self.begin_s + len(self.clean) * FRAME_S - loop.time()))
            self._hear(frame + self._echo_frame() if self._echo_gain else frame)

    def _next(self) -> Wave:
        frame, self._clip = self._clip[:FRAME_SAMPLES], self._clip[FRAME_SAMPLES:]
        if not len(self._clip):
            self._quiet.set()
        return np.pad(frame, (0, FRAME_SAMPLES - len(frame))) if len(frame) < FRAME_SAMPLES else frame

    def _echo_frame(self) -> Wave:
        played = self._player.recent(ECHO_DELAY_FRAMES)
        if played is None:
            return np.zeros(FRAME_SAMPLES, np.float32)
        fresh = self._echo.resample_chunk(played.pcm.astype(np.float32) / 32767)
        self._echo_left = np.concatenate([self._echo_left, fresh])
        frame, self._echo_left = self._echo_left[:FRAME_SAMPLES], self._echo_left[FRAME_SAMPLES:]
        return self._echo_gain * np.pad(frame, (0, FRAME_SAMPLES - len(frame)))
