"""What an Engine owes its caller beyond what any TTS does (test_any_tts.py), through each of its doors, on a tone."""

from __future__ import annotations

import asyncio
import gc
import random
import threading

import pytest

from agent_tts import Engine, EngineConfig, FinishReason
from agent_tts.errors import (
    ConfigError,
    EngineBusyError,
    EngineClosedError,
    TextAfterEndError,
    UnknownVoiceError,
)
from tests.doors import DOORS, in_process
from tests.fakes import ToneRunner


@pytest.fixture(params=DOORS)
def open_engine(request):
    return DOORS[request.param]


@pytest.fixture
def runner():
    return ToneRunner()


@pytest.fixture
async def engine(runner, open_engine):
    async with open_engine(runner, EngineConfig(max_slots=4, max_waiting=32)) as engine:
        yield engine
        await let_go(engine)
        assert engine.stats().free_slots == engine.stats().total_slots, "a slot was not given back"


async def let_go(engine: Engine) -> None:
    """Wait until the engine has released every utterance; aborting one that has ended changes nothing."""
    for utterance in list(engine._open):
        await asyncio.wait_for(utterance.abort().released(), 5)


async def say(engine: Engine, text: str, **options) -> list:
    async with engine.utterance(lead_ms=60_000, **options) as utterance:
        utterance.push_text(text)
        utterance.end_text()
        return [chunk async for chunk in utterance]


async def test_text_becomes_20_ms_chunks_of_one_utterance(engine):
    chunks = await say(engine, "hello there", utterance_id="u1")
    assert len(chunks) == 8 * 2 + 1
    assert {chunk.utterance_id for chunk in chunks} == {"u1"}
    assert [chunk.is_final for chunk in chunks].count(True) == 1
    assert chunks[-1].is_final
    assert chunks[-1].text_end == len("hello there")
    assert all(len(chunk.pcm) == 480 for chunk in chunks)


async def test_several_utterances_do_not_mix(engine):
    results = await asyncio.gather(*(say(engine, "word " * count, utterance_id=f"u{count}") for count in range(1, 9)))
    for count, chunks in enumerate(results, start=1):
        assert {chunk.utterance_id for chunk in chunks} == {f"u{count}"}
        assert sum(chunk.num_samples for chunk in chunks) == count * 4 * 960


async def test_abort_is_silent_after_and_releases_everything(engine):
    utterance = engine.utterance()
    utterance.push_text("a long reply " * 50)
    utterance.end_text()
    heard = 0
    async for _ in utterance:
        heard += 1
        if heard == 5:
            ack = utterance.abort()
    assert heard == 5
    metrics = await ack.released()
    assert metrics.finish_reason is FinishReason.ABORTED
    assert metrics.delivered_audio_ms == 100
    assert metrics.generated_audio_ms - metrics.delivered_audio_ms <= 1000 + 40
    assert metrics.cancellation_latency_ms is not None
    assert utterance.metrics is metrics


async def test_abort_twice_late_and_after_the_end_is_harmless(engine):
    utterance = engine.utterance()
    utterance.push_text("short")
    utterance.end_text()
    chunks = [chunk async for chunk in utterance]
    first, second = utterance.abort(), utterance.abort()
    assert (await first.released()) is (await second.released())
    assert utterance.finish_reason is FinishReason.COMPLETED
    assert len(chunks) == 9


async def test_a_cancelled_wait_for_the_release_spoils_it_for_nobody(engine, runner):
    runner.gate = threading.Event()
    utterance = engine.utterance()
    utterance.push_text("hello ")
    ack = utterance.abort()
    waiting = asyncio.create_task(ack.released())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    runner.gate.set()
    assert (await ack.released()).finish_reason is FinishReason.ABORTED


async def test_leaving_the_block_aborts(engine):
    async with engine.utterance() as utterance:
        utterance.push_text("never ended")
    metrics = await utterance.abort().released()
    assert metrics.finish_reason is FinishReason.ABORTED


async def test_a_cancelled_consumer_reaches_the_engine(engine, runner):
    started = asyncio.Event()

    async def consume():
        async with engine.utterance() as utterance:
            utterance.push_text("a long reply " * 50)
            async for _ in utterance:
                started.set()

    ended = asyncio.get_running_loop().create_future()
    engine.on_metrics(ended.set_result)
    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ended).finish_reason is FinishReason.ABORTED


