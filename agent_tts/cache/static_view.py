"""The pool as one pass of fixed shape sees it: page table and positions are tensors on the device, the context a bound.

Nothing here depends on a value, so a CUDA graph can hold it: every row reads `context` positions through its page
table, and those behind its own are masked. Rows that are not in use point to the padding page.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent_tts.cache.kv_pool import KVPool


class StaticView:
    """A KVCache (nn/attention.py) for one pass. Its mask is additive, in the pool's dtype: 0 or -inf."""

    def __init__(self, pool: KVPool, pages: Tensor, positions: Tensor, context: int) -> None:
        """Work out where to write and to read, once for all layers.

        Args:
            pages: [rows, at least ceil(context / page_size)] int64.
            positions: [rows, time] of the new columns, each below `context`.
            context: Positions that are read of each row.
        """
        size, device = pool.page_size, pages.device
        kv_heads = pool.k.shape[2]
        chain = pages[:, : -(-context // size)].unsqueeze(-1) * size + torch.arange(size, device=device)
        slots = chain.flatten(1)[:, :context]  # [rows, context]
        heads = torch.arange(kv_heads, device=device).view(1, -1, 1)
        self._pool = pool
        self._write = slots.gather(1, positions).flatten()
        self._read = (slots.unsqueeze(1) * kv_heads + heads).flatten()  # of each row first all positions of one head
        self._shape = (len(pages), kv_heads, context, pool.k.shape[3])
        hidden = torch.arange(context, device=device) > positions.unsqueeze(-1)
        self._mask = torch.zeros(hidden.shape, dtype=pool.k.dtype, device=device).masked_fill(hidden, float("-inf"))

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write k, v [rows, time, kv_heads, head_dim]; read the context, for each head in one piece."""
        return self._exchange(self._pool.k[layer], k), self._exchange(self._pool.v[layer], v), self._mask

    def _exchange(self, stored: Tensor, new: Tensor) -> Tensor:
        stored.index_copy_(0, self._write, new.flatten(0, 1))
        return stored.flatten(0, 1).index_select(0, self._read).view(self._shape).transpose(1, 2)
