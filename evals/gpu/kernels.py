"""Sections that decide what to do next: one-byte weights, the codec's dtype, layouts of a product, attention."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from agent_tts.config import WeightFormat
from agent_tts.errors import ConfigError
from agent_tts.models.fast_ar import FastDecoder
from agent_tts.models.quantized import require
from evals.gpu.lab import Lab

ERROR_ROWS = 32
COPIES = 4
"""Of each weight in turn, so that none is still in the cache."""
Figures = dict[str, Any]


def fast_weights(lab: Lab) -> Figures:
    """The Fast AR's nine passes, codes by argmax, with weights as loaded, in int8 and in fp8.

    Milliseconds on the device for each batch size; and against the first, with all codes given, the relative error of
    the logits and the share of equal best codes. Random weights: a trained model's outliers cost more.
    """
    config = lab.built.model.config
    hidden = torch.randn(max(ERROR_ROWS, lab.effort.slots), config.slow.dim, device=lab.device).to(lab.dtype)
    codes = torch.randint(config.codebook_size, (len(hidden), config.num_codebooks), device=lab.device)
    found: Figures = {}
    expected: Tensor | None = None
    formats: tuple[WeightFormat, ...] = ("full", "int8", "fp8")
    for weights in formats:
        try:
            require(weights, lab.device)
            decoder = FastDecoder(copy.deepcopy(lab.built.model.fast), len(hidden), weights)
            logits = _logits(decoder, hidden[:ERROR_ROWS], codes[:ERROR_ROWS])
        except (ConfigError, RuntimeError, NotImplementedError) as error:
            lab.notes.append(f"fast_weights {weights}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        expected = logits if expected is None else expected
        found[weights] = {
            "relative_error": float((logits - expected).norm() / expected.norm()),
            "same_best": float((logits.argmax(-1) == expected.argmax(-1)).float().mean()),
        }
        for rows in lab.effort.batches:
            call = _captured(lab, ("fast", weights, rows), lambda rows=rows, d=decoder: _greedy(d, hidden, codes, rows))
            found[weights][f"rows_{rows}_ms"] = lab.clock.on_device(call, lab.effort.repeats)
    return found


def codec_dtype(lab: Lab) -> Figures:
    """One codec frame for each batch size with the codec's weights and state in float32 (as loaded) and in bfloat16."""
    found: Figures = {}
    on_gpu = lab.device.type == "cuda"
    for dtype in (torch.float32, torch.bfloat16) if on_gpu else (torch.float32,):
        codec = copy.deepcopy(lab.built.codec).to(dtype)
        state = codec.init_state(lab.effort.slots)
        slots = torch.arange(lab.effort.slots, device=lab.device)
        codes = torch.randint(64, (lab.effort.slots, codec.config.num_codebooks, 1), device=lab.device)
        for rows in lab.effort.batches:
            step = partial(codec.step, codes[:rows], state, slots[:rows])
            ms = lab.clock.on_device(_captured(lab, ("codec", dtype, rows), step), lab.effort.repeats)
            found[f"{str(dtype).removeprefix('torch.')}_rows_{rows}_ms"] = ms
    return found


def products(lab: Lab) -> Figures:
    """GB/s of weight that a product reads, for the Slow AR's four shapes, by rows and by how the weight lies."""
    config = lab.built.model.config.slow
    heads = config.num_heads * config.head_dim
    shapes = {
        "wqkv": (config.dim, heads + 2 * config.num_kv_heads * config.head_dim),
        "wo": (heads, config.dim),
        "w13": (config.dim, 2 * config.ffn_dim),
        "w2": (config.ffn_dim, config.dim),
    }
    found: Figures = {}
    for name, (inside, outside) in shapes.items():
        weights = [torch.randn(outside, inside, device=lab.device).to(lab.dtype) for _ in range(COPIES)]
        for layout, views in (("out_in", [w.t() for w in weights]), ("in_out", [w.t().contiguous() for w in weights])):
            for rows in lab.effort.batches:
                x = torch.randn(rows, inside, device=lab.device).to(lab.dtype)
                call = _captured(lab, ("mm", name, layout, rows), lambda x=x, ws=views: [torch.mm(x, w) for w in ws])
                ms = float(lab.clock.on_device(call, lab.effort.repeats)["p50"] or 1)
                size = COPIES * inside * outside * lab.dtype.itemsize
                found[f"{name}_{layout}_rows_{rows}_gb_s"] = size / ms / 1e6
    return found


def attention(lab: Lab) -> Figures:
    """Milliseconds of one attention over gathered KV, one layer, by kernel, rows and context."""
    config = lab.built.model.config.slow
    found: Figures = {}
    for rows in (lab.effort.batches[0], lab.effort.batches[-2]):
        for context in (lab.static.contexts[0], lab.static.contexts[-1]):
            shape = (rows, config.num_kv_heads, context, config.head_dim)
            keys, values = (torch.randn(shape, device=lab.device).to(lab.dtype) for _ in range(2))
            query = keys[:, :, : config.num_heads // config.num_kv_heads].contiguous()
            mask = torch.zeros(rows, 1, 1, context, device=lab.device, dtype=lab.dtype)
            for name, kernel in _kernels(lab):

                def attend(kernel=kernel, q=query, k=keys, v=values, m=mask) -> None:
                    with sdpa_kernel(kernel):
                        F.scaled_dot_product_attention(q, k, v, attn_mask=m)

                try:
                    call = _captured(lab, ("sdpa", name, rows, context), attend)
                except RuntimeError as error:
                    lab.notes.append(f"attention {name}: {str(error).splitlines()[0]}")
                    continue
                found[f"{name}_rows_{rows}_context_{context}_ms"] = lab.clock.on_device(call, lab.effort.repeats)["p50"]
    return found


def _kernels(lab: Lab) -> Iterator[tuple[str, list[SDPBackend]]]:
    """What is chosen when nobody asks, then each by itself."""
    every = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]
    yield "default", [SDPBackend.FLASH_ATTENTION, *every]
    if lab.device.type == "cuda":
        for kernel in every:
            yield kernel.name.lower(), [kernel]


def _captured(lab: Lab, key: tuple[object, ...], function: Callable[[], object]) -> Callable[[], None]:
    """A launch of `function` the way the engine launches its steps."""
    launcher = lab.static.launcher

    @torch.inference_mode()
    def call() -> None:
        function()

    launcher.prepare(key, call)
    return lambda: launcher.launch(key)


def _greedy(decoder: FastDecoder, hidden: Tensor, codes: Tensor, rows: int) -> Tensor:
    return decoder.codes(hidden[:rows], codes[:rows, 0], lambda position, logits: logits.argmax(dim=-1))


@torch.inference_mode()
def _logits(decoder: FastDecoder, hidden: Tensor, codes: Tensor) -> Tensor:
    """[rows, codebooks - 1, candidates] with all codes given."""
    seen: list[Tensor] = []

    def choose(position: int, logits: Tensor) -> Tensor:
        seen.append(logits.float())
        return codes[:, position]

    decoder.codes(hidden, codes[:, 0], choose)
    return torch.stack(seen, dim=1)
