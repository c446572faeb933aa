"""The tensors behind the KV pages, and the view of them that one step reads and writes; knows no requests.

A row's context is the chain of its pages: position p of the context lies in slot pages[p // page_size] * page_size +
p % page_size. One more page at the end takes what ragged rows are padded with; nobody can see it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


class KVPool:
    """Keys and values of all layers, page by page. The allocator in pages.py decides who owns which page."""

    def __init__(
        self,
        num_layers: int,
        num_pages: int,
        page_size: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.page_size = page_size
        self.num_pages = num_pages
        slots = (num_pages + 1) * page_size
        shape = (num_layers, slots, kv_heads, head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)  # [layers, slots, kv_heads, head_dim]
        self.v = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def padding_slot(self) -> int:
        """The slot that padded positions write to and read from."""
        return self.num_pages * self.page_size

    @property
    def bytes_per_page(self) -> int:
        """Memory of one page over all layers, keys and values."""
        per_slot = self.k[:, 0].numel() * self.k.element_size()
        return 2 * per_slot * self.page_size

    def view(
        self,
        page_tables: Sequence[Sequence[int]],
        starts: Sequence[int],
        lengths: Sequence[int],
        *,
        window: int | None = None,
        context: int | None = None,
    ) -> RunView | PagedView:
        """What one forward pass sees of the pool.

        Args:
            page_tables: Pages of each row, in order, enough for starts + lengths positions.
            starts: Positions of each row that are computed already.
            lengths: New positions of each row; rows are padded on the right to the longest.
            window: Positions behind and including its own that a query sees; None = all.
            context: Pad the context to so many positions, so that shapes repeat from step to step.

        Returns:
            A KVCache (nn/attention.py) for exactly one pass. It borrows the pool's tensors.
        """
        if len(page_tables) == 1 and context is None and _is_run(page_tables[0]):
            first = page_tables[0][0] * self.page_size
            return RunView(self, first, starts[0], lengths[0], window)
        return PagedView(self, page_tables, starts, lengths, window, context)


class RunView:
    """One row whose pages lie side by side: its context is a slice, nothing is gathered."""

    def __init__(self, pool: KVPool, first_slot: int, start: int, length: int, window: int | None) -> None:
        end = start + length
        visible_from = 0 if window is None or length > 1 else max(0, end - window)
        new = slice(first_slot + start, first_slot + end)
        context = slice(first_slot + visible_from, first_slot + end)
        self._new_k, self._new_v = pool.k[:, new].unsqueeze(1).unbind(0), pool.v[:, new].unsqueeze(1).unbind(0)
        self.keys, self.values = pool.k[:, context].unsqueeze(1).unbind(0), pool.v[:, context].unsqueeze(1).unbind(0)
        self._mask: Tensor | None = None
        if length > 1:
            query = torch.arange(start, end, device=pool.k.device).view(1, -1, 1)
            self._mask = _visible(query, end, window, pool.k.device)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write k, v [1, time, kv_heads, head_dim] and return the slice of all the row's positions."""
        self._new_k[layer].copy_(k)
        self._new_v[layer].copy_(v)
        return self.keys[layer], self.values[layer], self._mask


class PagedView:
    """Ragged rows: writes through flat slot indices, reads gathered by page table, all shapes padded."""

    def __init__(
        self,
        pool: KVPool,
        page_tables: Sequence[Sequence[int]],
        starts: Sequence[int],
        lengths: Sequence[int],
        window: int | None,
        context: int | None,
    ) -> None:
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        num_context, time, device = max(context or 0, *ends, 1), max(*lengths, 1), pool.k.device
        slots = _slots(pool, page_tables, ends, num_context)  # [rows, context]
        query = torch.tensor(list(starts), device=device).view(-1, 1, 1) + torch.arange(time, device=device).view(-1, 1)
        is_new = query < torch.tensor(ends, device=device).view(-1, 1, 1)  # [rows, time, 1], the rest is padding
        target = slots.gather(1, query.squeeze(-1).clamp(max=num_context - 1))
        self._rows, self._num_context, self._pool = len(ends), num_context, pool
        self._read = slots.flatten()  # [rows * context]
        self._write = torch.where(is_new.squeeze(-1), target, pool.padding_slot).flatten()  # [rows * time]
        self._mask = _visible(query, num_context, window, device)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write k, v [rows, time, kv_heads, head_dim] and gather [rows, context, kv_heads, head_dim]."""
        keys, values = self._pool.k[layer], self._pool.v[layer]
        keys.index_copy_(0, self._write, k.flatten(0, 1))
        values.index_copy_(0, self._write, v.flatten(0, 1))
        shape = (self._rows, self._num_context, *keys.shape[1:])
        return keys.index_select(0, self._read).view(shape), values.index_select(0, self._read).view(shape), self._mask


def _is_run(pages: Sequence[int]) -> bool:
    return all(after == before + 1 for before, after in itertools.pairwise(pages))


def _slots(pool: KVPool, page_tables: Sequence[Sequence[int]], ends: Sequence[int], context: int) -> Tensor:
    """[rows, context]: the slot of each position; positions behind a row's pages lie in the padding page."""
    size, device = pool.page_size, pool.k.device
    for pages, end in zip(page_tables, ends, strict=True):
        assert end <= len(pages) * size, f"{end} positions do not fit {len(pages)} pages of {size}"
    num_pages = -(-context // size)
    filled = [[*pages[:num_pages], *[pool.num_pages] * (num_pages - len(pages))] for pages in page_tables]
    first = torch.tensor(filled, device=device).unsqueeze(-1) * size  # [rows, pages, 1]
    return (first + torch.arange(size, device=device)).flatten(1)[:, :context]


def _visible(query: Tensor, context: int, window: int | None, device: torch.device) -> Tensor:
    """[rows, time, context] bool: up to the query's own position and inside the window.

    A padded query stands behind its row's end and sees valid keys before it; a padded key is behind every valid query.
    """
    key = torch.arange(context, device=device).view(1, 1, -1)
    visible = key <= query
    return visible if window is None else visible & (key > query - window)
