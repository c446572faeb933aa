"""Keys and values of the last positions of each slot, for a transformer that streams with a window. A ring, no pages.

A ring of window - 1 + max_chunk places holds all that the queries of one chunk may see. Place r holds the newest
position p with p % places = r; what a slot held before its reset is told apart by p < 0.

    places   0   1   2   3   4   5          window 4, max_chunk 3, next position 8, chunk of 2
    holds    6   7   8   9   4   5          query 8 sees 5..8, query 9 sees 6..9
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent_tts.config import TransformerConfig


class WindowKV:
    """State of a streaming transformer; one row per slot."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        max_chunk: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        assert config.window is not None, "a transformer without a window needs pages, not a ring"
        self.window, self.max_chunk = config.window, max_chunk
        self.places = config.window - 1 + max_chunk
        shape = (config.num_layers, slots, self.places, config.num_kv_heads, config.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.position = torch.zeros(slots, dtype=torch.long, device=device)  # next absolute position of each slot

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """Put these slots (None: all) back to the start of a stream."""
        if slot_ids is None:
            self.position.zero_()
        else:
            self.position.index_fill_(0, slot_ids, 0)

    def advance(self, time: int, slot_ids: Tensor | None) -> WindowView:
        """Take the next `time` positions of these slots (None: all, in order); the view serves one forward pass."""
        assert time <= self.max_chunk, f"a chunk of {time} does not fit a ring made for {self.max_chunk}"
        view = WindowView(self, time, slot_ids)
        self.position[slice(None) if slot_ids is None else slot_ids] += time
        return view


class WindowView:
    """What one chunk sees: a KVCache (nn/attention.py), and the absolute `positions` [rows, time] of the chunk."""

    def __init__(self, ring: WindowKV, time: int, slot_ids: Tensor | None) -> None:
        device = ring.position.device
        first = ring.position if slot_ids is None else ring.position[slot_ids]  # [rows]
        self.positions = first.unsqueeze(1) + torch.arange(time, device=device)
        self._ring, self._slots = ring, slot_ids
        self._rows = torch.arange(len(first), device=device) if slot_ids is None else slot_ids
        self._target = self.positions % ring.places
        last = self.positions[:, -1:]  # [rows, 1]
        places = torch.arange(ring.places, device=device)
        held = (last - (last - places) % ring.places).unsqueeze(1)  # [rows, 1, places], absolute position
        query = self.positions.unsqueeze(-1)
        self._mask = (held >= 0) & (held <= query) & (held > query - ring.window)  # [rows, time, places]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """k, v [rows, time, kv_heads, head_dim] -> all places of the rows' slots."""
        keys, values = self._ring.k[layer], self._ring.v[layer]
        keys[self._rows.unsqueeze(1), self._target] = k
        values[self._rows.unsqueeze(1), self._target] = v
        if self._slots is not None:
            keys, values = keys[self._slots], values[self._slots]
        return keys, values, self._mask
