"""Slow AR and Fast AR together, and one frame of both. Knows rows of tensors, no requests and no audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agent_tts.config import ModelConfig
from agent_tts.models.fast_ar import FastAR, FrameCache
from agent_tts.models.slow_ar import SlowAR, SlowHead, semantic_code


class DualAR(nn.Module):
    """A prompt-text Dual-AR model as its checkpoint describes it. On the meta device it costs no memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.slow = SlowAR(config)
        self.fast = FastAR(config)


class Frames(NamedTuple):
    """The next column of each row, and its main token as a candidate number of the SlowHead."""

    columns: Tensor  # [rows, codebooks + 1]
    candidates: Tensor  # [rows]


def next_frames(
    model: DualAR,
    head: SlowHead,
    x: Tensor,
    cache: FrameCache,
    choose_main: Callable[[Tensor], Tensor],
    choose_residual: Callable[[int, Tensor], Tensor],
) -> Frames:
    """Sample one frame for each row.

    Args:
        model, head: The model and its sliced head.
        x: [rows, dim], SlowAR.forward() at each row's last position.
        cache: Fast AR cache with room for the rows.
        choose_main: Given logits [rows, candidates], returns candidate numbers [rows].
        choose_residual: Given k >= 1 and logits [rows, candidates], returns code k [rows].
    """
    candidates = choose_main(head.logits(x))
    tokens = head.token_ids[candidates]
    codes = model.fast.codes(model.slow.hidden(x), semantic_code(model.config, tokens), choose_residual, cache)
    return Frames(torch.cat([tokens.unsqueeze(1), codes], dim=1), candidates)
