"""The aligned path with a real (random) model: what is said depends on text, voice and seed, and on nothing else."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest

from agent_tts.config import EngineConfig
from agent_tts.runtime.aligned_runner import most_pages
from agent_tts.runtime.request import Request
from agent_tts.types import FinishReason
from tests.bench import Bench
from tests.toy import toy_runner

TEXTS = [
    "Hello there, how are you?",
    "Your table for four is booked at half past seven. See you then!",
    "One moment.",
    "I am afraid the last train has left, but there is a bus in twenty minutes.",
]


def make_bench(**config) -> Bench:
    config = {"max_slots": 4, **config}
    return Bench(toy_runner(EngineConfig(**config)), **config)


@pytest.fixture(scope="module")
def alone() -> dict:
    """Each text spoken by itself, whole."""
    records = {}
    for index, text in enumerate(TEXTS):
        bench = make_bench()
        request = bench.open(f"r{index}", text)
        bench.run_dry()
        assert request.finish_reason is FinishReason.COMPLETED
        records[f"r{index}"] = bench.runner.records[f"r{index}"]
    return records


@pytest.mark.parametrize("size", [1, 3, 7])
def test_text_in_any_portions_gives_the_same_codes_as_the_whole_text(alone, size):
    for index, text in enumerate(TEXTS):
        bench = make_bench()
        request = bench.open(f"r{index}", "", end=False)
        for start in range(0, len(text), size):
            bench.loop.post(request, partial(request.source.push, text[start : start + size]))
            bench.step(random.Random(start).randrange(3))
        bench.loop.post(request, request.source.end)
        bench.run_dry()
        assert bench.runner.records[f"r{index}"].codes == alone[f"r{index}"].codes


def test_a_batch_says_what_each_would_say_alone(alone):
    bench = make_bench()
    for index, text in enumerate(TEXTS):
        bench.open(f"r{index}", text)
    bench.run_dry()
    assert max(bench.runner.rows_per_step) == 4
    for name, record in alone.items():
        assert bench.runner.records[name].codes == record.codes
        np.testing.assert_allclose(bench.runner.records[name].audio, record.audio, atol=1e-4)


def test_every_utterance_stops_and_every_frame_is_40_ms(alone):
    for record in alone.values():
        samples = [len(pcm) for pcm in record.pcm]
        assert set(samples[1:-1]) <= {960, 960 + 3840 - 368, 960 + 368}, "a frame, with a pause or a flushed tail"
        assert len(record.codes) < 400


def test_a_window_keeps_the_pages_of_long_text_few():
    bench = make_bench(num_pages=8)
    request = bench.open("long", "and so it went on and on and on and on and on and on " * 4)
    most = 0
    while bench.step():
        most = max(most, len(request.pages))
    assert most == most_pages(48, 16), "as many as Engine.load() asks num_pages to have for each slot"
    assert request.finish_reason is FinishReason.COMPLETED
    assert request.num_frames > 100


def test_a_thousand_random_aborts_pauses_and_evictions_change_nothing_for_the_others(alone):
    generator = random.Random(5)
    bench = make_bench(num_pages=64)
    live: list[Request] = []
    survivors: list[tuple[Request, str]] = []
    opened = 0
    for _ in range(1000):
        move = generator.choice(["open", "open", "abort", "pause", "resume", "evict", "step", "step", "step", "step"])
        running = [request for request in live if not request.stopped]
        if move == "open" and len(running) < 6:
            survivor = opened % 5 == 0 and len(survivors) < 8
            index = len(survivors) % len(TEXTS)
            name = f"r{index}" if survivor and f"r{index}" not in bench.loop._live else f"x{opened}"
            request = bench.open(name, TEXTS[index])
            opened += 1
            if name.startswith("r"):
                bench.runner.records.pop(name, None)
                survivors.append((request, name))
            live.append(request)
        elif move == "abort":
            doomed = [request for request in running if request.id.startswith("x")]
            if doomed:
                bench.abort(generator.choice(doomed))
        elif move in ("pause", "resume") and running:
            generator.choice(running).paused = move == "pause"
        elif move == "evict":
            bench.loop.scheduler.cache.evict(generator.randrange(4))
        else:
            bench.step()
        bench.loop.check_invariants()
    for request in live:
        request.paused = False
        if request.id.startswith("x"):
            bench.abort(request)
    bench.run_dry()
    assert len(bench.retired) == opened
    assert len(survivors) >= 4
    books = bench.loop.scheduler.books()
    assert (books.free_pages, books.free_slots) == (books.total_pages, books.total_slots)
    for name in {name for _, name in survivors}:
        assert bench.runner.records[name].codes == alone[name].codes
        np.testing.assert_allclose(bench.runner.records[name].audio, alone[name].audio, atol=1e-4)
