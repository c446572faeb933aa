"""Rotary positions on interleaved pairs (2j, 2j+1); knows positions as plain numbers, not where they come from.

The released Dual-AR checkpoints and their codec were trained with tables rounded to bfloat16; with exact fp32 tables
their logits move by up to 4e-2 and long audio breaks. So rounding is a property of the model, not of the compute dtype.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """Cosine and sine for the positions of one forward pass, both [rows, time, 1, head_dim / 2] in fp32."""

    cos: Tensor
    sin: Tensor


@cache  # never thrown away: captured graphs go on reading them
def _inverse_frequencies(head_dim: int, base: float, device: torch.device) -> Tensor:
    exponents = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    return 1.0 / (base**exponents)


def rotation(positions: Tensor, head_dim: int, base: float, *, round_to_bf16: bool = True) -> Rotation:
    """Angles position * base^(-2j / head_dim).

    Args:
        positions: [rows, time], integers; a row may start anywhere and rows may differ.
        head_dim: Even size of one attention head.
        base: The model's rope_base.
        round_to_bf16: Round cosine and sine to bfloat16, then go on in fp32.
    """
    angles = positions.float().unsqueeze(-1) * _inverse_frequencies(head_dim, base, positions.device)
    cos, sin = angles.cos().unsqueeze(2), angles.sin().unsqueeze(2)
    if round_to_bf16:
        cos, sin = cos.bfloat16().float(), sin.bfloat16().float()
    return Rotation(cos, sin)


def rotate(x: Tensor, angles: Rotation) -> Tensor:
    """Turn each pair of x [rows, time, heads, head_dim] by its angle; same shape and dtype."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack((even * angles.cos - odd * angles.sin, odd * angles.cos + even * angles.sin), dim=-1)
    return turned.flatten(-2).type_as(x)
