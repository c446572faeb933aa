"""The only places where a step passes between host and device: up, down and the wait. They are counted.

Whoever computes goes through one Crossing, so that "one copy up, one copy down, one wait a step" is a count that a test
reads, not a hope. On a CPU the same copies happen between two pieces of memory, and the wait is empty.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Crossing:
    """Copies between the host and one device, in the order of the device's current stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ups = self.downs = self.waits = 0

    def host_bytes(self, size: int) -> Tensor:
        """[size] uint8 of host memory, page-locked where there is a GPU: only then does a copy not wait."""
        return torch.zeros(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def up(self, host: Tensor, device: Tensor) -> None:
        """Start to copy to the device. The host's memory must stay as it is until wait()."""
        self.ups += 1
        device.copy_(host, non_blocking=True)

    def down(self, device: Tensor, host: Tensor) -> None:
        """Start to copy to the host. What arrives may be read after wait()."""
        self.downs += 1
        host.copy_(device, non_blocking=True)

    def wait(self) -> None:
        """Until all that was started on the device has been done."""
        self.waits += 1
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
