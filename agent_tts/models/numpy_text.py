"""The bundled model's text encoder on NumPy, as texts grow: each token is computed once, for all texts in one product.

A block's output sees REACH inputs to either side, so it follows its inputs at that distance until the text is closed.
Equal to TextEncoder.forward() of the whole text up to rounding, however the text was cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from agent_tts.models.aligned_text import KERNEL_SIZE, REACH, TextBlock, TextEncoder
from agent_tts.nn.numpy_layers import Affine, affine, as_array, gelu, normalise

Array = npt.NDArray[np.float32]


class _Past:
    """What one block still needs of one text."""

    def __init__(self, dim: int) -> None:
        self.normed: Array = np.zeros((REACH, dim), np.float32)  # seen by outputs to come; zeros before the text
        self.inputs: Array = np.zeros((0, dim), np.float32)  # without an output so far


class GrowingText:
    """One text on its way through the blocks, made by NumpyTextEncoder.begin()."""

    def __init__(self, num_blocks: int, dim: int) -> None:
        self.past = [_Past(dim) for _ in range(num_blocks)]
        self.vectors: Array = np.zeros((0, dim), np.float32)
        """Encoded tokens [tokens, dim]: all but the last REACH * num_blocks, and all once the text is closed."""
        self.num_tokens = 0
        self.closed = False


class NumpyTextEncoder:
    """A TextEncoder in float32 on a CPU; its weights must not change after. Holds no state: texts are the caller's."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._embedding = as_array(encoder.embedding.weight)
        self._blocks = [_Block(block) for block in encoder.blocks if isinstance(block, TextBlock)]
        self._weight, self._bias, self._eps = (
            as_array(encoder.norm.weight),
            as_array(encoder.norm.bias),
            encoder.norm.eps,
        )

    def begin(self) -> GrowingText:
        """A text without tokens."""
        return GrowingText(len(self._blocks), self._embedding.shape[1])

    @torch.inference_mode()
    def extend(self, texts: Sequence[GrowingText], tokens: Sequence[Sequence[int]], closed: Sequence[bool]) -> None:
        """Add tokens (also none) to each of these different texts, and close some of them."""
        rows = [self._embedding[np.asarray(ids, np.int64)] for ids in tokens]
        for number, block in enumerate(self._blocks):
            rows = block(rows, [text.past[number] for text in texts], closed)
        for text, ids, new, ends in zip(texts, tokens, rows, closed, strict=True):
            assert not text.closed, "a closed text does not grow"
            encoded = normalise(new, self._eps) * self._weight + self._bias
            text.vectors = np.concatenate([text.vectors, encoded])
            text.num_tokens += len(ids)
            text.closed = ends


class _Block:
    """TextBlock."""

    def __init__(self, block: TextBlock) -> None:
        self._weight, self._bias, self._eps = as_array(block.norm.weight), as_array(block.norm.bias), block.norm.eps
        kernel = as_array(block.conv.weight.permute(2, 1, 0))  # [kernel, in, out]
        assert block.conv.bias is not None
        self._conv = Affine(kernel.reshape(-1, kernel.shape[2]), as_array(block.conv.bias))
        self._out = affine(block.out)

    def __call__(self, rows: Sequence[Array], past: Sequence[_Past], closed: Sequence[bool]) -> list[Array]:
        """New inputs of each text [new, dim] -> the outputs that they make possible, [any number, dim] each."""
        parts = [self._advance(x, before, ends) for x, before, ends in zip(rows, past, closed, strict=True)]
        windows = np.concatenate([seen for _, seen in parts])
        out: Array = np.concatenate([x for x, _ in parts])
        out += self._out(gelu(self._conv(windows)))
        return np.split(out, np.cumsum([len(x) for x, _ in parts[:-1]]))

    def _advance(self, x: Array, past: _Past, ends: bool) -> tuple[Array, Array]:
        """The inputs that get their outputs now [ready, dim], and what those see [ready, KERNEL_SIZE * dim]."""
        behind = np.zeros((REACH if ends else 0, x.shape[1]), np.float32)
        seen_from = normalise(x, self._eps) * self._weight + self._bias
        normed: Array = np.concatenate([past.normed, seen_from, behind])
        x = np.concatenate([past.inputs, x])
        ready = max(0, len(normed) - 2 * REACH)
        seen = np.concatenate([normed[offset : offset + ready] for offset in range(KERNEL_SIZE)], axis=1)
        past.normed, past.inputs = normed[ready:], x[ready:]
        return x[:ready], seen
