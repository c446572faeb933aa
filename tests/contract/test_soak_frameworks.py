"""The soak through each framework's own way of interrupting, in virtual time: books checked after each one.

The engine's own caller is soaked by `python -m evals soak`; here the abort comes from LiveKit's `aclose()` and
Pipecat's InterruptionFrame. `pytest -m slow tests/contract/test_soak_frameworks.py` does 5,000 of each.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import random

import pytest

from agent_tts import EngineConfig, FinishReason
from evals import virtual_time
from evals.soak.run import count_left
from evals.soak.stepped import stepped_engine
from evals.soak.tiny_models import prompt_runner
from tests.contract.speakers import KINDS, Speaker

CONFIG = EngineConfig(max_slots=3, num_pages=192)
TEXTS = ("One moment. ", "I will look that up for you. ", "The next train leaves at nine. ")


async def interrupt(speaker: Speaker, numbers: random.Random) -> None:
    """One reply, stopped before its first frame, at it, later, or while it is paused."""
    async with speaker.speech() as speech:
        for text in TEXTS[: numbers.randrange(1, 4)]:
            await speech.push(text)
        wanted = numbers.choice((0, 1, 1, numbers.randrange(2, 40)))
        if wanted:
            await speech.end()  # a clause may wait for what follows it
        await asyncio.sleep(
            0.001
        )  # what the LLM wrote has reached the service: behind an interruption it is a new turn
        for _ in range(wanted):
            if await speech.next() is None:
                break
        if wanted and numbers.random() < 0.3:
            speech.pause()
        await speech.stop()
        heard = len(speech.said.frames)
        assert await speech.next() is None, "a frame came after the interruption"
        assert len(speech.said.frames) == heard
        assert speech.said.error is None


async def soak(kind: str, count: int) -> None:
    numbers, voices = random.Random(kind), ("default", "short")
    speaker_of = getattr(importlib.import_module(KINDS[kind].module), KINDS[kind].speaker)
    async with stepped_engine(prompt_runner(CONFIG), CONFIG) as (engine, loop):
        ended = []
        engine.on_metrics(ended.append)
        async with speaker_of.open(engine, voices[0]) as one, speaker_of.open(engine, voices[1]) as two:
            for number in range(count):
                await interrupt(numbers.choice((one, two)), numbers)
                loop.check_invariants()
                while engine.stats().open:  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(0.01)
                assert engine.stats().free_slots == CONFIG.max_slots, f"after interruption {number}"
        assert {metrics.finish_reason for metrics in ended} <= {FinishReason.ABORTED, FinishReason.COMPLETED}
        assert sum(metrics.finish_reason is FinishReason.ABORTED for metrics in ended) > count // 4
        stats = engine.stats()
        assert stats.free_pages + stats.cached_pages == stats.total_pages


@pytest.mark.parametrize("kind", ["LiveKit", "Pipecat"])
@pytest.mark.parametrize("count", [60, pytest.param(5_000, marks=pytest.mark.slow)])
def test_interruptions_through_a_framework_leave_nothing_behind(kind, count):
    pytest.importorskip(KINDS[kind].needs)
    gc.collect()
    before = count_left()
    virtual_time.run(soak(kind, count))
    assert count_left() == before
