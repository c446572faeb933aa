"""DecodeStack for one row on a CPU in float32, on NumPy: its calls cost a third, and its product with one row half.

Same weights (shared memory), same KV layout, same values up to the order of summation. Measured by
evals/slow_fast_bench.py; the product is memory-bound, so what counts is how fast the BLAS below streams a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from agent_tts.models.decode_stack import DecodeStack, Layer

Array = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]


class _Weights(NamedTuple):
    attention_norm: Array
    wqkv: Array
    qk_norm: Array | None
    wo: Array
    ffn_norm: Array
    w13: Array
    w2: Array


@runtime_checkable
class OneRun(Protocol):
    """A KVCache of one row that lies in one piece: per layer [1, context, kv_heads, head_dim], the new place last."""

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]


def row_arrays(tensors: Sequence[torch.Tensor]) -> list[Array]:
    """The same memory without the row axis, for forward()."""
    return [tensor.numpy()[0] for tensor in tensors]


def fits(stack: DecodeStack) -> bool:
    """Whether a stack's weights can be read by NumPy as they are."""
    weight = stack.final_norm
    return weight.device.type == "cpu" and weight.dtype == torch.float32


class NumpyStack:
    """One position of one row through all blocks. Not for two threads at once: its work arrays are reused."""

    def __init__(self, stack: DecodeStack) -> None:
        config = stack.config
        assert fits(stack), "NumPy reads float32 on a CPU"
        self._layers = [_shared(layer) for layer in stack.layers]
        self._heads, self._kv_heads, self._head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._dim, self._ffn_dim, self._eps = config.dim, config.ffn_dim, config.norm_eps
        self._scale = 1.0 / math.sqrt(config.head_dim)
        self._final_norm: Array = stack.final_norm.numpy()
        self._normed = np.empty(config.dim, np.float32)
        self._qkv = np.empty((self._heads + 2 * self._kv_heads, self._head_dim), np.float32)
        self._up = np.empty(2 * config.ffn_dim, np.float32)
        self._out = np.empty(config.dim, np.float32)

    def forward(self, x: Array, angles: ComplexArray, keys: Sequence[Array], values: Sequence[Array]) -> Array:
        """Run the blocks.

        Args:
            x: [dim].
            angles: [head_dim / 2], the turn of each pair at this position.
            keys, values: Of each layer [context, kv_heads, head_dim]; the last place is the new position's and is
                written here.

        Returns:
            [dim], before the final norm; a new array.
        """
        x, out, ffn_dim = x.copy(), self._out, self._ffn_dim
        with np.errstate(over="ignore"):  # exp of a large number: the gate is 0, as it should be
            for layer, layer_keys, layer_values in zip(self._layers, keys, values, strict=True):
                np.dot(self._attend(layer, x, angles, layer_keys, layer_values), layer.wo, out=out)
                x += out
                np.dot(self._norm(x, layer.ffn_norm), layer.w13, out=self._up)
                gate, up = self._up[:ffn_dim], self._up[ffn_dim:]
                up *= gate
                np.negative(gate, out=gate)
                np.exp(gate, out=gate)
                gate += 1.0
                up /= gate
                np.dot(up, layer.w2, out=out)
                x += out
        return x

    def norm(self, x: Array) -> Array:
        """The final norm: [dim] -> [dim]; valid until the next call."""
        return self._norm(x, self._final_norm)

    def _attend(self, layer: _Weights, x: Array, angles: ComplexArray, keys: Array, values: Array) -> Array:
        """[dim] -> [heads * head_dim]."""
        heads, kv_heads, head_dim, qkv = self._heads, self._kv_heads, self._head_dim, self._qkv
        np.dot(self._norm(x, layer.attention_norm), layer.wqkv, out=qkv.reshape(-1))
        qk = qkv[: heads + kv_heads]
        if layer.qk_norm is not None:
            scale = np.einsum("hd,hd->h", qk, qk)
            scale /= head_dim
            scale += self._eps
            np.sqrt(scale, out=scale)
            qk /= scale[:, None]
            qk *= layer.qk_norm
        pairs = qk.view(np.complex64)  # [heads + kv_heads, head_dim / 2]
        pairs *= angles
        keys[-1] = qk[heads:]
        values[-1] = qkv[heads + kv_heads :]
        query = qk[:heads].reshape(kv_heads, -1, head_dim)
        query *= self._scale
        scores = np.matmul(query, keys.transpose(1, 2, 0))  # [kv_heads, heads of one kv head, context]
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Array = np.matmul(scores, values.transpose(1, 0, 2)).reshape(-1)
        return mixed

    def _norm(self, x: Array, weight: Array) -> Array:
        out = self._normed
        np.multiply(x, 1.0 / math.sqrt(float(x.dot(x)) / self._dim + self._eps), out=out)
        out *= weight
        return out


def _shared(layer: Layer) -> _Weights:
    return _Weights(*(None if tensor is None else tensor.numpy() for tensor in layer))  # type: ignore[arg-type]
