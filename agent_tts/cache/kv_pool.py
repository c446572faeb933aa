"""The tensors behind the KV pages, and the view of them that one step reads and writes; knows no requests.

A row's context is the chain of its pages: position p of the context lies in slot pages[p // page_size] * page_size +
p % page_size. One more page at the end takes what ragged rows are padded with; nobody can see it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float32]

MAX_RUNS = 2
"""Pages in more pieces than this are copied side by side before NumPy reads them."""


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
        self._scratch = np.empty(0, np.float32)

    def gathered(self, array: Array, page_ids: Sequence[int], offset: int, length: int) -> Sequence[tuple[Array, ...]]:
        """Of each layer of `array` (k or v on NumPy) `length` positions of these pages from `offset` on, side by side.

        Each lies where the one before lay.
        """
        num_layers, _, kv_heads, head_dim = array.shape
        paged = array.reshape(num_layers, -1, self.page_size, kv_heads, head_dim)
        shape = (len(page_ids), *paged.shape[2:])
        size = math.prod(shape)
        if size > len(self._scratch):
            self._scratch = np.empty(size, np.float32)
        return _Gathered(paged, page_ids, slice(offset, offset + length), self._scratch[:size].reshape(shape))

    @property
    def padding_slot(self) -> int:
        """The slot that padded positions write to and read from."""
        return self.num_pages * self.page_size

    def copy(self, source: int, target: int, num_positions: int) -> None:
        """Give page `target` the first positions of page `source`, in all layers."""
        assert source != target, f"page {source} cannot be copied onto itself"
        assert 0 < num_positions <= self.page_size
        old, new = source * self.page_size, target * self.page_size
        for tensor in (self.k, self.v):
            tensor[:, new : new + num_positions] = tensor[:, old : old + num_positions]

    def view(
        self,
        page_tables: Sequence[Sequence[int]],
        starts: Sequence[int],
        lengths: Sequence[int],
        *,
        window: int | None = None,
        context: int | None = None,
    ) -> RowView | PagedView:
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
        for pages, start, length in zip(page_tables, starts, lengths, strict=True):
            room = len(pages) * self.page_size
            assert start + length <= room, f"{start + length} positions do not fit {len(pages)} pages"
        if len(page_tables) == 1 and context is None and (lengths[0] == 1 or _is_run(page_tables[0])):
            return RowView(self, page_tables[0], starts[0], lengths[0], window)
        return PagedView(self, page_tables, starts, lengths, window, context)


class RowArrays(NamedTuple):
    """One row's KV for NumPy, by layer.

    Attributes:
        keys, values: Of each layer slices [positions, kv_heads, head_dim], one behind the other; the new position last.
        new_keys, new_values: Where the new position of each layer is written before the others are asked for.
        num_positions: The new one included.
    """

    keys: Sequence[tuple[Array, ...]]
    values: Sequence[tuple[Array, ...]]
    new_keys: Sequence[Array]
    new_values: Sequence[Array]
    num_positions: int


class _Gathered(Sequence[tuple[Array, ...]]):
    """Of each layer some pages side by side, copied when asked for: at the speed of memory, where products are not."""

    def __init__(self, paged: Array, page_ids: Sequence[int], seen: slice, scratch: Array) -> None:
        self._paged, self._ids, self._scratch = paged, np.array(page_ids), scratch
        self._joined = scratch.reshape(-1, *paged.shape[3:])[seen]

    def __len__(self) -> int:
        return len(self._paged)

    def __getitem__(self, layer: Any) -> Any:
        np.take(self._paged[layer], self._ids, axis=0, out=self._scratch, mode="clip")
        return (self._joined,)


class RowView:
    """One row, read in place: its context is one slice, or a few where its pages do not lie side by side."""

    def __init__(self, pool: KVPool, pages: Sequence[int], start: int, length: int, window: int | None) -> None:
        end = start + length
        visible_from = 0 if window is None or length > 1 else max(0, end - window)
        self._pool, self._window, self._start, self._end = pool, window, start, end
        self._runs = _runs(pages, pool.page_size, visible_from, end)
        size = pool.page_size
        self._page_ids = pages[visible_from // size : -(-end // size)]
        self._offset, self._visible = visible_from % size, end - visible_from
        assert length == 1 or len(self._runs) == 1, "several new positions of scattered pages take a PagedView"

    @cached_property
    def _slices(self) -> _Slices:
        """Made when first asked for: whoever takes arrays() needs none."""
        pool, stop, length = self._pool, self._runs[-1].stop, self._end - self._start
        new = slice(stop - length, stop)
        mask: Tensor | None = None
        if length > 1:
            query = torch.arange(self._start, self._end, device=pool.k.device).view(1, -1, 1)
            mask = _visible(query, self._end, self._window, pool.k.device)
        return _Slices(
            pool.k[:, new].unsqueeze(1).unbind(0),
            pool.v[:, new].unsqueeze(1).unbind(0),
            [pool.k[:, run].unsqueeze(1).unbind(0) for run in self._runs],
            [pool.v[:, run].unsqueeze(1).unbind(0) for run in self._runs],
            mask,
        )

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write k, v [1, time, kv_heads, head_dim] and return all the row's positions, copied only if scattered."""
        slices = self._slices
        slices.new_k[layer].copy_(k)
        slices.new_v[layer].copy_(v)
        return _joined(slices.keys, layer), _joined(slices.values, layer), slices.mask

    def rows(self) -> list[RowView]:
        """The rows of this view, each by itself: this one."""
        return [self]

    def arrays(self) -> RowArrays:
        """Keys and values of each layer as NumPy slices [positions, kv_heads, head_dim], the new position last.

        They are the pool's own memory, or, of scattered pages, a copy that the next one overwrites. float32 on a CPU
        only.
        """
        pool, new = self._pool, self._runs[-1].stop - 1
        k, v = pool.k.numpy(), pool.v.numpy()
        if len(self._runs) > MAX_RUNS:
            keys, values = (pool.gathered(array, self._page_ids, self._offset, self._visible) for array in (k, v))
        else:
            keys, values = self._sliced(k), self._sliced(v)
        return RowArrays(keys, values, list(k[:, new]), list(v[:, new]), self._visible)

    def _sliced(self, array: Array) -> Sequence[tuple[Array, ...]]:
        return list(zip(*(list(array[:, run]) for run in self._runs), strict=True))


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
        self._pool, self._tables, self._starts, self._lengths = pool, page_tables, starts, lengths
        self._window, self._context = window, context

    @cached_property
    def _places(self) -> _Places:
        """Made when first asked for: whoever takes the rows one by one needs none."""
        pool, starts, device = self._pool, self._starts, self._pool.k.device
        ends = [start + length for start, length in zip(starts, self._lengths, strict=True)]
        num_context, time = max(self._context or 0, *ends, 1), max(*self._lengths, 1)
        slots = _slots(pool, self._tables, num_context)  # [rows, context]
        query = torch.tensor(list(starts), device=device).view(-1, 1, 1) + torch.arange(time, device=device).view(-1, 1)
        is_new = query < torch.tensor(ends, device=device).view(-1, 1, 1)  # [rows, time, 1], the rest is padding
        target = slots.gather(1, query.squeeze(-1).clamp(max=num_context - 1))
        write = torch.where(is_new.squeeze(-1), target, pool.padding_slot).flatten()
        mask = _visible(query, num_context, self._window, device)
        return _Places(slots.flatten(), write, mask, (len(ends), num_context))

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write k, v [rows, time, kv_heads, head_dim] and gather [rows, context, kv_heads, head_dim]."""
        keys, values, places = self._pool.k[layer], self._pool.v[layer], self._places
        keys.index_copy_(0, places.write, k.flatten(0, 1))
        values.index_copy_(0, places.write, v.flatten(0, 1))
        shape = (*places.shape, *keys.shape[1:])
        return (
            keys.index_select(0, places.read).view(shape),
            values.index_select(0, places.read).view(shape),
            places.mask,
        )

    def rows(self) -> list[RowView]:
        """The rows of this view, each by itself. One new position a row only."""
        rows = zip(self._tables, self._starts, self._lengths, strict=True)
        return [RowView(self._pool, pages, start, length, self._window) for pages, start, length in rows]


class _Slices(NamedTuple):
    """Of each layer, in the pool's own memory: [1, positions, kv_heads, head_dim]."""

    new_k: Sequence[Tensor]
    new_v: Sequence[Tensor]
    keys: Sequence[Sequence[Tensor]]
    values: Sequence[Sequence[Tensor]]
    mask: Tensor | None


