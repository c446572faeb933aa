"""What every training stage shares: schedule, optimiser, checkpoints, averages, progress lines."""

import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LOG = logging.getLogger(__name__)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear up, then a cosine down to nothing."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def make_optimizer(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW without decay on vectors (norms, biases, scales)."""
    parameters = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), foreach=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Same rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class AverageWeights:
    """Exponential average of a module's parameters; short at first so that early averages are of use."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = dict(module.named_parameters())
        for name, value in self.values.items():
            value.lerp_(parameters[name].detach(), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Average and count, for a checkpoint."""
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.updates, self.values = state["updates"], state["values"]

    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights by the average."""
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name in self.values:
                    parameter.copy_(self.values[name])


def save_checkpoint(path: Path, step: int, **parts: Any) -> None:
    """Write `step` and the state of each part; a crash leaves the previous file."""
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
    partial.rename(path)


def load_checkpoint(path: Path, **parts: Any) -> int:
    """Restore the parts; returns the step to go on from, 0 when there is no file."""
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])


class Meter:
    """Averages of named values between two progress lines."""

    def __init__(self, stage: str, steps: int, every: int) -> None:
        self.stage, self.steps, self.every = stage, steps, every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._started = time.monotonic()

    def add(self, step: int, values: dict[str, Tensor | float]) -> None:
        """Take in one step's values, and print a line when it is time."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1
        if (step + 1) % self.every == 0:
            pace = self._count / (time.monotonic() - self._started)
            shown = " ".join(f"{name} {total / self._count:.3f}" for name, total in self._sums.items())
            left = (self.steps - step - 1) / pace / 60
            place = f"{self.stage}: step {step + 1}/{self.steps}"
            LOG.info("%s %s | %.2f steps/s, %.0f min left", place, shown, pace, left)
            self._sums, self._count, self._started = {}, 0, time.monotonic()
