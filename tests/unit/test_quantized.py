"""One-byte weights: how far the logits move, who is refused, and the kernel's arithmetic in Triton's interpreter."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch

from agent_tts.config import EngineConfig
from agent_tts.errors import ConfigError
from agent_tts.models import quantized
from agent_tts.models.fast_ar import FastDecoder
from agent_tts.models.quantized import pack, product, product_added
from agent_tts.runtime.prompt_runner import PromptRunner
from evals.gpu.kernels import _logits
from evals.gpu.model import build

ROWS = 48


@pytest.mark.parametrize(("weights", "bound"), [("int8", 1 / 127 / 2), ("fp8", 1 / 16)])
def test_a_packed_weight_is_off_by_at_most_half_a_step(weights: str, bound: float) -> None:
    weight = torch.randn(40, 96, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 40).unsqueeze(1)
    packed = pack(weight, weights)
    assert packed.values.element_size() == 1
    widened = packed.values.float() * packed.scales.t()
    largest = weight.abs().amax(dim=1, keepdim=True)
    assert ((widened - weight).abs() <= 1.001 * bound * largest).all(), "each output channel has a scale of its own"


def test_products_take_either_kind_of_weight() -> None:
    x, weight, residual = torch.randn(3, 32), torch.randn(16, 32), torch.randn(3, 16)
    packed = pack(weight, "int8")
    exact = x @ (packed.values.float() * packed.scales.t()).t()
    torch.testing.assert_close(product(x, packed), exact)
    torch.testing.assert_close(product_added(residual, x, packed), residual + exact)
    torch.testing.assert_close(product_added(residual, x, weight.t()), residual + x @ weight.t())


@torch.inference_mode()
def test_int8_moves_the_fast_ars_logits_by_a_hundredth_and_seldom_changes_the_best() -> None:
    built = build(torch.device("cpu"), torch.float32, tiny=True)
    config = built.model.config
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(ROWS, config.slow.dim, generator=generator)
    codes = torch.randint(config.codebook_size, (ROWS, config.num_codebooks), generator=generator)
    full, small = (
        _logits(FastDecoder(copy.deepcopy(built.model.fast), ROWS, weights), hidden, codes)
        for weights in ("full", "int8")
    )
    assert (small - full).norm() / full.norm() < 0.02
    assert (small.argmax(-1) == full.argmax(-1)).float().mean() > 0.95
    assert not small.equal(full)


def test_an_engine_speaks_with_int8_and_gives_up_the_full_weights() -> None:
    built = build(torch.device("cpu"), torch.float32, tiny=True)
    config = EngineConfig(max_slots=1, num_pages=64, fast_weights="int8")
    PromptRunner(built.model, built.codec, built.layout, config, {}, name="tiny")
    (block, *_) = built.model.fast.transformer.layers
    assert block.feed_forward.w1.weight.device.type == block.attention.wqkv.weight.device.type == "meta"


def test_fp8_is_refused_where_the_device_lacks_it_before_a_weight_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(torch.device("cpu"), torch.float32, tiny=True)
    config = EngineConfig(max_slots=1, num_pages=64, fast_weights="fp8")
    with pytest.raises(ConfigError, match=r"needs a GPU of compute capability 8\.9; cpu has no GPU"):
        PromptRunner(built.model, built.codec, built.layout, config, {}, name="tiny")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ConfigError, match=r"has compute capability 8\.0"):
        quantized.require("fp8", torch.device("cuda:0"))


@pytest.mark.parametrize(("name", "value"), [("fast_weights", "int4"), ("step", "graph")])
def test_an_unknown_choice_names_the_allowed_ones(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is '{value}'; allowed: "):
        EngineConfig(**{name: value})


INTERPRETED = """
import torch
from agent_tts.nn.one_byte_product import product
generator = torch.Generator().manual_seed(0)
for rows, num_out, num_in in ((1, 48, 80), (3, 40, 300), (70, 64, 512)):
    x, residual = (torch.randn(rows, size, generator=generator) for size in (num_in, num_out))
    scales = torch.rand(1, num_out, generator=generator)
    numbers = torch.randn(num_out, num_in, generator=generator)
    for values in ((40 * numbers).round().clamp(-127, 127).to(torch.int8), numbers.to(torch.float8_e4m3fn)):
        expected = x @ values.float().t() * scales
        torch.testing.assert_close(product(x, values, scales), expected, atol=1e-2, rtol=1e-5)
        torch.testing.assert_close(product(x, values, scales, residual), expected + residual, atol=1e-2, rtol=1e-5)
"""


def test_the_gpus_kernel_computes_the_same_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
