"""Pinned voices: their pages come in with the first use and stay, and the books balance all the while."""

from __future__ import annotations

import random

from agent_tts.cache.pages import PageAllocator
from agent_tts.cache.pins import Pins
from agent_tts.cache.radix import PrefixCache
from agent_tts.types import FinishReason
from tests.bench import Bench
from tests.fakes import ToneRunner

SIZE = 16


def voice(name: str, length: int) -> tuple[object, ...]:
    return tuple((name, index) for index in range(length))


def bench_with(voices: dict[str, tuple[object, ...]], **config: object) -> Bench:
    """Each voice is followed by its own two text positions."""
    prompts = {name: (*keys, ("text", 1), ("text", 2)) for name, keys in voices.items()}
    runner = ToneRunner(voices=tuple(voices), prompts=prompts, voice_prefixes=voices)
    bench = Bench(runner, **config)
    for name in voices:
        bench.loop.scheduler.pins.want(name, runner.voice_keys(name))
    return bench


def test_a_voice_is_pinned_on_first_use_and_survives_every_eviction():
    bench = bench_with({"default": voice("a", 64)})
    scheduler = bench.loop.scheduler
    assert scheduler.books().pinned_pages == 0, "nothing is computed before it is used"
    bench.open("first", "hello")
    bench.run_dry()
    assert scheduler.books().pinned_pages == 4
    scheduler.cache.evict(1000)
    bench.loop.check_invariants()
    assert scheduler.books().cached_pages == 4
    second = bench.open("second", "hello")
    bench.run_dry()
    assert second.cached_tokens == 64


def test_the_end_of_a_voice_stays_in_the_page_that_went_on_behind_it():
    bench = bench_with({"default": voice("a", 3 * SIZE + 5)})
    bench.open("first", "one two three four five six seven")
    bench.run_dry()
    scheduler = bench.loop.scheduler
    assert scheduler.pins.num_tokens("default") == 3 * SIZE + 5
    scheduler.cache.evict(1000)
    bench.loop.check_invariants()
    assert scheduler.books().cached_pages == 4
    assert scheduler.books().pinned_pages == 4
    second = bench.open("second", "hello")
    bench.step()
    assert (second.cached_tokens, second.prompt_tokens) == (3 * SIZE + 6, 3 * SIZE + 7), "all but the last position"


def test_what_is_copied_counts_as_cached_and_is_not_computed_again():
    bench = bench_with({"default": voice("a", 3 * SIZE + 5), "other": voice("a", 3 * SIZE + 2)})
    bench.open("first", "one two three four five six seven")
    bench.run_dry()
    second = bench.open("second", "hello", voice="other")
    plan = bench.loop.begin_step()
    (row,) = plan.rows
    assert row.copy is not None
    assert row.copy.num_positions == 2, "where the voices part"
    assert row.copy.target == row.pages[3]
    assert row.copy.source not in row.pages
    assert row.position == row.num_past == 3 * SIZE + 2
    assert row.work.num_positions == 2
    bench.loop.check_invariants()
    bench.loop.scheduler.cache.evict(1000)
    assert row.copy.source in bench.loop.scheduler.cache.pages(), "not evicted before it was copied"
    bench.loop.finish_step(plan, bench.loop.run(plan))
    bench.loop.check_invariants()
    assert (second.prompt_tokens, second.cached_tokens) == (3 * SIZE + 4, 3 * SIZE + 2)
    assert bench.runner.prefilled["second"] == 2


def test_a_pool_too_small_for_source_and_copy_computes_the_rest_instead():
    prompts = {"default": voice("a", SIZE + 8), "other": (*voice("a", SIZE + 4), *voice("b", 4))}
    bench = Bench(ToneRunner(prompts=prompts, frames_per_word=8), num_pages=2)
    bench.open("first", "hello")
    bench.run_dry()
    second = bench.open("second", "hello", voice="other")
    bench.run_dry()
    assert second.finish_reason is FinishReason.COMPLETED
    assert (second.prompt_tokens, second.cached_tokens) == (SIZE + 8, SIZE)
    assert bench.runner.prefilled["second"] == 8 + 7


