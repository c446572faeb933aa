"""The static step, as a GPU runs it, on the tiny checkpoint: what the reference says, alone and among others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from agent_tts.models import presets
from agent_tts.runtime import prompt_text, static_step
from agent_tts.text import clauses
from tests.parity import fixtures, test_prompt_engine

folder, make, short_clauses = test_prompt_engine.folder, test_prompt_engine.make, test_prompt_engine.short_clauses


@pytest.fixture(autouse=True)
def _short_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_step, "FIRST_CONTEXT", 128)


def test_the_static_step_speaks_what_the_reference_speaks(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clauses, "_LEAST", (test_prompt_engine.WHOLE_TEXT,))
    bench, data = make(step="static"), fixtures.arrays("s2_tiny")
    cloned = bench.open("cloned", test_prompt_engine.text_of("clone"), voice="clone")
    bench.step(3)
    bench.open("plain", test_prompt_engine.text_of("plain"))
    bench.step(60)
    bench.abort(cloned)
    for name, expected in (("cloned", data["clone_greedy"]), ("plain", data["plain_greedy"])):
        spoken = bench.runner.columns(name)[:, : expected.shape[1]]
        np.testing.assert_array_equal(spoken, expected[:, : spoken.shape[1]])
        assert spoken.shape[1] >= 20
    assert bench.runner.static.crossing.downs >= 60


def test_a_whole_conversation_is_the_same_in_both_steps(make, short_clauses, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = dataclasses.replace(presets._PRESETS["fish_qwen3_omni", "default"])
    monkeypatch.setattr(presets, "preset", lambda layout: sampled)
    monkeypatch.setattr(prompt_text, "MAX_PREFILL", 96)
    monkeypatch.setattr(static_step, "MAX_PREFILL", 96)
    said = []
    for step in ("dynamic", "static"):
        bench = make(step=step)
        bench.open("one", "Hello there, friend. How are you today, my dear old friend of mine?", voice="clone")
        bench.step(4)
        two = bench.open("two", "This is something else that is being said all the while. " * 3)
        bench.step(5)
        bench.open("three", "And one more.", voice="clone")
        bench.step(3)
        bench.abort(two)
        bench.open("four", "The last one.", voice="clone")
        bench.run_dry()
        said.append({name: (bench.runner.columns(name), bench.runner.audio(name)) for name in bench.runner.results})
    for name, (columns, audio) in said[0].items():
        np.testing.assert_array_equal(said[1][name][0], columns)
        np.testing.assert_allclose(said[1][name][1], audio, atol=fixtures.AUDIO_ATOL)