class _Places(NamedTuple):
    read: Tensor  # [rows * context], slots
    write: Tensor  # [rows * time], slots
    mask: Tensor  # [rows, time, context]
    shape: tuple[int, int]  # rows, context


def _joined(runs: Sequence[Sequence[Tensor]], layer: int) -> Tensor:
    return runs[0][layer] if len(runs) == 1 else torch.cat([run[layer] for run in runs], dim=1)


def _runs(pages: Sequence[int], page_size: int, first: int, end: int) -> list[slice]:
    """Slots of the positions first .. end, as few slices as the pages allow."""
    runs: list[slice] = []
    for position in range(first // page_size * page_size, end, page_size):
        slot = pages[position // page_size] * page_size
        begin, stop = slot + max(0, first - position), slot + min(page_size, end - position)
        if runs and runs[-1].stop == begin:
            runs[-1] = slice(runs[-1].start, stop)
        else:
            runs.append(slice(begin, stop))
    return runs


def _is_run(pages: Sequence[int]) -> bool:
    return all(after == before + 1 for before, after in itertools.pairwise(pages))


def _slots(pool: KVPool, page_tables: Sequence[Sequence[int]], context: int) -> Tensor:
    """[rows, context]: the slot of each position; positions behind a row's pages lie in the padding page."""
    size, device = pool.page_size, pool.k.device
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
