"""The transformer along codebooks inside one frame: hidden state in, one code per codebook out, one position at a time.

Position 0 takes the Slow AR's hidden state and its logits are not used; position k >= 1 takes the embedding of code
k - 1 and its logits decide code k. The cache spans one frame and is overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import ModelConfig
from agent_tts.nn.attention import Transformer


class FrameCache:
    """Keys and values of the positions of one frame, for up to `rows` requests. Reused from frame to frame."""

    def __init__(self, config: ModelConfig, rows: int, dtype: torch.dtype, device: torch.device | str) -> None:
        fast = config.fast
        shape = (fast.num_layers, rows, config.num_codebooks, fast.num_kv_heads, fast.head_dim)
        self._k = torch.zeros(shape, dtype=dtype, device=device)
        self._v = torch.zeros(shape, dtype=dtype, device=device)
        self._end = 0

    def begin(self, position: int) -> None:
        """The next pass writes this position and sees all up to it."""
        self._end = position

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, None]:
        """k, v [rows, 1, kv_heads, head_dim]; the KVCache protocol of nn/attention.py."""
        rows, end = k.shape[0], self._end + 1
        self._k[layer, :rows, self._end] = k[:, 0]
        self._v[layer, :rows, self._end] = v[:, 0]
        return self._k[layer, :rows, :end], self._v[layer, :rows, :end], None


class FastAR(nn.Module):
    """Embedding shared by all codebooks, blocks and head of the Fast AR."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        fast = config.fast
        self.config = config
        self.project_in = nn.Identity() if fast.dim == config.slow.dim else nn.Linear(config.slow.dim, fast.dim)
        self.embeddings = nn.Embedding(config.codebook_size, fast.dim)
        self.transformer = Transformer(fast)
        self.output = nn.Linear(fast.dim, config.codebook_size, bias=False)

    def new_cache(self, rows: int) -> FrameCache:
        """Room for one frame of so many requests, owned by the caller."""
        weight = self.output.weight
        return FrameCache(self.config, rows, weight.dtype, weight.device)

    def step(self, x: Tensor, position: int, cache: FrameCache) -> Tensor:
        """One position of a frame: [rows, dim] -> [rows, dim], before the final norm."""
        cache.begin(position)
        positions = torch.full((1, 1), position, device=x.device)
        out: Tensor = self.transformer(x.unsqueeze(1), positions, cache)
        return out.squeeze(1)

    def logits(self, x: Tensor) -> Tensor:
        """[rows, dim] -> the legal candidates [rows, fast_legal_codes], or all of the codebook."""
        return F.linear(self.transformer.norm(x), self.output.weight[: self.config.fast_legal_codes])

    def codes(
        self, hidden: Tensor, first: Tensor, choose: Callable[[int, Tensor], Tensor], cache: FrameCache
    ) -> Tensor:
        """All codes of one frame.

        Args:
            hidden: [rows, slow dim], SlowAR.hidden() of the last position.
            first: [rows], the semantic code.
            choose: Given k and the logits [rows, candidates], returns code k [rows].
            cache: From new_cache() with at least so many rows.

        Returns:
            [rows, codebooks] int64, `first` in front.
        """
        self.step(self.project_in(hidden), 0, cache)
        codes = [first]
        for position in range(1, self.config.num_codebooks):
            x = self.step(self.embeddings(codes[-1]), position, cache)
            codes.append(choose(position, self.logits(x)))
        return torch.stack(codes, dim=1)
