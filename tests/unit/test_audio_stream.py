"""The hand-over: exact 20 ms chunks, nothing after an abort, nothing lost by a pause, a playout clock to trust."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.playout import PlayoutClock
from agent_tts.types import WordTime
from tests.fakes import FakeClock


def make_stream(clock: FakeClock | None = None) -> AudioStream:
    return AudioStream("u", "default", 24_000, clock=clock or FakeClock())


def tone(num_samples: int) -> np.ndarray:
    return np.full(num_samples, 0.25, np.float32)


async def take_all(stream: AudioStream) -> list:
    chunks = []
    while (chunk := await stream.next_chunk()) is not None:
        chunks.append(chunk)
    return chunks


@pytest.mark.parametrize("portions", [[960] * 3, [1] * 100, [7, 2000, 481], [480]])
async def test_chunks_are_exactly_20_ms_and_only_the_last_is_final(portions):
    stream = make_stream()
    for portion in portions:
        stream.write(tone(portion), 0)
    stream.finish(5)
    chunks = await take_all(stream)
    assert [len(chunk.pcm) for chunk in chunks] == [480] * len(chunks)
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk.num_samples for chunk in chunks) == sum(portions)
    assert chunks[-1].text_end == 5


async def test_no_audio_means_no_chunk():
    stream = make_stream()
    stream.finish(3)
    assert await take_all(stream) == []


async def test_nothing_is_delivered_after_abort_returned():
    stream = make_stream()
    stream.write(tone(4800), 0)
    assert (await stream.next_chunk()).index == 0
    assert stream.abort()
    stream.write(tone(4800), 0)
    stream.finish(9)
    assert await stream.next_chunk() is None
    assert not stream.abort(), "the second time there is nothing to abort"


async def test_an_abort_wakes_a_consumer_that_waits():
    stream = make_stream()
    waiting = asyncio.create_task(stream.next_chunk())
    await asyncio.sleep(0)
    stream.abort()
    assert await waiting is None


async def test_a_pause_holds_back_and_loses_nothing():
    stream = make_stream()
    stream.write(tone(960), 0)
    stream.pause()
    waiting = asyncio.create_task(stream.next_chunk())
    await asyncio.sleep(0)
    stream.write(tone(960), 0)
    assert not waiting.done()
    stream.resume()
    stream.finish(0)
    chunks = [await waiting, *await take_all(stream)]
    assert sum(chunk.num_samples for chunk in chunks) == 1920


async def test_each_word_stands_in_exactly_one_chunk():
    stream = make_stream()
    words = [WordTime("one", 0, 3, 0, 40), WordTime("two", 4, 7, 40, 80)]
    stream.write(tone(960), 3, words[:1])
    stream.write(tone(960), 7, words[1:])
    stream.finish(7)
    chunks = await take_all(stream)
    assert [word.text for chunk in chunks for word in chunk.words] == ["one", "two"]


async def test_samples_louder_than_full_scale_are_clipped_not_wrapped():
    stream = make_stream()
    stream.write(np.array([2.0, -2.0] * 240, np.float32), 0)
    stream.finish(0)
    pcm = (await stream.next_chunk()).pcm
    assert pcm.max() == 32767
    assert pcm.min() == -32767


def test_the_lead_shrinks_in_real_time_once_the_consumer_took_the_first_chunk():
    clock = FakeClock()
    stream = make_stream(clock)
    stream.write(tone(24_000), 0)
    clock.advance_ms(500)
    assert stream.lead_ms() == 1000, "nobody listens yet"
    asyncio.run(stream.next_chunk())
    clock.advance_ms(400)
    assert stream.lead_ms() == pytest.approx(600)
    stream.pause()
    clock.advance_ms(300)
    assert stream.lead_ms() == pytest.approx(600)
    stream.resume()
    clock.advance_ms(5000)
    assert stream.lead_ms() == 0, "a player cannot hear what does not exist"


def test_an_underrun_is_counted_and_the_player_starts_again_where_it_stood():
    clock = FakeClock()
    stream = make_stream(clock)
    stream.write(tone(480), 0)
    asyncio.run(stream.next_chunk())
    clock.advance_ms(120)
    stream.write(tone(480), 0)
    assert stream.timing.underruns == 1
    clock.advance_ms(10)
    assert stream.lead_ms() == pytest.approx(10)


def test_a_reported_position_is_believed_and_never_goes_back():
    clock = PlayoutClock()
    clock.report(300)
    clock.report(200)
    assert clock.played_ms(1000, 5.0) == 300
    assert clock.played_ms(250, 5.0) == 250


def test_leading_silence_is_counted_to_the_first_audible_sample():
    stream = make_stream()
    stream.write(np.zeros(2400, np.float32), 0)
    stream.write(tone(480), 0)
    assert stream.timing.leading_silence_ms == pytest.approx(100)
