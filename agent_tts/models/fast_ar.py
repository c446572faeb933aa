"""The transformer along codebooks inside one frame: hidden state in, one code per codebook out, one position at a time.

Position 0 takes the Slow AR's hidden state and its logits are not used; position k >= 1 takes the embedding of code
k - 1 and its logits decide code k. The cache spans one frame and is overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import ModelConfig, WeightFormat
from agent_tts.models import numpy_stack
from agent_tts.models.decode_stack import DecodeStack, turned_over
from agent_tts.models.numpy_stack import NumpyStack, RowStep
from agent_tts.nn.attention import Transformer


class FastAR(nn.Module):
    """Embedding shared by all codebooks, blocks and head of the Fast AR. FastDecoder runs it position by position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        fast = config.fast
        self.config = config
        self.project_in = nn.Identity() if fast.dim == config.slow.dim else nn.Linear(config.slow.dim, fast.dim)
        self.embeddings = nn.Embedding(config.codebook_size, fast.dim)
        self.transformer = Transformer(fast)
        self.output = nn.Linear(fast.dim, config.codebook_size, bias=False)

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """All logits of frames whose codes are known, for training and for tests.

        Args:
            hidden: [rows, slow dim], SlowAR.hidden().
            codes: [rows, codebooks - 1] int64, without the last one.

        Returns:
            [rows, codebooks, codebook_size]; those at position k decide code k, those at 0 nothing.
        """
        x = torch.cat([self.project_in(hidden).unsqueeze(1), self.embeddings(codes)], dim=1)
        logits: Tensor = self.output(self.transformer.norm(self.transformer(x)))
        return logits


class _FrameCache:
    """Keys and values of the positions of one frame. The slices a pass needs are made once and kept."""

    def __init__(self, config: ModelConfig, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        fast = config.fast
        shape = (fast.num_layers, rows, config.num_codebooks, fast.num_kv_heads, fast.head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)
        first = torch.zeros(2, 2, dtype=dtype, device=device)
        first[0, 1] = float("-inf")
        self._first_mask = first.unsqueeze(1).repeat(rows, 1, 1)  # [2 * rows, 1, 2]
        self._slices: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}
        self._now: list[tuple[Tensor, ...]] = []

    def begin(self, rows: int, position: int) -> None:
        """The next pass writes this position of the first `rows` rows and sees all up to it."""
        if (rows, position) not in self._slices:
            self._slices[rows, position] = [
                self._cut(k[:rows], v[:rows], position) for k, v in zip(self._k, self._v, strict=True)
            ]
        self._now = self._slices[rows, position]

    @staticmethod
    def _cut(k: Tensor, v: Tensor, position: int) -> tuple[Tensor, ...]:
        end = position + 1
        return k[:, position:end], v[:, position:end], k[:, :end], v[:, :end]

    @property
    def keys(self) -> list[Tensor]:
        """Of each layer [rows, context, kv_heads, head_dim], the new place last."""
        return [layer[2] for layer in self._now]

    @property
    def values(self) -> list[Tensor]:
        """As keys."""
        return [layer[3] for layer in self._now]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """k, v [rows, 1, kv_heads, head_dim]; the KVCache protocol of nn/attention.py.

        With two rows for each row of the cache they are its positions 0 and 1.
        """
        new_k, new_v, keys, values = self._now[layer]
        if len(k) == len(keys):
            new_k.copy_(k)
            new_v.copy_(v)
            return keys, values, None
        keys.copy_(k.view(keys.shape))
        values.copy_(v.view(values.shape))
        return _twice(keys), _twice(values), self._first_mask[: len(k)]


def _twice(x: Tensor) -> Tensor:
    """[rows, ...] -> [2 * rows, ...], each row two times."""
    return x.unsqueeze(1).expand(-1, 2, *x.shape[1:]).flatten(0, 1)


