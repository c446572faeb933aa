"""DecodeStack on a CPU in float32, on NumPy: a call costs a third, a product with one row half.

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


class RowStep(NamedTuple):
    """One new position of one row.

    Attributes:
        x: [dim].
        angles: [head_dim / 2], the turn of each pair at this position.
        keys, values: Of each layer all positions, the new one last. What a layer gives may be overwritten by the next.
        new_keys, new_values: Of each layer where the new position's are written, before the others are read.
        num_positions: Of a layer, the new one included.
    """

    x: Array
    angles: ComplexArray
    keys: Sequence[Runs]
    values: Sequence[Runs]
    new_keys: Sequence[Array]
    new_values: Sequence[Array]
    num_positions: int


class _Rows(NamedTuple):
    """The rows of one call together."""

    steps: Sequence[RowStep]
    angles: ComplexArray  # [positions, 1, head_dim / 2]
    scores: Array  # [positions, kv_heads, heads of one kv head, longest context]; -inf behind a row's own context
    weights: Array  # the same shape


class RowCache(Protocol):
    """The KV of one row."""

    def arrays(self) -> tuple[Sequence[Runs], Sequence[Runs], Sequence[Array], Sequence[Array], int]:
        """As RowStep has them."""
        ...


@runtime_checkable
class RowCaches(Protocol):
    """A KVCache whose rows can be taken one by one."""

    def rows(self) -> Sequence[RowCache]:
        """One for each row."""
        ...


def row_arrays(
    keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]
) -> tuple[list[Runs], list[Runs], list[Array], list[Array], int]:
    """Of tensors [1, positions, kv_heads, head_dim], one a layer, as forward() takes them; the same memory."""
    k, v = ([tensor.numpy()[0] for tensor in part] for part in (keys, values))
    return [(run,) for run in k], [(run,) for run in v], [run[-1] for run in k], [run[-1] for run in v], len(k[0])


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
        work, rows = self._work_for(len(x)), self._together(steps)
        with np.errstate(over="ignore"):  # exp of a large number: the gate is 0, as it should be
            for number, layer in enumerate(self._layers):
                self._attention(number, layer, x, rows, work)
                self._feed_forward(layer, x, work)
        return x

    def _together(self, steps: Sequence[RowStep]) -> _Rows:
        """These rows with their angles and places for their contexts."""
        shape = (len(steps), self._kv_heads, self._heads // self._kv_heads, max(step.num_positions for step in steps))
        scores = np.empty(shape, np.float32)
        for row, step in enumerate(steps):
            scores[row, ..., step.num_positions :] = -np.inf
        angles = np.stack([step.angles for step in steps])[:, None]
        return _Rows(steps, angles, scores, np.empty(shape, np.float32))

    def norm(self, x: Array) -> Array:
        """The final norm: [positions, dim] -> the same shape; valid until the next call."""
        return self._norm(x, self._final_norm, self._work_for(len(x)))

    def _attention(self, number: int, layer: _Weights, x: Array, rows: _Rows, work: _Work) -> None:
        np.dot(self._norm(x, layer.attention_norm, work), layer.wqkv, out=work.qkv)
        heads, kv_heads = self._heads, self._kv_heads
        qkv = work.qkv.reshape(len(x), -1, self._head_dim)
        qk, values = qkv[:, : heads + kv_heads], qkv[:, heads + kv_heads :]
        if layer.qk_norm is not None:
            self._norm_heads(qk, layer.qk_norm)
        pairs = qk.view(np.complex64)  # [rows, heads + kv_heads, head_dim / 2]
        pairs *= rows.angles
        for row, step in enumerate(rows.steps):
            step.new_keys[number][:] = qk[row, heads:]
            step.new_values[number][:] = values[row]
        query = qk[:, :heads].reshape(len(x), kv_heads, -1, self._head_dim)
        query *= self._scale
        self._attend(number, query, rows, work.mixed.reshape(query.shape))
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

    def _attend(self, number: int, query: Array, rows: _Rows, out: Array) -> None:
        """query [rows, kv_heads, heads of one kv head, head_dim] -> out. Only the products go row by row."""
        scores, weights = rows.scores, rows.weights
        for row, step in enumerate(rows.steps):
            begin = 0
            for run in step.keys[number]:
                end = begin + len(run)
                np.matmul(query[row], run.transpose(1, 2, 0), out=scores[row, ..., begin:end])
                begin = end
        np.subtract(scores, np.maximum.reduce(scores, axis=-1, keepdims=True), out=weights)
        np.exp(weights, out=weights)
        for row, step in enumerate(rows.steps):
            _mix(weights[row], step.values[number], out[row])
        out /= np.add.reduce(weights, axis=-1, keepdims=True)

    def _norm_heads(self, qk: Array, weight: Array) -> None:
        """Norm of each head, in place: [rows, heads + kv_heads, head_dim]."""
        scale = np.einsum("rhd,rhd->rh", qk, qk)
        scale /= self._head_dim
        scale += self._eps
        np.sqrt(scale, out=scale)
        qk /= scale[..., None]
        qk *= weight

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


def _mix(weights: Array, values: Runs, out: Array) -> None:
    """weights [kv_heads, heads of one kv head, context or more] -> out [kv_heads, heads of one kv head, head_dim]."""
    begin = len(values[0])
    np.matmul(weights[..., :begin], values[0].transpose(1, 0, 2), out=out)
    for run in values[1:]:
        out += np.matmul(weights[..., begin : begin + len(run)], run.transpose(1, 0, 2))
        begin += len(run)


def _shared(layer: Layer) -> _Weights:
    return _Weights(*(tensor.numpy() if isinstance(tensor, torch.Tensor) else None for tensor in layer))  # type: ignore[arg-type]
