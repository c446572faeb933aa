"""Prefix reuse with known prompts: what a second use of a voice saves is what the cache can hold of it."""

import itertools

from agent_tts import Engine, EngineConfig
from evals.metrics.prefix import summarise, zipf_turns
from evals.prefix import run_turns
from tests.fakes import ToneRunner


def test_popular_voices_come_more_often_and_only_the_first_use_is_cold():
    turns = zipf_turns(["a", "b", "c", "d"], conversations=400, turns=2, exponent=1.0, seed=1)
    assert len(turns) == 800
    counts = [sum(turn.voice == voice for turn in turns) for voice in "abcd"]
    assert counts == sorted(counts, reverse=True)
    assert sum(turn.use == 0 for turn in turns) == 4
    for voice, of_voice in itertools.groupby(sorted(turns, key=lambda turn: (turn.voice, turn.use)), lambda t: t.voice):
        assert [turn.use for turn in of_voice] == list(range(counts["abcd".index(voice)]))


async def test_a_voice_is_prefilled_once_and_then_taken_from_the_cache():
    prompts = {voice: tuple((voice, index) for index in range(64)) for voice in ("default", "other")}
    engine = Engine.from_runner(ToneRunner(prompts=prompts), EngineConfig(num_pages=64))
    turns = zipf_turns(["default", "other"], conversations=4, turns=2, exponent=0.0, seed=2)
    found = summarise(await run_turns(engine, turns, seed=1))
    await engine.close()
    assert found["cold"].hit_rate == 0
    # Each text is the same prompt here; the last position is always computed: 63 of 64.
    assert found["warm"].cached_tokens == 63 * found["warm"].n
    assert found["all"].n == 8
