"""DecodeStack row by row on a CPU in float32, on NumPy: a call costs a third, a product with one row half.

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


class _Work(NamedTuple):
    """Arrays that one call writes and the next one overwrites, all [positions, ...]."""

    normed: Array
    qkv: Array
    mixed: Array
    up: Array
    out: Array


Runs = tuple[Array, ...]
"""Keys or values of one row and layer: slices [positions, kv_heads, head_dim] one behind the other."""

MAX_ROWS = 8
"""Up to so many rows, one after the other is at least as fast as PyTorch's product with all of them."""


class RowStep(NamedTuple):
    """One new position of one row.

    Attributes:
        x: [dim].
        angles: [head_dim / 2], the turn of each pair at this position.
        keys, values: Of each layer all positions; the last place is the new position's and is written.
    """

    x: Array
    angles: ComplexArray
    keys: Sequence[Runs]
    values: Sequence[Runs]


class RowCache(Protocol):
    """The KV of one row."""

    def arrays(self) -> tuple[Sequence[Runs], Sequence[Runs]]:
        """Keys and values of each layer; the last place of the last slice is the new position's, to be written."""
        ...


@runtime_checkable
class RowCaches(Protocol):
    """A KVCache whose rows can be taken one by one."""

    def rows(self) -> Sequence[RowCache]:
        """One for each row."""
        ...


def row_runs(tensors: Sequence[torch.Tensor]) -> list[Runs]:
    """Tensors [1, positions, kv_heads, head_dim], one a layer, as forward() takes them; the same memory."""
    return [(tensor.numpy()[0],) for tensor in tensors]


def fits(stack: DecodeStack) -> bool:
    """Whether a stack's weights can be read by NumPy as they are."""
    weight = stack.final_norm
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and stack.weights == "full"


class NumpyStack:
    """Positions of single rows through all blocks. Not for two threads at once: its work arrays are reused."""

    def __init__(self, stack: DecodeStack) -> None:
        config = stack.config
        assert fits(stack), "NumPy reads float32 on a CPU"
        self._layers = [_shared(layer) for layer in stack.layers]
        self._heads, self._kv_heads, self._head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._dim, self._ffn_dim, self._eps = config.dim, config.ffn_dim, config.norm_eps
        self._scale = 1.0 / math.sqrt(config.head_dim)
        self._final_norm: Array = stack.final_norm.numpy()
        self._work: dict[int, _Work] = {}

    def forward(self, steps: Sequence[RowStep]) -> Array:
        """Run the blocks for several positions, each product for all of them at once: a weight is read once.

        Steps of the same row must come in the order of their positions. Returns [positions, dim] before the final norm.
        """
        x = np.stack([step.x for step in steps])
        work = self._work_for(len(x))
        with np.errstate(over="ignore"):  # exp of a large number: the gate is 0, as it should be
            for number, layer in enumerate(self._layers):
                self._attention(number, layer, x, steps, work)
                self._feed_forward(layer, x, work)
        return x

    def norm(self, x: Array) -> Array:
        """The final norm: [positions, dim] -> the same shape; valid until the next call."""
        return self._norm(x, self._final_norm, self._work_for(len(x)))

    def _attention(self, number: int, layer: _Weights, x: Array, steps: Sequence[RowStep], work: _Work) -> None:
        np.dot(self._norm(x, layer.attention_norm, work), layer.wqkv, out=work.qkv)
        qkv = work.qkv.reshape(len(x), -1, self._head_dim)
        for row, step in enumerate(steps):
            mixed = self._attend(layer, qkv[row], step.angles, step.keys[number], step.values[number])
            work.mixed[row] = mixed.reshape(-1)
        np.dot(work.mixed, layer.wo, out=work.out)
        x += work.out

    def _feed_forward(self, layer: _Weights, x: Array, work: _Work) -> None:
        np.dot(self._norm(x, layer.ffn_norm, work), layer.w13, out=work.up)
        gate, up = work.up[:, : self._ffn_dim], work.up[:, self._ffn_dim :]
        up *= gate
        np.negative(gate, out=gate)
        np.exp(gate, out=gate)
        gate += 1.0
        up /= gate
        np.dot(up, layer.w2, out=work.out)
        x += work.out

    def _attend(self, layer: _Weights, qkv: Array, angles: ComplexArray, keys: Runs, values: Runs) -> Array:
        """One position: qkv [heads + 2 * kv_heads, head_dim] -> [kv_heads, heads of one kv head, head_dim]."""
        heads, kv_heads, head_dim = self._heads, self._kv_heads, self._head_dim
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
        keys[-1][-1] = qk[heads:]
        values[-1][-1] = qkv[heads + kv_heads :]
        query = qk[:heads].reshape(kv_heads, -1, head_dim)
        query *= self._scale
        parts = [np.matmul(query, run.transpose(1, 2, 0)) for run in keys]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)  # [kv_heads, heads of one kv head, context]
        np.exp(scores, out=scores)
        mixed = _mixed(scores, values)
        mixed /= np.add.reduce(scores, axis=-1, keepdims=True)
        return mixed

    def _norm(self, x: Array, weight: Array, work: _Work) -> Array:
        out = work.normed
        if len(x) == 1:
            scale: float | Array = 1.0 / math.sqrt(float(x[0].dot(x[0])) / self._dim + self._eps)
        else:
            scale = 1.0 / np.sqrt(np.einsum("rd,rd->r", x, x) / self._dim + self._eps)[:, None]
        np.multiply(x, scale, out=out)
        out *= weight
        return out

    def _work_for(self, rows: int) -> _Work:
        if rows not in self._work:
            heads, dim = self._heads, self._head_dim
            widths = (self._dim, (heads + 2 * self._kv_heads) * dim, heads * dim, 2 * self._ffn_dim, self._dim)
            self._work[rows] = _Work(*(np.empty((rows, width), np.float32) for width in widths))
        return self._work[rows]


def _mixed(weights: Array, values: Runs) -> Array:
    """weights [kv_heads, heads of one kv head, context] -> [kv_heads, heads of one kv head, head_dim]."""
    mixed: Array = np.matmul(weights[..., : len(values[0])], values[0].transpose(1, 0, 2))
    begin = len(values[0])
    for run in values[1:]:
        mixed += np.matmul(weights[..., begin : begin + len(run)], run.transpose(1, 0, 2))
        begin += len(run)
    return mixed


def _shared(layer: Layer) -> _Weights:
    return _Weights(*(tensor.numpy() if isinstance(tensor, torch.Tensor) else None for tensor in layer))  # type: ignore[arg-type]
