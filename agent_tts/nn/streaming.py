"""Explicit per-slot state of streaming blocks; knows tensors and slots, not what they compute.

A streaming module keeps nothing between calls. It offers

    state = module.init_state(slots)               # one row per slot
    y = module.step(x, state, slot_ids)            # x: [rows, ...], row i belongs to slot_ids[i]
    state.reset(slot_ids)                          # these slots begin anew, no other changes

`slot_ids` is a long tensor without repeats; None means "all slots, in order". Any chunking of the
time axis gives what one long call gives.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class StreamState(Protocol):
    """What a streaming block carries between two steps."""

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """Put these slots (None: all) back to their first state."""


class StreamingModule(Protocol):
    """A block that can run chunk by chunk."""

    def init_state(
        self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StreamState:
        """State for that many slots, owned by the caller."""

    def step(self, x: Tensor, state: StreamState, slot_ids: Tensor | None = None) -> Tensor:
        """Advance the given slots by the chunk `x` and return their output."""


class TensorState:
    """One tensor whose first axis is the slot."""

    def __init__(self, value: Tensor) -> None:
        """Take ownership of `value`; its present content is the first state of every slot."""
        self.value = value
        self._initial = value[:1].clone()

    def gather(self, slot_ids: Tensor | None) -> Tensor:
        """Rows of these slots; with None the tensor itself, which must not be written to."""
        return self.value if slot_ids is None else self.value.index_select(0, slot_ids)

    def put(self, value: Tensor, slot_ids: Tensor | None) -> None:
        """Store the rows of these slots."""
        if slot_ids is None:
            self.value.copy_(value)
        else:
            self.value.index_copy_(0, slot_ids, value)

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """Put these slots (None: all) back to their first state."""
        if slot_ids is None:
            self.value.copy_(self._initial.expand_as(self.value))
        else:
            rows = self._initial.expand(len(slot_ids), *self.value.shape[1:])
            self.value.index_copy_(0, slot_ids, rows)


class StateList:
    """States of the parts of a composite block, in the order of the parts."""

    def __init__(self, states: Sequence[StreamState]) -> None:
        """Group the states; they stay owned by this list."""
        self._states = list(states)

    def __iter__(self) -> Iterator[StreamState]:
        return iter(self._states)

    def __getitem__(self, index: int) -> StreamState:
        return self._states[index]

    def __len__(self) -> int:
        return len(self._states)

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """Put these slots (None: all) back to their first state."""
        for state in self._states:
            state.reset(slot_ids)


class StreamingSequential(nn.Sequential):
    """Blocks one after another; those without `step` are pointwise in time and carry no state."""

    def init_state(self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> StateList:
        """State of every streaming block, in order."""
        streaming = (cast(StreamingModule, module) for module in self if hasattr(module, "step"))
        return StateList([module.init_state(slots, device, dtype) for module in streaming])

    def step(self, x: Tensor, state: StateList, slot_ids: Tensor | None = None) -> Tensor:
        """Advance the given slots by one chunk."""
        states = iter(state)
        for module in self:
            x = cast(StreamingModule, module).step(x, next(states), slot_ids) if hasattr(module, "step") else module(x)
        return x
