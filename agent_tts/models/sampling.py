"""Which code is next, given logits and noise: the released models' own rules as pure functions on rows of logits.

The noise comes in as an argument, every parameter is a tensor with one value per row, and nothing here waits for the
device. Knows no requests and no model. The order of operations is the reference's, oddities included: they are part of
how the checkpoints sound, and the fixtures pin them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MIN_TEMPERATURE = 1e-5
RAS_TEMPERATURE = 1.0
RAS_TOP_P = 0.9


class Ranked(NamedTuple):
    """The best candidates of each row in falling order, all [rows, ranks]."""

    logits: Tensor
    ids: Tensor
    cumulative: Tensor
    """Probability of this rank and all better ones, of all candidates and before temperature."""


def rank(logits: Tensor, limit: int | None = None) -> Ranked:
    """Order the candidates of each row.

    Args:
        logits: [rows, candidates].
        limit: How many to keep; at least the largest top_k, then nothing is lost. None = all, which costs a full sort.
    """
    count = logits.shape[-1] if limit is None else min(limit, logits.shape[-1])
    if count == logits.shape[-1]:
        ordered, ids = logits.sort(dim=-1, descending=True)
    else:
        ordered, ids = logits.topk(count, dim=-1)
    cumulative = (ordered - logits.logsumexp(dim=-1, keepdim=True)).exp().cumsum(dim=-1)
    return Ranked(ordered, ids, cumulative)


def probabilities(ranked: Ranked, temperature: Tensor, top_p: Tensor, top_k: Tensor | None = None) -> Tensor:
    """Probabilities after top-p, top-k and temperature, in that order.

    top-p looks at the logits before temperature, and the candidate that crosses it is dropped as well; the most likely
    one always stays.

    Args:
        ranked: From rank().
        temperature, top_p: [rows].
        top_k: [rows] integers, or None for no limit.

    Returns:
        [rows, ranks], each row sums to 1.
    """
    drop = ranked.cumulative > top_p.unsqueeze(-1)
    ranks = torch.arange(drop.shape[-1], device=drop.device)
    if top_k is not None:
        drop |= ranks >= top_k.unsqueeze(-1)
    drop &= ranks > 0
    kept = ranked.logits.masked_fill(drop, float("-inf"))
    return (kept / temperature.clamp(min=MIN_TEMPERATURE).unsqueeze(-1)).softmax(dim=-1)


def draw(ranked: Ranked, uniform: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor | None = None) -> Tensor:
    """Draw one candidate per row: argmax(p / -ln u), which is a draw from p when u is uniform in (0, 1).

    Args:
        ranked, temperature, top_p, top_k: As for probabilities().
        uniform: [rows, ranks], one number for each rank; use by_rank() where the noise goes by candidate.

    Returns:
        [rows] candidate ids.
    """
    race = probabilities(ranked, temperature, top_p, top_k) / -uniform.log()
    return ranked.ids.gather(-1, race.argmax(dim=-1, keepdim=True)).squeeze(-1)


def by_rank(ranked: Ranked, uniform: Tensor) -> Tensor:
    """Noise that goes by candidate [rows, candidates], in the order of the ranks: [rows, ranks]."""
    return uniform.gather(-1, ranked.ids)


def draw_unless_repeated(
    ranked: Ranked,
    uniform: tuple[Tensor, Tensor],
    window: Tensor,
    is_semantic: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor | None,
    enabled: Tensor,
) -> Tensor:
    """Repetition-aware sampling: a semantic token that stands in the window of recent ones is drawn once more.

    The second draw has temperature 1.0 and top_p 0.9. Both draws always take place and always consume their noise.

    Args:
        ranked, temperature, top_p, top_k: Of the first draw, as for probabilities().
        uniform: Noise of the first and of the second draw, each [rows, ranks].
        window: [rows, n], the last main tokens as candidate ids; -1 where there is none yet.
        is_semantic: [candidates] bool.
        enabled: [rows] bool; False = the first draw counts (the first frame of an utterance, for one).

    Returns:
        [rows] candidate ids.
    """
    first = draw(ranked, uniform[0], temperature, top_p, top_k)
    loose = torch.full_like(temperature, RAS_TEMPERATURE)
    second = draw(ranked, uniform[1], loose, torch.full_like(top_p, RAS_TOP_P), top_k)
    repeated = (window == first.unsqueeze(-1)).any(dim=-1)
    return torch.where(enabled & repeated & is_semantic[first], second, first)


def penalize(logits: Tensor, recent: Tensor, penalty: Tensor) -> Tensor:
    """Repetition penalty: each listed id is scaled once, x * penalty where x < 0, else x / penalty.

    Args:
        logits: [rows, candidates].
        recent: [rows, n] ids, repeats allowed; ids outside the candidates are ignored.
        penalty: [rows]; 1.0 = none.
    """
    rows, candidates = logits.shape
    inside = torch.where((recent >= 0) & (recent < candidates), recent, candidates)  # one column more, for all others
    listed = torch.zeros(rows, candidates + 1, dtype=torch.bool, device=logits.device).scatter(-1, inside, True)
    factor = penalty.unsqueeze(-1)
    return torch.where(listed[:, :candidates], torch.where(logits < 0, logits * factor, logits / factor), logits)
