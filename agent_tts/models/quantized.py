"""Weights in one byte: int8 or fp8 with one scale per output channel. What they are multiplied with stays as it is.

A decode step reads every weight once, so half the bytes is half the time where a product is bound by memory. That needs
a kernel which widens the bytes as it reads them (nn/one_byte_product.py, on a GPU); elsewhere they are widened first,
which is right, and no faster.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor

from agent_tts.config import WeightFormat
from agent_tts.errors import ConfigError

FP8 = torch.float8_e4m3fn
NEEDED_CAPABILITY = {"int8": (8, 0), "fp8": (8, 9)}


class Packed(NamedTuple):
    """One weight matrix."""

    values: Tensor  # [out, in], int8 or fp8
    scales: Tensor  # [1, out] float32


def pack(weight: Tensor, weights: WeightFormat) -> Packed:
    """[out, in] in any float dtype -> one byte each; the largest of each row becomes the largest number there is."""
    dtype = torch.int8 if weights == "int8" else FP8
    top = 127.0 if weights == "int8" else torch.finfo(FP8).max
    wide = weight.detach().float()
    scales = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / top
    scaled = wide / scales
    values = (scaled.round() if weights == "int8" else scaled).clamp(-top, top).to(dtype)
    return Packed(values, scales.t().contiguous())


def product(x: Tensor, weight: Tensor | Packed) -> Tensor:
    """x [rows, in] times a weight, [in, out] or packed -> [rows, out]."""
    return torch.mm(x, weight) if isinstance(weight, Tensor) else _product(x, weight, None)


def product_added(residual: Tensor, x: Tensor, weight: Tensor | Packed) -> Tensor:
    """residual [rows, out] + product(x, weight)."""
    return torch.addmm(residual, x, weight) if isinstance(weight, Tensor) else _product(x, weight, residual)


def _product(x: Tensor, weight: Packed, residual: Tensor | None) -> Tensor:
    if x.device.type == "cuda":
        from agent_tts.nn import one_byte_product

        return one_byte_product.product(x, weight.values, weight.scales, residual)
    out = (torch.mm(x, weight.values.to(x.dtype).t()) * weight.scales).type_as(x)
    return out if residual is None else residual + out


def require(weights: WeightFormat, device: torch.device) -> None:
    """Raise ConfigError, before any weight is touched, where the device cannot read the format."""
    if weights == "full" or (weights == "int8" and device.type == "cpu"):
        return
    needed = NEEDED_CAPABILITY[weights]
    found = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if found is None or found < needed:
        has = "no GPU" if found is None else f"compute capability {found[0]}.{found[1]}"
        raise ConfigError(
            f"fast_weights {weights!r} needs a GPU of compute capability {needed[0]}.{needed[1]}; {device} has {has}."
        )
    if importlib.util.find_spec("triton") is None:
        raise ConfigError(f"fast_weights {weights!r} on a GPU needs Triton: pip install triton")
