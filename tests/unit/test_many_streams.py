"""Many streams on one core, on a virtual clock: a step costs what its rows cost, and nobody who is spoken to runs dry.

The cost of a step is about the bundled voice's on one core, so 32 rows take most of a frame's 40 ms. As its codec does,
a stream's first frame gives 25 ms of sound.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from agent_tts import Engine, EngineConfig, TtsMetrics
from agent_tts.runtime.local_door import LocalDoor
from agent_tts.runtime.loop import MAX_READING_S, STEP_MARGIN, EngineLoop
from agent_tts.runtime.scheduler import MAX_BEGINNERS
from agent_tts.runtime.step import Row, RowResult, StepPlan
from agent_tts.types import SamplingParams
from evals import virtual_time
from evals.peers.registry import add_options, make_peer
from tests.bench import Bench
from tests.fakes import FRAME_MS, FakeText, ToneRunner

PRE_ROLL = 368
FIRST_MS = FRAME_MS - 1000 * PRE_ROLL / 24_000
TEXT = "word " * 30
IDLE_S = 0.002


class PreRollRunner(ToneRunner):
    """A tone whose codec swallows the beginning of a stream."""

    def _frame(self, row: Row) -> RowResult:
        result = super()._frame(row)
        return replace(result, pcm=result.pcm[PRE_ROLL:]) if row.opens else result


def one_core(plan: StepPlan) -> float:
    """Seconds of a step: 7 ms with one row, 36 with 32, and half a millisecond for each text that begins."""
    return 0.0061 + 0.00093 * len(plan.rows) + 0.0005 * sum(row.opens for row in plan.rows)


@asynccontextmanager
async def stepping(cost: Callable[[StepPlan], float], plans: list[StepPlan], **config: int) -> AsyncIterator[Engine]:
    """The real engine, stepped by a task on the virtual clock; `plans` gets each step's plan."""
    door = LocalDoor(PreRollRunner(), EngineConfig(**config), clock=asyncio.get_running_loop().time, own_thread=False)
    task = asyncio.create_task(_step(door.loop, cost, plans))
    try:
        yield Engine(door)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        door.close()


async def _step(loop: EngineLoop, cost: Callable[[StepPlan], float], plans: list[StepPlan]) -> None:
    while True:
        plan = loop.begin_step()
        if not plan.rows:
            await asyncio.sleep(IDLE_S)
            continue
        plans.append(plan)
        await asyncio.sleep(cost(plan))
        loop.finish_step(plan, loop.run(plan))
        loop.check_invariants()


async def speak(engine: Engine, text: str = TEXT, after_s: float = 0.0) -> TtsMetrics:
    await asyncio.sleep(after_s)
    utterance = engine.utterance(sampling=SamplingParams(seed=1))
    utterance.push_text(text)
    utterance.end_text()
    async for _ in utterance:
        pass
    return await utterance.released()


def speak_all(
    begins_s: list[float], cost: Callable[[StepPlan], float] = one_core, **config: int
) -> tuple[list[TtsMetrics], list[StepPlan]]:
    """One caller for each of these moments; what was measured, in their order, and all plans."""
    plans: list[StepPlan] = []
    config = {"max_slots": 32, "num_pages": 512} | config

    async def main() -> list[TtsMetrics]:
        async with stepping(cost, plans, **config) as engine:
            return await asyncio.gather(*(speak(engine, after_s=begin_s) for begin_s in begins_s))

    return virtual_time.run(main()), plans


def steps_ms(rows: int, times: int) -> float:
    return 1000 * times * (0.0061 + 0.00143 * rows)


def test_32_that_begin_at_once_never_run_dry_and_have_all_begun_after_two_steps():
    metrics, plans = speak_all([0.0] * 32)
    assert [row.underruns for row in metrics] == [0] * 32
    assert len(plans[0].rows) == len(plans[1].rows) == 32, "nobody is being spoken to, so nobody has to wait"
    assert max(row.ttfa_playable_ms for row in metrics) <= 1000 * IDLE_S + steps_ms(32, 2)


