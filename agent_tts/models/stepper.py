"""One new position in each row through a Transformer, the fastest way that the machine and the rows allow.

Equal to Transformer.forward() with one position a row. Makes the choice, holds no state: the KV comes with each call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent_tts.models import numpy_stack
from agent_tts.models.decode_stack import DecodeStack
from agent_tts.models.numpy_stack import NumpyStack, RowCaches, RowStep
from agent_tts.nn.attention import KVCache, Transformer


class Stepper:
    """Make it once, after loading: the transformer's weights are laid out anew (shared, not copied)."""

    def __init__(self, transformer: Transformer) -> None:
        self._stack = DecodeStack(transformer)
        self._numpy = NumpyStack(self._stack) if numpy_stack.fits(self._stack) else None

    def step(self, x: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        """x [rows, dim], positions [rows], absolute -> [rows, dim] before the final norm.

        A cache whose rows can be taken one by one (cache/kv_pool.py) goes through NumPy on a CPU in float32: with many
        rows of long contexts it takes little more than half of the time.
        """
        angles = self._stack.angles(positions)
        if self._numpy is None or not isinstance(cache, RowCaches):
            return self._stack.forward(x, angles, cache)
        rows = zip(x.numpy(), angles.squeeze(1).numpy(), cache.rows(), strict=True)
        return torch.from_numpy(self._numpy.forward([RowStep(row, turn, *kv.arrays()) for row, turn, kv in rows]))