async def test_pause_holds_the_stream_and_resume_loses_nothing(engine):
    utterance = engine.utterance(lead_ms=60_000)
    utterance.push_text("hello there")
    utterance.end_text()
    stream = aiter(utterance)
    first = await anext(stream)
    utterance.pause()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    utterance.resume()
    rest = [await waiting, *[chunk async for chunk in stream]]
    assert [chunk.index for chunk in (first, *rest)] == list(range(17))


async def test_generation_stays_within_the_lead_of_a_listener_who_stands_still(engine):
    utterance = engine.utterance(lead_ms=200)
    utterance.report_playout(0)
    utterance.push_text("word " * 200)
    utterance.end_text()
    stream = aiter(utterance)
    for _ in range(10):
        await anext(stream)
    assert utterance.generated_ms == 200
    utterance.report_playout(100)
    for _ in range(5):
        await anext(stream)
    assert utterance.generated_ms <= 320
    await utterance.abort().released()


async def test_words_carry_times_and_what_was_heard_ends_at_a_word(engine):
    async with engine.utterance(lead_ms=60_000) as utterance:
        utterance.push_text("one two three")
        utterance.end_text()
        chunks = [chunk async for chunk in utterance]
        words = [word for chunk in chunks for word in chunk.words]
        assert [(word.text, word.start_ms, word.end_ms) for word in words] == [
            ("one", 0, 160),
            ("two", 160, 320),
            ("three", 320, 480),
        ]
        assert utterance.heard_text(0) == ""
        assert utterance.heard_text(330) == "one two"
        assert utterance.heard_text(1000) == "one two three"


async def test_refusals_name_the_value_and_what_is_allowed(engine):
    with pytest.raises(UnknownVoiceError, match=r"'nobody'.*'default', 'other'"):
        engine.utterance(voice="nobody")
    with pytest.raises(ConfigError, match="lead_ms is -1"):
        engine.utterance(lead_ms=-1)
    async with engine.utterance() as utterance:
        utterance.end_text()
        with pytest.raises(TextAfterEndError, match="Open a new utterance"):
            utterance.push_text("more")


async def test_a_full_engine_says_so_and_takes_more_when_one_has_ended(open_engine):
    async with open_engine(ToneRunner(), EngineConfig(max_waiting=1)) as engine:
        first = engine.utterance()
        with pytest.raises(EngineBusyError, match="max_waiting is 1"):
            engine.utterance()
        await first.abort().released()
        engine.utterance().abort()


async def test_a_thousand_at_once_are_taken_up_to_the_limit_and_the_rest_told_what_to_do(engine):
    taken, refused = [], []
    for _ in range(1000):
        try:
            taken.append(engine.utterance())
        except EngineBusyError as error:
            refused.append(str(error))
    assert len(taken) == engine.max_waiting == 32
    assert len(refused) == 1000 - 32
    assert set(refused) == {
        "32 utterances are open or waiting and max_waiting is 32. "
        "Retry when one has ended, raise max_waiting, or add an engine."
    }
    for utterance in taken:
        utterance.push_text("hello ")
        utterance.end_text()
    assert {len([chunk async for chunk in utterance]) for utterance in taken} == {9}


async def test_ten_thousand_aborts_from_many_threads_end_each_utterance_once(engine):
    ended = []
    engine.on_metrics(ended.append)
    for _ in range(10):
        utterances = [engine.utterance(lead_ms=60_000) for _ in range(20)]
        for utterance in utterances:
            utterance.push_text("word " * 50)
        await anext(aiter(utterances[0]))

        def abort_all(utterances=utterances) -> None:
            for _ in range(5):
                for utterance in utterances:
                    utterance.abort()

        await asyncio.gather(*(asyncio.to_thread(abort_all) for _ in range(10)))
        for utterance in utterances:
            assert [chunk async for chunk in utterance] == []
            metrics = await asyncio.wait_for(utterance.released(), 5)
            assert metrics.finish_reason is FinishReason.ABORTED
    assert len(ended) == len({metrics.utterance_id for metrics in ended}) == 200
    assert engine.stats().free_slots == engine.stats().total_slots


