"""RoomAudioOutput on a real rtc.AudioSource, its track tapped: what leaves it, sample for sample. Real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from livekit import rtc
from livekit.agents.voice import io

from agent_tts.livekit import RoomAudioOutput

RATE = 24_000
BLOCK = RATE // 100
"""10 ms, what the source emits at a tick; each block of a test signal holds its own number."""


class Tap:
    """A room that is none, and the track that was published in it."""

    def __init__(self) -> None:
        self.local_participant = self
        self.blocks: list[np.ndarray] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def publish_track(self, track: rtc.LocalAudioTrack, options: rtc.TrackPublishOptions) -> Any:
        self._task = asyncio.create_task(self._listen(track))

        async def wait_for_subscription() -> None:
            return

        return SimpleNamespace(sid="TR_tap", wait_for_subscription=wait_for_subscription)

    async def _listen(self, track: rtc.LocalAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self.blocks.append(np.frombuffer(event.frame.data, np.int16).copy())
                self._news.set()
        finally:
            await stream.aclose()

    async def close(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the whole blocks that came out, in order; faded ones and silence left out."""
        return [int(block[0]) // 100 for block in self.blocks if block[0] and (block == block[0]).all()]

    async def until(self, number: int) -> None:
        """Wait until this block, or a later one, has come out."""
        while max(self.numbers, default=0) < number:
            self._news.clear()
            await self._news.wait()

    async def blocks_pass(self, count: int) -> None:
        target = len(self.blocks) + count
        while len(self.blocks) < target:
            self._news.clear()
            await self._news.wait()


def numbered(count: int, *, first: int = 1) -> rtc.AudioFrame:
    pcm = np.repeat(100 * np.arange(first, first + count, dtype=np.int16), BLOCK)
    return rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm))


@pytest.fixture
async def tap() -> Tap:
    return Tap()


@pytest.fixture
async def output(tap: Tap) -> AsyncIterator[RoomAudioOutput]:
    made = RoomAudioOutput(tap, sample_rate=RATE)  # type: ignore[arg-type]
    made.finished = []  # type: ignore[attr-defined]
    made.on("playback_finished", made.finished.append)  # type: ignore[attr-defined]
    await made.start()
    yield made
    await made.aclose()
    await tap.close()


async def play(output: RoomAudioOutput, *frames: rtc.AudioFrame) -> None:
    for frame in frames:
        await output.capture_frame(frame)
    output.flush()


def finished(output: RoomAudioOutput) -> list[io.PlaybackFinishedEvent]:
    return output.finished  # type: ignore[attr-defined]


async def test_all_comes_out_once_and_in_order_and_the_end_is_reported(output: RoomAudioOutput, tap: Tap) -> None:
    await play(output, numbered(7), numbered(13, first=8))
    event = await output.wait_for_playout()
    await tap.blocks_pass(2)
    assert tap.numbers == list(range(1, 21))
    assert event.playback_position == pytest.approx(0.2)
    assert [event.interrupted for event in finished(output)] == [False]


async def test_a_tail_shorter_than_a_tick_is_padded_and_does_not_wait_for_the_next_segment(
    output: RoomAudioOutput, tap: Tap
) -> None:
    pcm = np.full(RATE // 1000 * 25, 700, np.int16)
    await play(output, rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm)))
    event = await output.wait_for_playout()
    await tap.blocks_pass(2)
    assert event.playback_position == pytest.approx(0.025)
    assert sum(int((block == 700).sum()) for block in tap.blocks) == len(pcm)


async def test_pause_and_resume_lose_nothing_and_repeat_no_more_than_the_fade(
    output: RoomAudioOutput, tap: Tap
) -> None:
    await play(output, numbered(120))
    for stop in (20, 45, 70):
        await tap.until(stop)
        output.pause()
        await tap.blocks_pass(8)  # what was emitted before and is seen late, and the fade
        silent_from = len(tap.blocks)
        await tap.blocks_pass(5)
        assert not any(block.any() for block in tap.blocks[silent_from:])
        output.resume()
    event = await output.wait_for_playout()
    await tap.blocks_pass(2)
    heard = tap.numbers
    whole = set(range(1, 121))
    faded = [
        round(int(np.abs(block).max()) / 100) for block in tap.blocks if block.any() and not (block == block[0]).all()
    ]
    assert set(heard) <= whole
    assert heard == sorted(heard), "something was played in the wrong order"
    assert len(whole - set(heard)) <= 3  # one a resume: the block that fades in
    assert len(faded) == 6  # out and in again, three times
    assert event.playback_position == pytest.approx(1.2)
    assert not event.interrupted


async def test_a_clear_fades_for_10_ms_and_then_nothing_more_comes(output: RoomAudioOutput, tap: Tap) -> None:
    await play(output, numbered(200))
    await tap.until(30)
    output.clear_buffer()
    await tap.blocks_pass(8)
    assert [event.interrupted for event in finished(output)] == [True]
    silent_from = len(tap.blocks)
    await tap.blocks_pass(10)
    assert not any(block.any() for block in tap.blocks[silent_from:])
    heard_s = len(tap.numbers) / 100
    assert 0 < finished(output)[0].playback_position <= heard_s + 1e-9  # never more than came out


async def test_the_position_never_counts_what_has_not_come_out(output: RoomAudioOutput, tap: Tap) -> None:
    await play(output, numbered(100))
    seen = [output.position_s]
    for number in (20, 40, 60):
        await tap.until(number)
        output.pause()
        seen.append(output.position_s)
        await tap.blocks_pass(20)
        assert 0 < seen[-1] <= max(tap.numbers) / 100 + 1e-9
        output.resume()
    assert seen == sorted(seen)


async def test_after_a_clear_the_rest_of_that_segment_is_dropped_and_the_next_is_played(
    output: RoomAudioOutput, tap: Tap
) -> None:
    await output.capture_frame(numbered(100))
    await tap.until(10)
    output.clear_buffer()
    await output.capture_frame(numbered(50, first=101))  # still of what was cleared
    output.flush()
    await play(output, numbered(20, first=201))
    await output.wait_for_playout()
    await tap.blocks_pass(2)
    assert max(tap.numbers[:-20]) < 100
    assert tap.numbers[-20:] == list(range(201, 221))
    assert [event.interrupted for event in finished(output)] == [True, False]


async def test_a_clear_while_paused_plays_nothing(output: RoomAudioOutput, tap: Tap) -> None:
    await play(output, numbered(100))
    await tap.until(20)
    output.pause()
    await tap.blocks_pass(8)
    silent_from = len(tap.blocks)
    output.clear_buffer()
    output.resume()
    await tap.blocks_pass(5)
    assert not any(block.any() for block in tap.blocks[silent_from:])
    assert [event.interrupted for event in finished(output)] == [True]


async def test_a_clear_with_nothing_to_clear_reports_nothing(output: RoomAudioOutput) -> None:
    output.clear_buffer()
    output.pause()
    output.clear_buffer()
    output.resume()
    assert finished(output) == []
