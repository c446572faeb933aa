"""A GPU that is not there: PyTorch's fake tensors run a step's every operation on "cuda" and compute nothing.

They refuse what a captured step may not do: look at a value (item, nonzero), and mix the host's tensors with the
device's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from agent_tts.nn import crossing

CUDA = torch.device("cuda", 0)


class HostBytes:
    """The little that is asked of host memory, without a tensor: under the fake mode a real one could not be filled."""

    def __init__(self, size: int) -> None:
        self._bytes = np.zeros(size, np.uint8)

    def numpy(self) -> np.ndarray:
        return self._bytes

    def __getitem__(self, piece: slice) -> HostBytes:
        return self


class FakeCrossing(crossing.Crossing):
    """Its host side is real memory, its device side is fake: nothing can be copied, all copies are counted."""

    def host_bytes(self, size: int) -> HostBytes:
        return HostBytes(size)

    def up(self, host: Tensor, device: Tensor) -> None:
        assert isinstance(host, HostBytes)
        assert device.device == CUDA
        self.ups += 1

    def down(self, device: Tensor, host: Tensor) -> None:
        assert device.device == CUDA
        assert isinstance(host, HostBytes)
        self.downs += 1

    def wait(self) -> None:
        self.waits += 1


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Tensors made inside are fake; those for "cuda" need no GPU."""
    with FakeTensorMode():
        yield
