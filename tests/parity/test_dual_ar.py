"""Slow AR, Fast AR and sampling equal the reference: alone, split at any place, and in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent_tts.models.fast_ar import FastDecoder
from tests.parity import fixtures
from tests.parity.driver import Driver

NAMES = ["s2_tiny", "s1_tiny"]
PROMPTS = ["plain", "clone", "multi"]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> tuple[Driver, dict[str, np.ndarray]]:
    return Driver(request.param), fixtures.arrays(request.param)


@pytest.fixture(scope="module")
def s2() -> tuple[Driver, dict[str, np.ndarray]]:
    return Driver("s2_tiny"), fixtures.arrays("s2_tiny")


@pytest.fixture(scope="module")
def s1() -> tuple[Driver, dict[str, np.ndarray]]:
    return Driver("s1_tiny"), fixtures.arrays("s1_tiny")


@torch.inference_mode()
@pytest.mark.parametrize("prompt", PROMPTS)
def test_logits_at_the_end_of_a_prompt(case: tuple[Driver, dict], prompt: str) -> None:
    driver, data = case
    if f"{prompt}_slow_logits_last" not in data:
        pytest.skip(f"the fixture has no logits for {prompt}")
    x = driver.feed([driver.open(0, data[f"prompt_{prompt}"], 1)], [data[f"prompt_{prompt}"]])
    fixtures.close(driver.model.slow.logits(x)[0, -1], data[f"{prompt}_slow_logits_last"], fixtures.LOGITS_ATOL)


@torch.inference_mode()
def test_logits_and_hidden_at_every_prompt_position(case: tuple[Driver, dict]) -> None:
    driver, data = case
    x = driver.model.slow(torch.from_numpy(data["prompt_clone"])[None])[0]
    fixtures.close(driver.model.slow.hidden(x), data["clone_hidden_all"], fixtures.LOGITS_ATOL)
    (name,) = [name for name in data if name.startswith("clone_slow_logits_every")]
    every = int(name.removeprefix("clone_slow_logits_every"))
    fixtures.close(driver.model.slow.logits(x)[::every], data[name], fixtures.LOGITS_ATOL)


@torch.inference_mode()
@pytest.mark.parametrize("run_of_pages", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.65, 0.99])
def test_a_prompt_split_anywhere_equals_one_pass(case: tuple[Driver, dict], share: float, run_of_pages: bool) -> None:
    driver, data = case
    prompt, cut = data["prompt_clone"], max(1, int(share * data["prompt_clone"].shape[1]))
    greedy = data["clone_greedy"][:, :20]
    run = driver.open(1, prompt, greedy.shape[1], run_of_pages=run_of_pages)
    driver.feed([run], [prompt[:, :cut]])
    x = driver.feed([run], [prompt[:, cut:]])
    fixtures.close(driver.model.slow.hidden(x)[0], data["clone_hidden_all"][cut:], fixtures.LOGITS_ATOL)
    driver.sample({1: run}, x[:, -1])
    np.testing.assert_array_equal(driver.generate(run, 1), greedy)


@torch.inference_mode()
def test_hidden_and_logits_after_each_step(case: tuple[Driver, dict]) -> None:
    driver, data = case
    run = driver.open(0, data["prompt_clone"], 1)
    x, greedy = driver.feed([run], [data["prompt_clone"]]), data["clone_greedy"]
    for index, expected in enumerate(data["clone_hidden_steps"]):
        if index:
            x = driver.feed([run], [greedy[:, index - 1 : index]])
            if index <= len(data["clone_slow_logits_steps"]):
                logits = driver.model.slow.logits(x)[0, -1]
                fixtures.close(logits, data["clone_slow_logits_steps"][index - 1], fixtures.LOGITS_ATOL)
        fixtures.close(driver.model.slow.hidden(x)[0, -1], expected, fixtures.LOGITS_ATOL)


def legal(driver: Driver, logits: np.ndarray) -> np.ndarray:
    return logits[:, : driver.config.fast_legal_codes]


def decoded_logits(driver: Driver, hidden: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """[codebooks - 1, candidates]: what the FastDecoder offers at each position when it is told the codes."""
    seen: list[torch.Tensor] = []

    def choose(position: int, logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits[0])
        return codes[position : position + 1]

    FastDecoder(driver.model.fast, 2).codes(hidden, codes[:1], choose)
    return torch.stack(seen)


@torch.inference_mode()
@pytest.mark.parametrize("prompt", PROMPTS)
def test_fast_logits_of_given_codes(case: tuple[Driver, dict], prompt: str) -> None:
    driver, data = case
    if f"{prompt}_fast_logits" not in data:
        pytest.skip(f"the fixture has no Fast AR logits for {prompt}")
    run, greedy = driver.open(0, data[f"prompt_{prompt}"], 1), data[f"{prompt}_greedy"]
    x = driver.feed([run], [data[f"prompt_{prompt}"]])
    for frame, expected in enumerate(data[f"{prompt}_fast_logits"]):
        hidden, codes = driver.model.slow.hidden(x)[:, -1], torch.from_numpy(greedy[1:, frame])
        fixtures.close(driver.model.fast(hidden, codes[None, :-1])[0], expected, fixtures.LOGITS_ATOL)
        fixtures.close(decoded_logits(driver, hidden, codes), legal(driver, expected)[1:], fixtures.LOGITS_ATOL)
        x = driver.feed([run], [greedy[:, frame : frame + 1]])


@pytest.mark.parametrize("run_of_pages", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_frames(case: tuple[Driver, dict], prompt: str, run_of_pages: bool) -> None:
    driver, data = case
    expected = data[f"{prompt}_greedy"]
    run = driver.open(0, data[f"prompt_{prompt}"], expected.shape[1], run_of_pages=run_of_pages)
    np.testing.assert_array_equal(driver.generate(run), expected)


@torch.inference_mode()
def test_hidden_far_into_a_long_run(s2: tuple[Driver, dict]) -> None:
    driver, data = s2
    run, greedy = driver.open(0, data["prompt_clone"], 1), data["clone_greedy"]
    (name,) = [name for name in data if name.startswith("clone_long_hidden_every")]
    every = int(name.removeprefix("clone_long_hidden_every"))
    driver.feed([run], [data["prompt_clone"]])
    for index, expected in enumerate(data[name]):
        x = driver.feed([run], [greedy[:, index * every : (index + 1) * every]])
        fixtures.close(driver.model.slow.hidden(x)[0, -1], expected, fixtures.LOGITS_ATOL)


def test_the_sliced_head_gives_the_logits_of_the_whole_one(s2: tuple[Driver, dict]) -> None:
    from agent_tts.models.slow_ar import SlowHead

    driver, _ = s2
    head, x = SlowHead(driver.model.slow), torch.randn(5, driver.config.slow.dim)
    torch.testing.assert_close(head.logits(x), driver.model.slow.logits(x)[:, head.token_ids], atol=1e-5, rtol=1e-5)
    assert len(head.token_ids) == driver.config.codebook_size + 1


def test_a_batch_of_different_lengths_with_late_join_and_leave(case: tuple[Driver, dict]) -> None:
    driver, data = case
    runs = {}
    joins = {0: "multi", 3: "plain", 9: "clone"}
    for step in range(1000):
        if step in joins:
            name = joins[step]
            runs[len(runs)] = driver.open(len(runs), data[f"prompt_{name}"], data[f"{name}_greedy"].shape[1])
        if all(run.done(driver.config.im_end_id) for run in runs.values()) and step > max(joins):
            break
        driver.step(runs)
    for run, name in zip(runs.values(), joins.values(), strict=True):
        np.testing.assert_array_equal(run.columns(), data[f"{name}_greedy"])


SAMPLED_S2 = {
    "a": "prompt_clone, temperature 0.7, top_p 0.75, top_k 16",
    "b": "prompt_plain, temperature 1.1, top_p 0.97, top_k 96",
}
SAMPLED_S1 = "prompt_clone, temperature 0.7, top_p 0.6, repetition_penalty 1.5"


def sampled(driver: Driver, data: dict[str, np.ndarray], name: str, slot: int):
    prompt, sampling = fixtures.sampled_run("s2_tiny", f"sample_{name}_tokens", SAMPLED_S2[name])
    noise = (data[f"sample_{name}_u_main"], data[f"sample_{name}_u_res"])
    num_frames = data[f"sample_{name}_tokens"].shape[1]
    return driver.open(slot, data[f"prompt_{prompt}"], num_frames, noise=noise, **sampling)


@pytest.mark.parametrize("name", SAMPLED_S2)
def test_sampled_frames_with_recorded_noise(s2: tuple[Driver, dict], name: str) -> None:
    driver, data = s2
    run = sampled(driver, data, name, 2)
    np.testing.assert_array_equal(driver.generate(run, 2), data[f"sample_{name}_tokens"])


def test_sampled_runs_in_one_batch_keep_their_own_noise(s2: tuple[Driver, dict]) -> None:
    driver, data = s2
    runs = {2: sampled(driver, data, "a", 2), 0: sampled(driver, data, "b", 0)}
    runs[1] = driver.open(1, data["prompt_multi"], data["multi_greedy"].shape[1])
    while not all(run.done(driver.config.im_end_id) for run in runs.values()):
        driver.step(runs)
    np.testing.assert_array_equal(runs[2].columns(), data["sample_a_tokens"])
    np.testing.assert_array_equal(runs[0].columns(), data["sample_b_tokens"])
    np.testing.assert_array_equal(runs[1].columns(), data["multi_greedy"])


def test_s1_sampled_frames_with_recorded_noise(s1: tuple[Driver, dict]) -> None:
    driver, data = s1
    prompt, sampling = fixtures.sampled_run("s1_tiny", "sample_tokens", SAMPLED_S1)
    noise = (data["sample_u_main"], data["sample_u_res"])
    num_frames = data["sample_tokens"].shape[1]
    run = driver.open(1, data[f"prompt_{prompt}"], num_frames, noise=noise, **{"top_k": 0, **sampling})
    np.testing.assert_array_equal(driver.generate(run, 1), data["sample_tokens"])
