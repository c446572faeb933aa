"""The bundled Dual-AR's heads and Fast AR for one frame of each row, on NumPy: AlignedDualAR in a third of the time.

PyTorch spends such a frame between its kernels: a few hundred calls on vectors of 200 numbers. The Slow AR's blocks
are models/stepper.py's. Reads the model once; holds no state between frames. Not for two threads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.aligned_fast import FrameBlock, TiedHead
from agent_tts.nn.numpy_layers import Affine, Array, affine, affine_after, as_array, normalise, silu_times

Codes = npt.NDArray[np.int64]
Draw = Callable[[int, Array], Codes]
"""Given a codebook and its logits [rows, codebook_size], the chosen codes [rows]."""


class AlignedDecoder:
    """A frozen model (AlignedDualAR.freeze) in float32 on a CPU."""

    def __init__(self, model: AlignedDualAR) -> None:
        fast = model.fast
        self._tables = as_array(model.codebooks)  # [books, size, latent_dim]
        self._scale = float(model.latent_scale)
        self._progress = as_array(model.progress.weight)
        self._from_code = as_array(model.from_code.weight)
        self._from_latent = affine(model.from_latent)
        self._advance = affine(model.advance_head)
        self._advance_embedding = as_array(model.advance_embedding.weight)
        self._first_head = _Head(model.code_head)
        self._hidden_in, self._latent_in = affine(fast.from_hidden), affine(fast.from_latent)
        self._book = as_array(fast.book.weight)
        self._blocks = [_Block(block) for block in fast.blocks if isinstance(block, FrameBlock)]
        self._norm_weight, self._norm_bias = as_array(fast.norm.weight), as_array(fast.norm.bias)
        self._norm_eps = fast.norm.eps
        self._heads = [_Head(head) for head in fast.heads if isinstance(head, TiedHead)]

    def inputs(self, text: Array, progress: Codes, previous: Codes) -> Array:
        """What the Slow AR reads: AlignedDualAR.frame_inputs().

        Args:
            text: Encoded text at each row's pointer: [rows, slow dim].
            progress: Frames spent on that token before this one: [rows].
            previous: Codes of the frame before, or AlignedDualAR.start_codes(): [rows, codebooks].
        """
        out: Array = text + self._progress[np.minimum(progress, len(self._progress) - 1)]
        out += self._from_latent(self._latent(previous) * self._scale)
        out += self._from_code[previous[:, 0]]
        return out

    def advance_logits(self, hidden: Array) -> Array:
        """[rows, slow dim] -> [rows, max_advance + 1]."""
        return self._advance(hidden)

    def c0_logits(self, hidden: Array, advance: Codes) -> Array:
        """[rows, slow dim] and the advance drawn [rows] -> [rows, codebook_size]."""
        return self._first_head(hidden + self._advance_embedding[advance])

    def codes(self, hidden: Array, first: Codes, draw: Draw) -> Codes:
        """All codes of the frame, code 0 in front: hidden [rows, slow dim], first [rows] -> [rows, codebooks]."""
        base, codes = self._hidden_in(hidden), [first]
        total = self._tables[0][first]
        past = [block.empty(len(first), len(self._heads)) for block in self._blocks]
        for k, head in enumerate(self._heads):
            x = self._latent_in(total * self._scale)
            x += base
            x += self._book[k]
            for block, cache in zip(self._blocks, past, strict=True):
                block(x, cache, k)
            normed = normalise(x, self._norm_eps)
            normed *= self._norm_weight
            normed += self._norm_bias
            codes.append(draw(k + 1, head(normed)))
            total = total + self._tables[k + 1][codes[-1]]
        return np.stack(codes, axis=1)

    def _latent(self, codes: Codes) -> Array:
        """Sum of quantizer vectors, nothing for "none": [rows, codebooks] -> [rows, latent_dim]."""
        books, size, _ = self._tables.shape
        vectors = self._tables[np.arange(books), np.minimum(codes, size - 1)]
        vectors *= (codes < size)[..., None]
        out: Array = np.add.reduce(vectors, axis=1)
        return out


class _Head:
    """TiedHead, frozen: logits of one codebook."""

    def __init__(self, head: TiedHead) -> None:
        self._query = affine(head.query)
        self._joined = Affine(as_array(head.joined.t()), as_array(head.bias))

    def __call__(self, x: Array) -> Array:
        """[rows, dim] -> [rows, codebook_size]."""
        return self._joined(self._query(x))


@dataclass(frozen=True, slots=True)
class _Past:
    """Keys and values of one frame's positions in one block."""

    keys: Array  # [rows, heads, head_dim, positions]
    values: Array  # [rows, heads, positions, head_dim]


class _Block:
    """FrameBlock for one position at a time."""

    def __init__(self, block: FrameBlock) -> None:
        self._heads = block.num_heads
        self._qkv = affine_after(block.attention_norm, block.wqkv)
        self._out = affine(block.wo)
        self._up = affine_after(block.ffn_norm, block.w13)
        self._down = affine(block.w2)
        self._eps = block.ffn_norm.eps
        self._head_dim = block.wo.in_features // block.num_heads
        self._qkv.weight[:, : block.wo.in_features] *= self._head_dim**-0.5
        assert self._qkv.bias is not None
        self._qkv.bias[: block.wo.in_features] *= self._head_dim**-0.5

    def empty(self, rows: int, positions: int) -> _Past:
        keys = np.empty((rows, self._heads, self._head_dim, positions), np.float32)
        return _Past(keys, np.empty((rows, self._heads, positions, self._head_dim), np.float32))

    def __call__(self, x: Array, past: _Past, position: int) -> None:
        """Add both branches to x [rows, dim], and this position to `past`."""
        rows, heads, dim, end = len(x), self._heads, self._head_dim, position + 1
        qkv = self._qkv(normalise(x, self._eps)).reshape(rows, 3, heads, dim)
        past.keys[..., position] = qkv[:, 1]
        past.values[:, :, position] = qkv[:, 2]
        if position == 0:
            mixed = qkv[:, 2]
        else:
            scores = np.matmul(qkv[:, 0, :, None], past.keys[..., :end])  # [rows, heads, 1, end]
            scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= np.add.reduce(scores, axis=-1, keepdims=True)
            mixed = np.matmul(scores, past.values[:, :, :end])
        x += self._out(mixed.reshape(rows, -1))
        up = self._up(normalise(x, self._eps))
        half = up.shape[1] // 2
        x += self._down(silu_times(up[:, :half], up[:, half:]))
