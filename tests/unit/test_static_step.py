"""The static step says what the dynamic one says, crosses to the device once each way, and never moves or looks."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_config import RELEASED
from agent_tts.config import EngineConfig
from agent_tts.errors import ConfigError
from agent_tts.models.dual_ar import DualAR
from agent_tts.nn.graphs import PlainCalls
from agent_tts.runtime import static_step
from agent_tts.runtime.prompt_parts import PromptParts
from agent_tts.runtime.prompt_runner import PromptRunner
from agent_tts.runtime.static_step import StaticStep, buckets, contexts
from agent_tts.types import SamplingParams
from evals.gpu.drive import STEADY, Drive, Speaker
from evals.gpu.model import S2_PRO, SENTENCE, TINY, build, fill
from tests.fake_gpu import CUDA, FakeCrossing, fake_gpu

PAGE, PAGES_EACH, SLOTS = 16, 48, 6


def make(step: str, seed: int = 0, *, layout: str = "fish_qwen3_omni", **config) -> Drive:
    built = build(torch.device("cpu"), torch.float32, tiny=True, seed=seed)
    if layout == "dual_ar":
        other = replace(
            TINY,
            layout=layout,
            norm_fast_input=False,
            tie_word_embeddings=False,
            fast_legal_codes=TINY.codebook_size // 2,
        )
        built = replace(built, model=fill(DualAR(other)))
    engine = EngineConfig(max_slots=SLOTS, num_pages=PAGES_EACH * SLOTS, page_size=PAGE, step=step, **config)
    runner = PromptRunner(built.model, built.codec, built.layout, engine, {"a": built.voice(2.0)}, name="tiny")
    return Drive(runner, PAGE, PAGES_EACH, STEADY)


@pytest.fixture(autouse=True)
def _short_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several bounds of the context within a few steps."""
    monkeypatch.setattr(static_step, "FIRST_CONTEXT", 64)


def prompt(drive: Drive, words: int, voice_s: float = 1.0) -> list[tuple[int, ...]]:
    layout = drive.runner._layout
    reference = build(torch.device("cpu"), torch.float32, tiny=True).voice(voice_s)
    return layout.voice([reference]) + layout.ask(" ".join(SENTENCE.split()[:words]))


def scene(drive: Drive, seed: int) -> list[Speaker]:
    """Speakers come, go and are left waiting at random; the same moves for the same seed."""
    pick, everyone, running = random.Random(seed), [], {}
    for _ in range(30):
        free = [slot for slot in range(SLOTS) if slot not in running]
        if free and pick.random() < 0.3:
            speaker = drive.open(pick.choice(free), prompt(drive, pick.randint(1, 19), pick.choice([0.5, 3.0])))
            running[speaker.slot] = speaker
            everyone.append(speaker)
        elif len(running) > 1 and pick.random() < 0.15:
            gone = running.pop(pick.choice(list(running)))
            drive.runner.close_slot(gone.slot)
        going = [speaker for speaker in running.values() if pick.random() < 0.85]
        if going:
            drive.step(going)
    return everyone


@pytest.mark.parametrize("layout", ["fish_qwen3_omni", "dual_ar"])
def test_it_says_what_the_dynamic_step_says_while_speakers_come_and_go(layout: str) -> None:
    expected, found = (scene(make(step, layout=layout), len(layout)) for step in ("dynamic", "static"))
    assert sum(len(speaker.frames) for speaker in expected) > 40
    for one, other in zip(expected, found, strict=True):
        assert other.frames == one.frames
        for result, same in zip(one.results, other.results, strict=True):
            assert result.segment_done == same.segment_done
            np.testing.assert_allclose(same.pcm, result.pcm, atol=1e-5)


def test_a_prompt_longer_than_a_step_is_read_in_parts() -> None:
    spoken = []
    for step in ("dynamic", "static"):
        drive = make(step)
        speaker = drive.open(0, prompt(drive, 19, 22.0))
        steps = 0
        while len(speaker.frames) < 4:
            drive.step([speaker])
            steps += 1
        assert steps == 5, "more than 512 columns are two steps, the second one speaks"
        spoken.append(speaker.frames)
    assert spoken[0] == spoken[1]


def test_each_step_is_one_copy_up_one_down_and_one_wait() -> None:
    drive = make("static")
    crossing = drive.runner.static.crossing
    speakers = [drive.open(slot, prompt(drive, 3 + slot)) for slot in range(3)]
    for number in range(8):
        if number == 4:
            speakers.append(drive.open(3, prompt(drive, 5)))
        if number == 6:
            drive.runner.close_slot(speakers.pop(0).slot)
        before = (crossing.ups, crossing.downs, crossing.waits)
        drive.step(speakers)
        after = (crossing.ups, crossing.downs, crossing.waits)
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


