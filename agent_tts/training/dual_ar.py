"""Trains the bundled Dual-AR on the frozen codec's codes.

Previous frames are corrupted (some swapped for others, all a little noisy), so that the model can
recover from its own slips. The Fast AR learns on a random part of the frames: it costs the most.
"""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import ModelConfig
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.training.corpus import Shard, held_out_shards, training_shards
from agent_tts.training.loop import (
    AverageWeights,
    Meter,
    load_checkpoint,
    make_optimizer,
    save_checkpoint,
    schedule,
    set_lr,
)
from agent_tts.training.packing import Packed, PackShape, batches, packed_rows, shuffled_pieces

LOG = logging.getLogger(__name__)
BOOK_WEIGHTS = (1.6, 1.3, 1.1, 0.9, 0.8, 0.7, 0.6)
"""Loss weights of books 1 ... 7: the first carry the words, the last only texture."""


@dataclass(frozen=True, slots=True)
class DualARSettings:
    """Training of the Dual-AR."""

    rows: int = 4
    steps: int = 6500
    lr: float = 1.5e-3
    warmup: int = 200
    average: float = 0.999
    fast_frames: int = 192
    fast_weight: float = 1.5
    swapped: float = 0.2
    noise: float = 0.2
    evaluate_every: int = 500


class PackedContext:
    """A KV context for training: frames see earlier frames of their own utterance."""

    def __init__(self, segment: Tensor) -> None:
        time = segment.shape[1]
        same = segment.unsqueeze(2) == segment.unsqueeze(1)
        self._mask = same & torch.ones(time, time, dtype=torch.bool).tril()

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Nothing is kept: all positions are in this call."""
        return k, v, self._mask


def losses(model: AlignedDualAR, batch: Packed, settings: DualARSettings) -> dict[str, Tensor]:
    """Advance, code 0 and Fast AR cross entropies."""
    latent, code = _corrupted(model, batch, settings) if model.training else _exact(model, batch)
    text = model.text(batch.ids, batch.present)
    at_pointer = text.gather(1, batch.place.unsqueeze(-1).expand(-1, -1, text.shape[-1]))
    inputs = model.combine(at_pointer, batch.progress, latent, code)
    hidden = model.slow_forward(inputs, PackedContext(batch.segment))
    real = batch.segment.flatten() >= 0
    hidden, advance, codes = hidden.flatten(0, 1), batch.advance.flatten(), batch.codes.flatten(0, 1)
    keep = real.float() / real.sum()
    advance_loss = F.cross_entropy(model.advance_logits(hidden).float(), advance, reduction="none")
    code_loss = F.cross_entropy(model.c0_logits(hidden, advance).float(), codes[:, 0], reduction="none")
    chosen = torch.multinomial(keep, settings.fast_frames, replacement=False)
    return {
        "advance": (advance_loss * keep).sum(),
        "c0": (code_loss * keep).sum(),
        "fast": _fast_loss(model, hidden[chosen], codes[chosen]),
    }


def _fast_loss(model: AlignedDualAR, hidden: Tensor, codes: Tensor) -> Tensor:
    books = torch.arange(codes.shape[1] - 1)
    sums = model.codebooks[books, codes[:, :-1]].cumsum(1) * model.latent_scale  # [frames, books - 1, latent_dim]
    logits = model.fast(hidden, sums, model.tables)
    per_book = F.cross_entropy(logits.float().transpose(1, 2), codes[:, 1:], reduction="none").mean(0)
    return (per_book * torch.tensor(BOOK_WEIGHTS[: len(per_book)])).mean() if model.training else per_book.mean()


def _exact(model: AlignedDualAR, batch: Packed) -> tuple[Tensor, Tensor]:
    return model.latent(batch.previous), batch.previous[..., 0]


def _corrupted(model: AlignedDualAR, batch: Packed, settings: DualARSettings) -> tuple[Tensor, Tensor]:
    """Previous frames with some swapped for a random frame of the batch, and noise on all."""
    rows, time, _ = batch.previous.shape
    share = torch.rand(rows, 1) * settings.swapped
    other = batch.codes.flatten(0, 1)[torch.randint(rows * time, (rows, time))]
    begins = batch.previous[..., 0] == model.config.codebook_size
    swap = (torch.rand(rows, time) < share) & ~begins
    codes = torch.where(swap.unsqueeze(-1), other, batch.previous)
    latent = model.latent(codes)
    amount = torch.rand(rows, 1, 1) * settings.noise / model.latent_scale
    return latent + amount * torch.randn_like(latent) * ~begins.unsqueeze(-1), codes[..., 0]


def train_dual_ar(work: Path, config: ModelConfig, codebooks: Tensor, settings: DualARSettings) -> None:
    """Train into `dual_ar.pt`; goes on where it stopped, with shards that came since."""
    assert config.aligned is not None
    torch.manual_seed(4)
    model = AlignedDualAR(config)
    model.set_codebooks(codebooks)
    optimizer, average = make_optimizer(model.parameters(), settings.lr), AverageWeights(model, settings.average)
    path = work / "dual_ar.pt"
    begin = load_checkpoint(path, model=model, optimizer=optimizer, average=average)
    shape = PackShape(
        look_ahead=config.aligned.look_ahead, max_advance=config.aligned.max_advance, start_code=config.codebook_size
    )
    stream = _endless(work, shape, settings.rows, begin)
    held_out = list(itertools.islice(_once(held_out_shards(work / "data"), shape, settings.rows, 0), 12))
    meter = Meter("model", settings.steps, 50)
    for step in range(begin, settings.steps):
        set_lr(optimizer, settings.lr * schedule(step, settings.steps, settings.warmup))
        meter.add(step, _train_step(model, optimizer, next(stream), settings))
        average.update(model)
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            save_checkpoint(path, step + 1, model=model, optimizer=optimizer, average=average)
            LOG.info("model: held out at step %d: %s", step + 1, _evaluate(model, held_out, settings))


def _train_step(
    model: AlignedDualAR, optimizer: torch.optim.Optimizer, batch: Packed, settings: DualARSettings
) -> dict[str, Tensor | float]:
    with torch.autocast("cpu", torch.bfloat16):
        parts = losses(model, batch, settings)
    total = parts["advance"] + parts["c0"] + settings.fast_weight * parts["fast"]
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    frames = float((batch.segment >= 0).sum())
    return {**{name: value.detach() for name, value in parts.items()}, "frames": frames}


@torch.no_grad()
def _evaluate(model: AlignedDualAR, held_out: list[Packed], settings: DualARSettings) -> str:
    model.eval()
    with torch.random.fork_rng(), torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        found = [losses(model, batch, settings) for batch in held_out]
    model.train()
    return " ".join(f"{name} {torch.stack([f[name] for f in found]).mean():.3f}" for name in found[0])


def _once(shards: list[Shard], shape: PackShape, rows: int, seed: int) -> Iterator[Packed]:
    pieces = shuffled_pieces(shards, shape, np.random.default_rng(seed))
    return batches(packed_rows(pieces, shape), rows, shape)


def _endless(work: Path, shape: PackShape, rows: int, seed: int) -> Iterator[Packed]:
    """Epoch after epoch; each looks for new shards. One that has just begun takes what is there."""
    for epoch in itertools.count():
        shards = [shard for shard in training_shards(work / "data") if (shard.path / "codes.u16").exists()]
        LOG.info("model: epoch %d over %d shards", epoch, len(shards))
        yield from _once(shards, shape, rows, seed + 10 + epoch)
