"""Small layers on NumPy for one position of each row: at this size PyTorch's calls cost more than its arithmetic.

All work on arrays [rows, ..., dim] of the weights' own type. Prepared from modules once, after loading; the weights are
copies in the layout that a product with few rows reads fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Affine:
    """x @ weight + bias: weight [in, out], bias [out] or None."""

    weight: Array
    bias: Array | None = None

    def __call__(self, x: Array) -> Array:
        """[..., in] -> [..., out], a new array."""
        out: Array = np.dot(x.reshape(-1, x.shape[-1]), self.weight)
        if self.bias is not None:
            out += self.bias
        return out.reshape(*x.shape[:-1], self.weight.shape[1])


def affine(linear: nn.Linear) -> Affine:
    """A Linear as it is."""
    return Affine(as_array(linear.weight.t()), None if linear.bias is None else as_array(linear.bias))


def affine_after(norm: nn.LayerNorm, linear: nn.Linear) -> Affine:
    """A Linear behind a LayerNorm, with the norm's weight and bias in it: what is left of the norm is normalise()."""
    weight, shift = linear.weight.t(), norm.bias @ linear.weight.t()
    bias = shift if linear.bias is None else linear.bias + shift
    return Affine(as_array(norm.weight[:, None] * weight), as_array(bias))


def as_array(tensor: torch.Tensor) -> Array:
    """A copy, contiguous as it is indexed."""
    return np.ascontiguousarray(tensor.detach().numpy())


def normalise(x: Array, eps: float) -> Array:
    """LayerNorm over the last axis without weight and bias: a new array."""
    width = x.shape[-1]
    out: Array = x - np.add.reduce(x, axis=-1, keepdims=True) / width
    scale = np.einsum("...d,...d->...", out, out)[..., None]
    scale /= width
    scale += eps
    np.sqrt(scale, out=scale)
    out /= scale
    return out


def gelu(x: Array) -> Array:
    """The exact one, with the error function; NumPy has none."""
    out: Array = F.gelu(torch.from_numpy(x)).numpy()
    return out


def silu_times(gate: Array, value: Array) -> Array:
    """SwiGLU's product, in place of `value`."""
    value *= gate
    with np.errstate(over="ignore"):  # exp of a large number: the gate is 0, as it should be
        value /= 1.0 + np.exp(-gate)
    return value