def test_a_stream_alone_is_heard_after_its_first_frame():
    (metrics,), _ = speak_all([0.0])
    assert metrics.ttfa_playable_ms == metrics.ttfa_first_frame_ms <= 1000 * IDLE_S + steps_ms(1, 1)
    assert metrics.underruns == 0


def test_one_who_joins_31_is_soon_heard_and_nobody_runs_dry():
    for join_s in (0.1, 0.5, 2.0):
        metrics, _ = speak_all([0.0] * 31 + [join_s])
        assert [row.underruns for row in metrics] == [0] * 32
        assert metrics[-1].ttfa_playable_ms <= steps_ms(32, 3), "the step in flight, and two of its own"


def test_24_who_join_8_that_have_just_begun_wait_rather_than_that_these_stutter():
    metrics, plans = speak_all([0.0] * 8 + [0.03] * 24)
    assert [row.underruns for row in metrics] == [0] * 32
    beginners = [sum(row.opens for row in plan.rows) for plan in plans]
    first = next(index for index, count in enumerate(beginners) if index and count)
    last = max(index for index, count in enumerate(beginners) if count)
    assert beginners[first] == MAX_BEGINNERS, "the 8 have little in hand"
    assert last - first < 24 / MAX_BEGINNERS
    opened = [int(row.request_id.split("-")[1]) for plan in plans for row in plan.rows if row.opens]
    assert opened == sorted(opened), "first come, first served"
    assert max(row.queue_ms for row in metrics) <= steps_ms(32, 24 // MAX_BEGINNERS + 1)


def test_callers_at_random_moments_never_run_dry():
    begins_s = [((index * 0.6180339887) % 1) * 2 for index in range(32)]
    metrics, _ = speak_all(begins_s)
    assert [row.underruns for row in metrics] == [0] * 32


def test_callers_beyond_the_slots_wait_their_turn_and_disturb_nobody():
    metrics, plans = speak_all([0.0] * 48, max_slots=24)
    assert [row.underruns for row in metrics] == [0] * 48
    assert max(len(plan.rows) for plan in plans) == 24
    queued = [row.queue_ms for row in metrics]
    assert max(queued[:24]) <= 1000 * IDLE_S + steps_ms(24, 1), "these have slots"
    assert min(queued[24:]) > 1000, "until somebody has finished; it is told, not hidden"
    opened = [row.request_id for plan in plans for row in plan.rows if row.opens]
    assert len(opened) == len(set(opened)) == 48


def test_on_a_machine_that_is_too_slow_all_are_late_and_none_is_left_behind():
    metrics, plans = speak_all([0.0] * 32, lambda plan: 2 * one_core(plan))
    assert min(row.underruns for row in metrics) > 0, "so the tests above can fail"
    frames: dict[str, int] = {}
    for plan in plans[:100]:
        for row in plan.rows:
            frames[row.request_id] = frames.get(row.request_id, 0) + 1
    assert len(frames) == 32
    assert max(frames.values()) - min(frames.values()) <= 1


def test_who_is_nearest_to_running_dry_runs_and_who_has_enough_sits_out():
    bench = Bench(PreRollRunner())
    rich = bench.open("rich", TEXT)
    bench.step(7)
    poor, newcomer = bench.open("poor", TEXT), bench.open("new", "hel", end=False)
    bench.step()
    plan = bench.loop.begin_step()
    assert [row.request_id for row in plan.rows] == ["poor"]
    bench.loop.finish_step(plan, bench.loop.run(plan))
    assert (rich.num_frames, poor.num_frames, newcomer.num_frames) == (7, 2, 0)


def test_the_evaluation_gives_each_call_a_slot() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    parser.add_argument("--streams", type=int)
    for streams, slots in ((1, 8), (32, 32)):
        peer = make_peer(parser.parse_args(["--streams", str(streams)]))
        assert peer._config.max_slots == slots
        behind = make_peer(parser.parse_args(["--streams", str(streams), "--over-socket"]))
        assert behind._serve[-2:] == ["--max-slots", str(slots)]


# -- what is handed over first, and when ------------------------------------------------------------------------------


def slow_bench(step_ms: float, **config: int) -> Bench:
    runner = PreRollRunner()
    bench = Bench(runner, **config)
    runner.on_step = lambda plan: bench.clock.advance_ms(step_ms)
    return bench


async def is_there(bench: Bench, name: str) -> bool:
    """Whether a caller would get a chunk now; takes it."""
    stream = next(request for request in bench.loop.scheduler.requests() if request.id == name).stream
    task = asyncio.create_task(stream.next_chunk())
    await asyncio.sleep(0)
    if task.done():
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def test_the_first_chunk_comes_when_it_lasts_as_long_as_a_step():
    for lasts_ms, steps in ((FIRST_MS - 1, 1), (FIRST_MS + 1, 2), (FIRST_MS + FRAME_MS + 1, 3)):
        bench = slow_bench(step_ms := lasts_ms / STEP_MARGIN)
        bench.open("one", TEXT)
        bench.step(steps - 1)
        assert steps == 1 or not await is_there(bench, "one"), step_ms
        bench.step()
        assert await is_there(bench, "one"), step_ms


async def test_a_prompt_that_took_long_is_no_reason_to_hold_it_back():
    runner = PreRollRunner(prompts={"default": tuple(range(40))})
    bench = Bench(runner)
    runner.on_step = lambda plan: bench.clock.advance_ms(500 if plan.rows[0].work.num_positions > 1 else 10)
    bench.open("one", TEXT)
    bench.step()
    assert await is_there(bench, "one")


async def test_it_is_not_held_back_for_text_that_may_never_come():
    bench = slow_bench(200)
    bench.open("one", "word ", end=False)
    bench.step(3)
    assert not await is_there(bench, "one")
    bench.step()
    assert await is_there(bench, "one")
    assert not bench.step(), "nothing more can be said now"


async def test_it_is_not_held_back_beyond_the_lead_limit():
    bench = slow_bench(500)
    request = bench.open("one", TEXT, lead_ms=1.0)
    bench.step()
    assert await is_there(bench, "one")
    assert request.num_frames == 1


async def test_a_held_chunk_is_timed_when_it_can_be_had():
    bench = slow_bench(30)
    request = bench.open("one", TEXT)
    request.stream.note_text()
    bench.step()
    assert request.stream.timing.first_chunk_s is None
    bench.step()
    metrics = request.stream.timing
    assert round(metrics.since_text_ms(metrics.first_frame_s)) == 30
    assert round(metrics.since_text_ms(metrics.first_chunk_s)) == 60
    assert all(gap == 0 for gap in metrics.chunk_gaps_ms), "what comes together has no gaps"


async def test_an_abort_while_the_first_chunk_is_held_delivers_nothing():
    bench = slow_bench(30)
    request = bench.open("one", TEXT)
    bench.step()
    bench.abort(request)
    assert await request.stream.next_chunk() is None
    bench.step()
    assert bench.retired == ["one"]


# -- reading a flood of text ------------------------------------------------------------------------------------------


def test_a_flood_of_text_is_read_between_the_steps_of_those_who_speak():
    bench = slow_bench(10)
    speaking = bench.open("speaking", TEXT)
    bench.step()
    reading_ms = 4.0

    class SlowText(FakeText):
        def push(self, text: str) -> None:
            bench.clock.advance_ms(reading_ms)
            FakeText.push(self, text)

    newcomers = []
    for index in range(7):
        request = bench.request(f"new{index}")
        request.source = SlowText()
        bench.loop.submit(request, lambda: None)
        bench.loop.post(request, lambda request=request: request.source.push("one "))
        newcomers.append(request)
    per_step = int(1000 * MAX_READING_S // reading_ms) + 1
    for step in range(1, 4):
        bench.step()
        assert speaking.num_frames == 1 + step, "no step without the one who is spoken to"
        assert sum(request.num_frames > 0 for request in newcomers) == min(7, step * per_step)


def test_with_nobody_speaking_all_of_it_is_read_at_once():
    bench = slow_bench(10)
    for index in range(20):
        request = bench.open(f"r{index}", TEXT)
        bench.loop.post(request, lambda: bench.clock.advance_ms(5))
    plan = bench.loop.begin_step()
    assert len(plan.rows) == bench.loop.scheduler.books().total_slots