def test_an_abort_during_the_prefill_pins_what_was_computed_and_the_rest_later():
    bench = bench_with({"default": voice("a", 64)})
    first = bench.open("first", "hello")
    plan = bench.loop.begin_step()
    bench.abort(first)
    bench.loop.finish_step(plan, bench.loop.run(plan))
    bench.loop.check_invariants()
    second = bench.open("second", "hello")
    bench.run_dry()
    bench.loop.check_invariants()
    assert bench.loop.scheduler.pins.num_tokens("default") == 64
    assert second.cached_tokens in (0, 64)


def test_a_pin_grows_with_what_enters_the_tree():
    pages = PageAllocator(8)
    cache = PrefixCache(pages, SIZE)
    pins = Pins(cache, max_pages=8)
    keys = voice("a", 4 * SIZE)
    pins.want("a", keys)
    held = pages.allocate(4)
    assert held is not None
    for filled in (1, 2, 4):
        cache.insert(keys[: filled * SIZE], held[:filled])
        pins.settle("a")
        pins.check_invariants()
        assert pins.num_tokens("a") == filled * SIZE
    pages.release(held)
    assert cache.evict(8) == 0
    pins.drop("a")
    assert pins.num_pages == 0
    assert cache.evict(8) == 4
    cache.check_invariants()


def test_voices_that_begin_alike_share_their_pinned_pages():
    common = voice("common", 2 * SIZE)
    bench = bench_with({"default": (*common, *voice("a", SIZE)), "other": (*common, *voice("b", SIZE))})
    bench.open("one", "hello")
    bench.open("two", "hello", voice="other")
    bench.run_dry()
    assert bench.loop.scheduler.books().pinned_pages == 4, "two shared, one of each"
    bench.loop.scheduler.pins.drop("default")
    bench.loop.scheduler.cache.evict(1000)
    bench.loop.check_invariants()
    assert bench.loop.scheduler.books().pinned_pages == 3


def test_pins_leave_half_of_the_pool_to_those_who_speak():
    voices = {name: voice(name, 2 * SIZE) for name in ("default", "b", "c")}
    bench = bench_with(voices, num_pages=8)
    for name in voices:
        bench.open(f"by-{name}", "hello", voice=name)
        bench.run_dry()
    scheduler = bench.loop.scheduler
    assert scheduler.books().pinned_pages == 4
    assert scheduler.pins.num_tokens("c") == 0, "the third is over the limit: cached, not pinned"
    again = bench.open("again", "hello", voice="c")
    bench.run_dry()
    assert again.num_frames == 4


def test_five_hundred_random_moves_never_evict_a_pin():
    generator = random.Random(5)
    voices = {name: voice(name, 3 * SIZE + extra) for name, extra in (("default", 0), ("b", 7), ("c", 15))}
    bench = bench_with(voices, num_pages=40, max_slots=4)
    pins = bench.loop.scheduler.pins
    seen: dict[str, int] = {}
    running = []
    for number in range(500):
        move = generator.choice(["open", "abort", "evict", "step", "step", "step"])
        running = [request for request in running if not request.stopped]
        if move == "open" and len(running) < 4:
            text = "word " * generator.randrange(1, 4)
            running.append(bench.open(f"r{number}", text, voice=generator.choice(list(voices))))
        elif move == "abort" and running:
            bench.abort(generator.choice(running))
        elif move == "evict":
            bench.loop.scheduler.cache.evict(generator.randrange(40))
        else:
            bench.step()
        bench.loop.check_invariants()
        for name in voices:
            assert pins.num_tokens(name) >= seen.get(name, 0)
            seen[name] = pins.num_tokens(name)
    assert seen == {name: len(keys) for name, keys in voices.items()}
