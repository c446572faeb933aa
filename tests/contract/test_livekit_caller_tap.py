"""The tap on the caller's audio: every frame goes through as it came, and onsets are told on the event loop."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from livekit import rtc
from livekit.agents.voice import io

from agent_tts.audio.onset import Activity
from agent_tts.livekit import caller_tap
from agent_tts.livekit.caller_tap import CallerTap

RATE = 24_000


class Source(io.AudioInput):
    """Gives frames of 20 ms from a list."""

    def __init__(self, pcm: np.ndarray) -> None:
        super().__init__(label="Source")
        size = RATE // 50
        self.frames = [
            rtc.AudioFrame(pcm[at : at + size].tobytes(), RATE, 1, size) for at in range(0, len(pcm) - size + 1, size)
        ]
        self._left = iter(self.frames)

    async def __anext__(self) -> rtc.AudioFrame:
        for frame in self._left:
            return frame
        raise StopAsyncIteration


async def test_frames_pass_and_activity_is_told_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_tap, "_silero", lambda: None)  # the level alone: made sounds are no speech
    rng = np.random.default_rng(1)
    quiet, loud = (rng.normal(0, level, RATE // 2).astype(np.int16) for level in (5, 3000))
    source = Source(np.concatenate([quiet, loud, quiet]))
    told: list[Activity] = []
    ended = asyncio.Event()

    def on_activity(activity: Activity) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(activity)
        if activity is Activity.ENDED:
            ended.set()

    tap = CallerTap(source, on_activity)
    passed = [frame async for frame in tap]
    await ended.wait()
    tap.listener.close()
    assert passed == source.frames
    assert told == [Activity.STARTED, Activity.ENDED]


async def test_a_closed_tap_passes_every_frame_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """binding.close() in the middle of a call ended the session's hearing: its thread took no more work."""
    monkeypatch.setattr(caller_tap, "_silero", lambda: None)
    source = Source(np.random.default_rng(1).normal(0, 3000, RATE).astype(np.int16))
    told: list[Activity] = []
    tap = CallerTap(source, told.append)
    passed = [await anext(tap)]
    tap.listener.close()
    passed += [frame async for frame in tap]
    await asyncio.sleep(0)
    assert passed == source.frames
    assert told == []


async def test_a_model_that_cannot_be_loaded_is_said_once_and_every_frame_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> None:
        raise FileNotFoundError("no model")

    monkeypatch.setattr(caller_tap, "_silero", load)
    said: list[BaseException] = []
    told = asyncio.Event()

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, BaseException]) -> None:
        said.append(context["exception"])
        told.set()

    asyncio.get_running_loop().set_exception_handler(note)
    source = Source(np.zeros(RATE, np.int16))
    tap = CallerTap(source, lambda activity: None)
    first = await anext(tap)
    await told.wait()
    assert [first, *[frame async for frame in tap]] == source.frames
    assert [type(error) for error in said] == [FileNotFoundError]
