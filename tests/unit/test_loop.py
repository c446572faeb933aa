"""The loop stepped by hand: who runs, what an abort gives back, and that one request's failure is its own."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest

from agent_tts.errors import EngineClosedError, GenerationError
from agent_tts.runtime.request import Request, RequestState
from agent_tts.types import FinishReason
from tests.bench import Bench
from tests.fakes import FRAME_MS, ToneRunner


def test_a_request_runs_to_its_end_and_gives_everything_back():
    bench = Bench()
    request = bench.open("one", "hello there")
    bench.run_dry()
    assert request.finish_reason is FinishReason.COMPLETED
    assert request.num_frames == 8
    assert bench.retired == ["one"]
    books = bench.loop.scheduler.books()
    assert books.free_pages == books.total_pages
    assert books.free_slots == books.total_slots
    assert not bench.runner.open_slots


def test_abort_while_the_step_is_in_flight_returns_every_page_after_it():
    bench = Bench()
    request = bench.open("one", "good morning to you")
    bench.step()
    plan = bench.loop.begin_step()
    assert plan.rows
    bench.abort(request)
    bench.loop.check_invariants()
    assert request.state is RequestState.RUNNING, "nothing comes back while the model computes"
    bench.loop.finish_step(plan, bench.loop.run(plan))
    bench.loop.check_invariants()
    assert request.state is RequestState.RETIRED
    assert bench.loop.scheduler.books().free_pages == bench.loop.scheduler.books().total_pages
    assert bench.retired == ["one"]


def test_abort_before_the_first_step_and_after_the_last_are_harmless():
    bench = Bench()
    early = bench.open("early", "hello")
    bench.abort(early)
    bench.run_dry()
    late = bench.open("late", "hello")
    bench.run_dry()
    bench.abort(late)
    bench.abort(late)
    bench.run_dry()
    assert bench.retired == ["early", "late"]
    assert early.finish_reason is FinishReason.ABORTED
    assert late.finish_reason is FinishReason.COMPLETED


def test_the_engine_is_idle_within_one_step_of_an_abort():
    bench = Bench()
    request = bench.open("one", "a rather long reply that goes on")
    bench.step(3)
    bench.abort(request)
    assert not bench.step(), "no row is planned for it any more"
    assert len(bench.runner.codes["one"]) == 3


def test_a_listener_who_hears_nothing_stops_generation_at_the_lead_limit():
    bench = Bench()
    request = bench.open("one", "word " * 100, lead_ms=400)
    bench.run_dry()
    assert request.num_frames == 400 / FRAME_MS
    request.stream.report_playout(200)
    bench.run_dry()
    assert request.num_frames == 600 / FRAME_MS


def test_paused_requests_take_no_step_and_lose_none():
    bench = Bench()
    request, other = bench.open("one", "hello there"), bench.open("two", "hello")
    bench.step(2)
    request.paused = True
    bench.run_dry()
    assert request.num_frames == 2
    assert other.finish_reason is FinishReason.COMPLETED
    request.paused = False
    bench.run_dry()
    assert request.finish_reason is FinishReason.COMPLETED
    assert request.num_frames == 8


def test_a_request_without_text_waits_and_holds_nobody_up():
    bench = Bench()
    waiting = bench.open("waits", "hel", end=False)
    bench.open("runs", "hello")
    bench.run_dry()
    assert waiting.num_frames == 0
    bench.loop.post(waiting, lambda: waiting.source.push("lo "))
    bench.run_dry()
    assert waiting.num_frames == 4
    assert waiting.state is RequestState.RUNNING
    bench.abort(waiting)
    bench.run_dry()


def test_more_requests_than_slots_take_turns():
    bench = Bench(max_slots=2)
    requests = [bench.open(f"r{index}", "one two") for index in range(5)]
    bench.run_dry()
    assert all(request.finish_reason is FinishReason.COMPLETED for request in requests)


def test_queueing_begins_with_text_that_can_be_spoken_and_ends_with_the_first_step():
    bench = Bench(max_slots=1)
    first = bench.open("first", "one")
    bench.clock.advance_ms(30)
    second = bench.open("second", "hel", end=False)
    bench.clock.advance_ms(500)
    bench.loop.post(second, lambda: second.source.push("lo "))
    bench.clock.advance_ms(70)
    bench.step()
    bench.abort(first)
    bench.clock.advance_ms(40)
    bench.step()
    assert first.stream.timing.queue_ms() == pytest.approx(600), "30 + 500 + 70: nothing ran before"
    assert second.stream.timing.queue_ms() == pytest.approx(110), "half a word is not yet to be spoken"
    bench.abort(second)
    never = bench.open("never", "hel", end=False)
    bench.abort(never)
    bench.run_dry()
    assert never.stream.timing.queue_ms() is None


def test_a_failing_step_fails_its_own_requests_and_no_others():
    bench = Bench(ToneRunner(fail_on=lambda row: row.request_id == "bad" and row.position == 2))
    good = bench.open("good", "hello there")
    bench.step(2)
    good.paused = True
    bad = bench.open("bad", "hello there")
    bench.run_dry()
    good.paused = False
    bench.run_dry()
    assert bad.finish_reason is FinishReason.FAILED
    assert good.finish_reason is FinishReason.COMPLETED
    assert bench.loop.counters.failed == 1


def test_text_that_cannot_be_read_fails_only_its_own_request():
    bench = Bench()
    bad, good = bench.open("bad", "\0"), bench.open("good", "hello")
    bench.run_dry()
    assert bad.finish_reason is FinishReason.FAILED
    assert good.finish_reason is FinishReason.COMPLETED


async def test_a_failure_reaches_the_consumer_with_its_cause_and_without_the_text():
    bench = Bench(ToneRunner(fail_on=lambda row: True))
    request = bench.open("bad", "secret words")
    bench.run_dry()
    with pytest.raises(GenerationError) as caught:
        await request.stream.next_chunk()
    assert isinstance(caught.value.original, RuntimeError)
    assert "secret" not in str(caught.value)


def test_without_pages_the_youngest_gives_way_and_says_why():
    bench = Bench(num_pages=2, page_size=16, max_slots=4)
    first, second = bench.open("first", "w " * 10), bench.open("second", "w " * 10)
    bench.run_dry()
    reasons = {first.finish_reason, second.finish_reason}
    assert FinishReason.FAILED in reasons


def test_a_window_gives_old_pages_back_while_the_request_runs():
    bench = Bench(ToneRunner(window=32), num_pages=4, page_size=16)
    request = bench.open("long", "w " * 100)
    bench.run_dry()
    assert request.finish_reason is FinishReason.COMPLETED
    assert request.num_frames == 400


def test_a_cached_voice_prefills_only_what_is_new():
    voice = tuple(("voice", index) for index in range(64))
    runner = ToneRunner(prompts={"default": (*voice, ("text", 1), ("text", 2))})
    bench = Bench(runner)
    bench.open("first", "hello")
    bench.run_dry()
    second = bench.open("second", "hello")
    bench.run_dry()
    assert second.cached_tokens == 64
    assert runner.prefilled["first"] - runner.prefilled["second"] == 64


def test_a_thousand_random_moves_leave_the_books_balanced_and_the_others_untouched():
    generator = random.Random(11)
    prompts = {"default": tuple(range(40)), "other": tuple(range(20, 60))}
    bench = Bench(ToneRunner(prompts=prompts), max_slots=4, num_pages=40)
    open_requests: list[Request] = []
    names = (f"r{index}" for index in range(10_000))
    for _ in range(1000):
        move = generator.choice(["open", "open", "abort", "pause", "resume", "evict", "step", "step", "step"])
        running = [request for request in open_requests if not request.stopped]
        if move == "open" and len(running) < 8:
            text = "word " * generator.randrange(0, 6)
            open_requests.append(bench.open(next(names), text, voice=generator.choice(["default", "other"])))
        elif move == "abort" and running:
            bench.abort(generator.choice(running))
        elif move in ("pause", "resume") and running:
            generator.choice(running).paused = move == "pause"
        elif move == "evict":
            bench.loop.scheduler.cache.evict(generator.randrange(5))
        else:
            bench.step()
        bench.loop.check_invariants()
    for request in open_requests:
        request.paused = False
    bench.run_dry()
    assert bench.retired
    assert len(bench.retired) == len(set(bench.retired)) == len(open_requests)
    assert_codes_as_when_alone(bench, open_requests, prompts)


def assert_codes_as_when_alone(bench: Bench, requests: list[Request], prompts: dict) -> None:
    for request in requests:
        if request.finish_reason is FinishReason.COMPLETED and request.num_frames:
            alone = Bench(ToneRunner(prompts=prompts))
            alone.open(request.id, request.source.text, voice=request.voice)
            alone.run_dry()
            assert bench.runner.codes[request.id] == alone.runner.codes[request.id]


async def test_when_our_own_books_break_callers_are_told_and_nobody_waits_for_ever(monkeypatch):
    """An IndexError in retire() once killed the engine's thread, and its callers hung."""
    bench = Bench()
    first, second = bench.open("first", "hello there"), bench.open("second", "hello there")
    bench.step()

    def broken(request: Request) -> None:
        raise IndexError("a bug of ours")

    monkeypatch.setattr(bench.loop.scheduler, "retire", broken)
    with pytest.raises(IndexError):
        bench.loop.close()
    for request in (first, second):
        assert [await request.stream.next_chunk() for _ in range(2)], "what had been computed is still heard"
        with pytest.raises(EngineClosedError):
            await request.stream.next_chunk()
    assert sorted(bench.retired) == ["first", "second"]


def test_what_is_handed_over_while_the_engine_closes_is_refused_or_given_back():
    """Callers that open while the thread ends: each is told, or gets its release; nobody waits for ever."""
    for _ in range(20):
        bench, taken = Bench(), []
        bench.loop.start()

        def keep_opening(who: str, bench: Bench = bench, taken: list[str] = taken) -> None:
            with contextlib.suppress(EngineClosedError):
                for number in range(1000):
                    name = f"{who}-{number}"
                    bench.loop.submit(bench.request(name), lambda name=name: bench.retired.append(name))
                    taken.append(name)

        callers = [threading.Thread(target=keep_opening, args=(who,)) for who in ("one", "two")]
        for caller in callers:
            caller.start()
        bench.loop.close()
        for caller in callers:
            caller.join()
        assert sorted(bench.retired) == sorted(taken)
