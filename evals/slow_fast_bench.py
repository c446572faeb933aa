"""Milliseconds per frame of the Slow AR and the Fast AR, apart, on a 20.8 M parameter S2-style model, random weights.

Clock: process CPU time. Slow: starts with the last column in hand, stops with the hidden state of the new position
(embedding, all layers, KV written to the page pool). Fast: starts there, stops with all codes of the frame (both heads,
both draws of the main token, all residual codes). Counted out: weights, the prompt, `--warm-up` frames, the codec, and
drawing the noise. fp32, one thread, batch 1, context from `--prompt` on. `plain` runs the same weights through the same
modules as any eager implementation does, in blocks of 20 frames in turn with ours, so that both see the same machine;
each block begins with `--warm-up` frames, so that neither finds the other's weights in the cache.

The reference figure (48 ms: slow 18.9, fast 27.1) was measured on another run of such a machine: compare ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from agent_tts.cache.kv_pool import KVPool
from agent_tts.config import ModelConfig, TransformerConfig
from agent_tts.models.dual_ar import DualAR
from agent_tts.models.frame_sampler import FrameSampler, Noise, RowSampling
from agent_tts.models.slow_ar import SlowDecoder, semantic_code
from agent_tts.nn.threads import use_threads
from evals.metrics.stats import nearest_rank
from evals.outcome import Outcome, finish

REFERENCE_MS = {"slow": 18.9, "fast": 27.1, "frame": 48.6}
GOAL_MS = 16.0
PAGE = 16
RANKS = 30
BLOCK = 20


def config() -> ModelConfig:
    """18 slow and 4 fast layers, 10 codebooks; 20.8 M parameters."""
    slow = TransformerConfig(18, 256, 8, 4, 32, 768, qk_norm=True)
    fast = TransformerConfig(4, 256, 8, 4, 32, 768)
    return ModelConfig(
        layout="fish_qwen3_omni",
        slow=slow,
        fast=fast,
        num_codebooks=10,
        codebook_size=1024,
        sample_rate=44_100,
        frame_samples=2_048,
        vocab_size=1_328,
        semantic_begin_id=304,
        semantic_end_id=1_327,
        im_end_id=3,
    )


class Split(NamedTuple):
    """CPU time of one frame."""

    slow_ms: float
    fast_ms: float


class Subject:
    """One way to run the model: its own pages, its own sampler state."""

    def __init__(self, model: DualAR, context: int) -> None:
        slow = model.config.slow
        self.model = model
        self.pages = list(range(context // PAGE + 1))
        self.pool = KVPool(slow.num_layers, len(self.pages), PAGE, slow.num_kv_heads, slow.head_dim)
        self.length = 0

    def view(self, length: int):
        """A cache for the next `length` positions."""
        view = self.pool.view([self.pages], [self.length], [length])
        self.length += length
        return view


def row_sampling() -> RowSampling:
    one = torch.ones(1)
    return RowSampling(0.8 * one, 0.8 * one, torch.tensor([RANKS]), 0.8 * one, 0.8 * one, one, RANKS)


def ours(subject: Subject) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Noise], Tensor]]:
    """What the engine runs."""
    decoder, sampler = SlowDecoder(subject.model.slow), FrameSampler(subject.model, 1)
    slot, sampling = torch.zeros(1, dtype=torch.long), row_sampling()

    def slow(column: Tensor) -> Tensor:
        position = torch.tensor([subject.length])
        return decoder.step(column, position, subject.view(1))

    return slow, lambda x, noise: sampler.sample(x, slot, sampling, noise)


def plain(subject: Subject) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Noise], Tensor]]:
    """The modules as they stand: one token at a time, whole head, and no draws at all."""
    model, config = subject.model, subject.model.config
    cache = KVPool(config.fast.num_layers, 1, PAGE, config.fast.num_kv_heads, config.fast.head_dim)

    def slow(column: Tensor) -> Tensor:
        position = torch.tensor([[subject.length]])
        return model.slow(column.unsqueeze(-1), position, subject.view(1))[:, -1]

    def fast(x: Tensor, noise: Noise) -> Tensor:
        tokens = model.slow.logits(x).argmax(dim=-1)
        inputs, codes = model.slow.hidden(x), [semantic_code(config, tokens)]
        for position in range(config.num_codebooks):
            view = cache.view([[0]], [position], [1])
            hidden = model.fast.transformer(inputs.unsqueeze(1), torch.tensor([[position]]), view)
            logits = model.fast.output(model.fast.transformer.norm(hidden[:, -1]))
            if position:
                codes.append(logits.argmax(dim=-1))
            inputs = model.fast.embeddings(codes[-1])
        return torch.cat([tokens, *codes]).unsqueeze(0)

    return slow, fast


@torch.inference_mode()
def measure(frames: int, warm_up: int, prompt: int, seed: int) -> tuple[dict[str, list[Split]], int]:
    """CPU time of each frame for both ways, and the number of parameters."""
    torch.manual_seed(seed)
    made = [DualAR(config()).eval(), DualAR(config()).eval()]
    made[1].load_state_dict(made[0].state_dict())
    columns = torch.randint(0, 300, (1, 11, prompt))
    first = torch.cat([torch.tensor([[310]]), torch.randint(0, 1_024, (1, 10))], dim=1)
    runs = {}
    for name, way, model in (("ours", ours, made[0]), ("plain", plain, made[1])):
        subject = Subject(model, prompt + (warm_up + BLOCK) * (frames // BLOCK))
        model.slow(columns, None, subject.view(prompt))
        runs[name] = (*way(subject), first)
    last = {name: run[2] for name, run in runs.items()}
    times: dict[str, list[Split]] = {name: [] for name in runs}
    for _ in range(frames // BLOCK):
        for name, (slow, fast, _) in runs.items():
            for frame in range(warm_up + BLOCK):
                noise = Noise(torch.rand(1, 2, RANKS), torch.rand(1, 9, RANKS))
                begin = time.process_time()
                x = slow(last[name])
                middle = time.process_time()
                last[name] = fast(x, noise)
                if frame >= warm_up:
                    times[name].append(Split(1e3 * (middle - begin), 1e3 * (time.process_time() - middle)))
    return times, sum(parameter.numel() for parameter in made[0].parameters())


def summary(values: Sequence[float]) -> dict[str, float]:
    """p10 stands for a quiet machine: neighbours that use the same cache only ever add."""
    points = {f"p{share}": nearest_rank(values, share / 100) for share in (10, 50, 95)}
    return {name: round(value or 0.0, 2) for name, value in (points | {"worst": max(values)}).items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200, help=f"in whole blocks of {BLOCK}")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=200, help="columns in the context before the first frame")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    use_threads(1)
    times, parameters = measure(options.frames, options.warm_up, options.prompt, options.seed)
    figures = {name: _figures(splits) for name, splits in times.items()}
    _print(figures, parameters, options.frames)
    ratio = figures["plain"]["frame_ms"]["p50"] / figures["ours"]["frame_ms"]["p50"]
    outcome = Outcome(
        evaluation="slow_fast_bench",
        peer="agent_tts",
        config={"parameters": parameters, "frames": options.frames, "prompt": options.prompt, "threads": 1},
        seed=options.seed,
        figures=figures | {"reference_ms": REFERENCE_MS, "goal_ms": GOAL_MS, "plain_over_ours": round(ratio, 2)},
        gates=(),
        pairs={},
    )
    return finish(outcome, options.out)


def _figures(splits: Sequence[Split]) -> dict[str, dict[str, float]]:
    return {
        "slow_ms": summary([split.slow_ms for split in splits]),
        "fast_ms": summary([split.fast_ms for split in splits]),
        "frame_ms": summary([sum(split) for split in splits]),
    }


def _print(figures: dict[str, dict[str, dict[str, float]]], parameters: int, frames: int) -> None:
    print(f"{parameters / 1e6:.1f} M parameters, fp32, 1 thread, {frames} frames; CPU ms per frame")
    print(f"{'':12}{'p10':>8}{'p50':>8}{'p95':>8}{'worst':>8}")
    for way, parts in figures.items():
        for part, values in parts.items():
            row = "".join(f"{value:8.2f}" for value in values.values())
            print(f"{way + ' ' + part.removesuffix('_ms'):12}{row}")


if __name__ == "__main__":
    raise SystemExit(main())