def test_a_step_that_only_reads_copies_nothing_back_and_still_waits() -> None:
    drive = make("static")
    crossing = drive.runner.static.crossing
    before = (crossing.ups, crossing.downs, crossing.waits)
    drive.step([drive.open(0, prompt(drive, 19, 22.0))])
    assert (crossing.ups, crossing.downs, crossing.waits) == (before[0] + 1, before[1], before[2] + 1)


def test_addresses_and_shapes_stay_from_step_to_step() -> None:
    drive = make("static")

    def places() -> dict[tuple[int, str], tuple[int, tuple[int, ...]]]:
        found = {
            (rows, name): (tensor.data_ptr(), tuple(tensor.shape))
            for rows, buffers in drive.runner.static.buffers.items()
            for name, tensor in buffers.tensors().items()
        }
        parts = drive.runner.parts
        state = parts.sampler.state
        kept = {"k": parts.pool.k, "v": parts.pool.v, "count": state.count, "window": state.window}
        return found | {(0, name): (tensor.data_ptr(), tuple(tensor.shape)) for name, tensor in kept.items()}

    first = places()
    scene(drive, 1)
    assert places() == first
    assert len(first) > 4 * len(drive.runner.static.buffers)


class Watch(TorchDispatchMode):
    """Refuses to look at a value, to make a tensor of host data, and shapes that depend on values."""

    BANNED = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "lift_fresh", "_pin_memory")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").partition(".")[0]
        assert not any(name == banned or name.startswith(f"{banned}_") for banned in self.BANNED), name
        if name == "_to_copy":
            assert (kwargs or {}).get("device") in (None, torch.device("cpu"))
        out = func(*args, **(kwargs or {}))
        self.seen.append((name, tuple(tuple(arg.shape) for arg in args if isinstance(arg, torch.Tensor))))
        return out


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 3])
def test_decode_looks_at_no_value_and_repeats_its_operations_shape_by_shape(rows: int) -> None:
    drive = make("static")
    speakers = [drive.open(slot, prompt(drive, 3)) for slot in range(rows)]
    for _ in range(3):
        drive.step(speakers)
    traces = []
    for _ in range(2):
        plan = drive.plan(speakers)
        with Watch() as watch:
            drive.runner.run(plan)
        traces.append(watch.seen)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 100


def test_sampling_without_a_limit_takes_the_dynamic_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = make("static")
    downs = drive.runner.static.crossing.downs
    speaker = drive.open(0, prompt(drive, 3))
    plan = drive.plan([speaker])
    row = plan.rows[0]
    object.__setattr__(row, "sampling", SamplingParams(top_k=100))
    (result,) = drive.runner.run(plan).rows
    assert result.codes
    assert drive.runner.static.crossing.downs == downs


def test_batch_sizes_and_bounds_cover_all_slots_and_the_longest_context() -> None:
    assert buckets(1) == (1,)
    assert buckets(6) == (1, 2, 4, 8)
    assert buckets(64) == (1, 2, 4, 8, 16, 32, 64)
    assert buckets(100)[-2:] == (64, 100)
    assert contexts(300) == (64, 128, 256, 304)
    assert contexts(40) == (48,)


def test_graphs_without_a_gpu_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        make("graphs")


class OnDevice(TorchDispatchMode):
    """Every operation's results lie on the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, list | tuple) else [out]
        assert all(item.device == CUDA for item in made if isinstance(item, torch.Tensor)), func.name()
        return out


@pytest.mark.skipif(torch.version.cuda is None, reason="this build of PyTorch does not know the device cuda")
def test_s2_pro_in_bfloat16_decodes_on_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shapes, dtypes and devices of the released sizes fit, and nothing needs a value or the host."""
    monkeypatch.setattr(static_step, "Crossing", FakeCrossing)
    monkeypatch.setattr(static_step, "BUCKETS", (4,))
    monkeypatch.setattr(static_step, "FIRST_CONTEXT", 512)
    with fake_gpu(), torch.inference_mode():
        with CUDA:
            torch.set_default_dtype(torch.bfloat16)
            try:
                model = DualAR(S2_PRO).eval()
            finally:
                torch.set_default_dtype(torch.float32)
            codec = DacCodec(RELEASED, with_encoder=False).eval()
        parts = PromptParts(model, codec, EngineConfig(max_slots=4, num_pages=64, page_size=16), 4)
        step = StaticStep(parts, 4, 512, PlainCalls())
        with OnDevice():
            step.prepare()
        assert step.buffers[4].tensors()["results"].shape == (4, 11 + 2048)