async def test_use_after_close_is_a_typed_error(open_engine):
    async with open_engine(ToneRunner()) as engine:
        await engine.close()
        await engine.close()
        with pytest.raises(EngineClosedError):
            engine.utterance()


async def test_closing_ends_open_utterances_instead_of_leaving_them_hanging(open_engine):
    async with open_engine(ToneRunner()) as engine:
        utterance = engine.utterance()
        utterance.push_text("waits for more")
        reading = asyncio.create_task(anext(aiter(utterance), None))
        await asyncio.sleep(0)
        await engine.close()
        await reading
        assert (await utterance.released()).finish_reason is FinishReason.ABORTED
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("agent-tts")]


async def test_an_id_can_be_used_again_but_not_twice_at_once(engine):
    assert await say(engine, "one", utterance_id="same")
    assert await say(engine, "one", utterance_id="same")
    engine.utterance(utterance_id="same")
    with pytest.raises(ConfigError, match="'same' is open already"):
        engine.utterance(utterance_id="same")


async def test_two_engines_in_one_process(engine):
    async with in_process(ToneRunner(frequency_hz=200)) as second:
        mine, other = await asyncio.gather(say(engine, "hello"), say(second, "hello"))
    assert (mine[0].pcm != other[0].pcm).any()


async def test_metrics_come_once_for_each_utterance_on_the_event_loop(engine):
    seen = []
    remove = engine.on_metrics(lambda metrics: seen.append((metrics.utterance_id, threading.current_thread())))
    await say(engine, "one", utterance_id="a")
    await engine.utterance(utterance_id="b").abort().released()
    remove()
    await say(engine, "one", utterance_id="c")
    await asyncio.sleep(0)
    assert sorted(seen, key=lambda item: item[0]) == [("a", threading.main_thread()), ("b", threading.main_thread())]


async def test_an_utterance_that_waits_for_a_slot_says_how_long(open_engine, runner):
    async with open_engine(runner, EngineConfig(max_slots=1)) as engine:
        first, second = engine.utterance(lead_ms=60_000), engine.utterance(lead_ms=60_000)
        first.push_text("hello ")
        await anext(aiter(first))
        second.push_text("hello ")
        second.end_text()
        first.end_text()
        assert len([chunk async for chunk in second]) == 9
        queued, at_once = await second.released(), await first.abort().released()
        assert 0 <= at_once.queue_ms <= at_once.ttfa_playable_ms
        assert at_once.queue_ms < queued.queue_ms <= queued.ttfa_playable_ms
        never = engine.utterance()
        assert (await never.abort().released()).queue_ms is None


async def test_metrics_of_a_finished_utterance_add_up(engine):
    ended = asyncio.get_running_loop().create_future()
    engine.on_metrics(ended.set_result)
    await say(engine, "hello there")
    metrics = await ended
    assert metrics.finish_reason is FinishReason.COMPLETED
    assert metrics.generated_audio_ms == metrics.delivered_audio_ms == 320
    assert metrics.ttfa_first_frame_ms <= metrics.ttfa_playable_ms <= metrics.ttfa_audible_ms
    assert metrics.frames_wasted == 0
    assert metrics.characters == len("hello there")


async def test_a_thousand_random_interruptions_leave_nothing_behind(engine):
    generator = random.Random(3)

    async def one(index: int) -> None:
        utterance = engine.utterance(lead_ms=generator.choice([640, 1000]))
        utterance.push_text("word " * generator.randrange(1, 20))
        if generator.random() < 0.7:
            utterance.end_text()
        stop_after = generator.randrange(0, 30)
        heard = 0
        async for _ in utterance:
            heard += 1
            assert heard <= stop_after + 1, "a chunk came after abort() returned"
            if generator.random() < 0.1:
                utterance.pause()
                utterance.resume()
            if heard > stop_after:
                utterance.abort()
            if utterance._text_ended is False and heard > 3:
                utterance.end_text()
        await utterance.abort().released()

    pending: set[asyncio.Task] = set()
    for index in range(1000):
        pending.add(asyncio.create_task(one(index)))
        if len(pending) >= 12:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    gc.collect()
    await let_go(engine)
    stats = engine.stats()
    assert (stats.open, stats.running, stats.waiting) == (0, 0, 0)
    assert stats.free_pages == stats.total_pages
