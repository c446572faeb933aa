"""Weights in one byte: int8 or fp8 with one scale per output channel, and products that read them as they lie.

A decode step reads every weight once, so half the bytes is half the time where the product is bound by memory. Inputs
are brought to the same format row by row (their largest magnitude is the largest number it has): a product that only
kept the *weights* small would have to write them out in full first, which costs more bytes than it saves.

    y = (x / sx -> int8 or fp8) @ (W / sw -> int8 or fp8)^T * sx * sw        sx per row, sw per output channel
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agent_tts.config import WeightFormat
from agent_tts.errors import ConfigError

FP8 = torch.float8_e4m3fn
MIN_ROWS = 32
"""Both libraries' kernels want more than 16 rows; more of them cost nothing while the weights are what is read."""
SIZE_MULTIPLE = 16
FP8_CAPABILITY = (8, 9)
INT8_CAPABILITY = (7, 5)


class Packed(NamedTuple):
    """One weight matrix."""

    values: Tensor  # [out, in], int8 or fp8
    scales: Tensor  # [1, out] float32


def largest(dtype: torch.dtype) -> float:
    """The largest magnitude that is used of a format."""
    return 127.0 if dtype == torch.int8 else float(torch.finfo(dtype).max)


def pack(weight: Tensor, weights: WeightFormat) -> Packed:
    """[out, in] in any float dtype -> one byte each."""
    values, scales = _scaled(weight.detach(), torch.int8 if weights == "int8" else FP8)
    return Packed(values, scales.t().contiguous())


def product(x: Tensor, weight: Tensor | Packed) -> Tensor:
    """x [rows, in] times a weight, [in, out] or packed -> [rows, out]."""
    return torch.mm(x, weight) if isinstance(weight, Tensor) else _product(x, weight)


def product_added(residual: Tensor, x: Tensor, weight: Tensor | Packed) -> Tensor:
    """residual [rows, out] + product(x, weight)."""
    if isinstance(weight, Tensor):
        return torch.addmm(residual, x, weight)
    return residual + _product(x, weight)


def _product(x: Tensor, weight: Packed) -> Tensor:
    rows = len(x)
    padded = F.pad(x, (0, 0, 0, max(0, MIN_ROWS - rows)))
    values, scales = _scaled(padded, weight.values.dtype)
    if weight.values.dtype == torch.int8:
        sums = torch._int_mm(values, weight.values.t())
        return (sums[:rows] * scales[:rows] * weight.scales).type_as(x)
    out = torch._scaled_mm(
        values, weight.values.t(), scale_a=scales, scale_b=weight.scales, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    return out[:rows].type_as(x)


def _scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """[rows, n] -> the same in `dtype`, and [rows, 1] float32 to multiply it with."""
    wide, top = x.float(), largest(dtype)
    scales = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / top
    scaled = wide / scales
    return (scaled.round() if dtype == torch.int8 else scaled).clamp(-top, top).to(dtype), scales


def require(weights: WeightFormat, device: torch.device, sizes: tuple[int, ...]) -> None:
    """Raise ConfigError, before any weight is touched, where the device or the sizes rule the format out."""
    if weights == "full":
        return
    if odd := [size for size in sizes if size % SIZE_MULTIPLE]:
        raise ConfigError(
            f"fast_weights {weights!r} needs sizes that are multiples of {SIZE_MULTIPLE}; one is {odd[0]}."
        )
    needed = FP8_CAPABILITY if weights == "fp8" else INT8_CAPABILITY
    if device.type == "cpu" and weights == "int8":
        return
    found = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if found is None or found < needed:
        has = "no GPU" if found is None else f"compute capability {found[0]}.{found[1]}"
        raise ConfigError(
            f"fast_weights {weights!r} needs a GPU of compute capability {needed[0]}.{needed[1]}; {device} has {has}."
        )
