"""Which code is next, given logits and noise: the released models' own rules as pure functions on rows of logits.

The noise comes in as an argument, every parameter is a tensor with one value per row, and nothing here waits for the
device. Knows no requests and no model. The order of operations is the reference's, oddities included: they are part of
how the checkpoints sound, and the fixtures pin them.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_TEMPERATURE = 1e-5
RAS_WINDOW = 10
RAS_TEMPERATURE = 1.0
RAS_TOP_P = 0.9
PENALTY_WINDOW = 16


def filtered_probs(logits: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor | None = None) -> Tensor:
    """Probabilities after top-p, top-k and temperature, in that order.

    top-p looks at the softmax of the unscaled logits, and the candidate that crosses it is dropped as well; the most
    likely one always stays.

    Args:
        logits: [rows, candidates]; -inf for what is not legal.
        temperature, top_p: [rows].
        top_k: [rows] integers, or None for no limit.

    Returns:
        [rows, candidates], each row sums to 1.
    """
    ordered, order = logits.sort(dim=-1, descending=True)
    cumulative = ordered.softmax(dim=-1).cumsum(dim=-1)
    drop = cumulative > top_p.unsqueeze(-1)
    if top_k is not None:
        ranks = torch.arange(logits.shape[-1], device=logits.device)
        drop |= ranks >= top_k.unsqueeze(-1)
    drop[:, 0] = False
    kept = logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), float("-inf"))
    return (kept / temperature.clamp(min=MIN_TEMPERATURE).unsqueeze(-1)).softmax(dim=-1)


def pick(probs: Tensor, uniform: Tensor) -> Tensor:
    """Draw one candidate per row: argmax(p / -ln u), which is a draw from p when u is uniform in (0, 1).

    probs and uniform [rows, candidates] -> [rows] int64.
    """
    return (probs / -uniform.log()).argmax(dim=-1)


def draw(logits: Tensor, uniform: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor | None = None) -> Tensor:
    """filtered_probs and pick in one: [rows, candidates] -> [rows]."""
    return pick(filtered_probs(logits, temperature, top_p, top_k), uniform)


def greedy(logits: Tensor) -> Tensor:
    """The most likely candidate of each row: [rows, candidates] -> [rows]."""
    return logits.argmax(dim=-1)


def draw_unless_repeated(
    logits: Tensor,
    uniform: Tensor,
    window: Tensor,
    is_semantic: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    enabled: Tensor,
) -> Tensor:
    """Repetition-aware sampling: a semantic token that stands in the window of recent ones is drawn once more.

    The second draw has temperature 1.0 and top_p 0.9. Both draws always take place and always consume their noise.

    Args:
        logits: [rows, candidates].
        uniform: [rows, 2, candidates]; first draw, second draw.
        window: [rows, RAS_WINDOW], the last tokens as candidate numbers; -1 where there is none yet.
        is_semantic: [candidates] bool.
        temperature, top_p, top_k: [rows], of the first draw.
        enabled: [rows] bool; False = the first draw counts (the first frame of an utterance, for one).

    Returns:
        [rows] candidate numbers.
    """
    first = draw(logits, uniform[:, 0], temperature, top_p, top_k)
    loose = torch.full_like(temperature, RAS_TEMPERATURE)
    second = draw(logits, uniform[:, 1], loose, torch.full_like(top_p, RAS_TOP_P), top_k)
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
    listed = listed[:, :candidates]
    factor = penalty.unsqueeze(-1)
    return torch.where(listed, torch.where(logits < 0, logits * factor, logits / factor), logits)