class FastDecoder:
    """Runs a FastAR one position at a time. Owns a cache of one frame for up to `rows` requests."""

    def __init__(self, fast: FastAR, rows: int, weights: WeightFormat = "full") -> None:
        weight = fast.output.weight
        self._fast = fast
        self._stack = DecodeStack(fast.transformer, weights)
        self._cache = _FrameCache(fast.config, rows, weight.dtype, weight.device)
        positions = torch.arange(fast.config.num_codebooks, device=weight.device)
        self._angles = [self._stack.angles(position) for position in positions.unsqueeze(1)]
        self._first_angles = {count: self._stack.angles(positions[:2].repeat(count)) for count in (1, rows)}
        self._head = weight.detach()[: fast.config.fast_legal_codes]  # [candidates, dim]
        self.alone = (
            AloneDecoder(fast, self._stack, self._cache, self._angles) if numpy_stack.fits(self._stack) else None
        )
        """For one row on a CPU in float32; None elsewhere. Shares this decoder's cache."""

    def codes(self, hidden: Tensor, first: Tensor, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """All codes of one frame.

        Args:
            hidden: [rows, slow dim], SlowAR.hidden() of the last position.
            first: [rows], the semantic code.
            choose: Given k and the logits [rows, candidates], returns code k [rows].

        Returns:
            [rows, codebooks] int64, `first` in front.
        """
        x = self._begin(self._fast.project_in(hidden), self._embed(first))
        codes = [first]
        for position in range(1, self._fast.config.num_codebooks):
            if position > 1:
                self._cache.begin(len(first), position)
                x = self._stack.forward(self._embed(codes[-1]), self._angles[position], self._cache)
            codes.append(choose(position, F.linear(self._stack.norm(x), self._head)))
        return torch.stack(codes, dim=1)

    def _embed(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self._fast.embeddings.weight)

    def _begin(self, hidden: Tensor, first: Tensor) -> Tensor:
        """Positions 0 and 1 in one pass, [rows, dim] each: the weights are read once for both."""
        rows = len(hidden)
        if rows not in self._first_angles:
            positions = torch.arange(2, device=hidden.device).repeat(rows)
            self._first_angles[rows] = self._stack.angles(positions)
        self._cache.begin(rows, 1)
        both = torch.stack([hidden, first], dim=1).flatten(0, 1)
        return self._stack.forward(both, self._first_angles[rows], self._cache)[1::2]


class AloneDecoder:
    """FastDecoder for one row on NumPy: nothing of PyTorch between two codes."""

    def __init__(self, fast: FastAR, stack: DecodeStack, cache: _FrameCache, angles: Sequence[Tensor]) -> None:
        self._project_in = fast.project_in
        self._stack = NumpyStack(stack)
        self._embeddings = fast.embeddings.weight.detach().numpy()
        self._head = turned_over(fast.output).numpy()[:, : fast.config.fast_legal_codes]  # [dim, candidates]
        self._angles = [angle.numpy().reshape(-1) for angle in angles]
        self._places = []
        for position in range(len(angles)):
            cache.begin(1, position)
            self._places.append(numpy_stack.row_arrays(cache.keys, cache.values))

    def codes(self, hidden: Tensor, first: int, choose: Callable[[int, numpy_stack.Array], int]) -> list[int]:
        """As FastDecoder.codes() with hidden [1, slow dim]; `choose` is given logits [candidates]."""
        x = self._begin(self._project_in(hidden)[0].numpy(), first)
        codes = [first]
        for position in range(1, len(self._places)):
            if position > 1:
                x = self._stack.forward([self._at(position, self._embeddings[codes[-1]])])
            codes.append(choose(position, (self._stack.norm(x) @ self._head)[0]))
        return codes

    def _begin(self, hidden: numpy_stack.Array, first: int) -> numpy_stack.Array:
        """Positions 0 and 1 in one pass: the semantic code is known before the first of them."""
        steps = [self._at(0, hidden), self._at(1, self._embeddings[first])]
        return self._stack.forward(steps)[1:]

    def _at(self, position: int, x: numpy_stack.Array) -> RowStep:
        return RowStep(x, self._angles[position], *self._places[position])
