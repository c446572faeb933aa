"""Where one step's inputs and results lie: one piece of memory on the host, its twin on the device, for `rows` rows.

    columns · positions · pages · slots · top_k · knobs · noise ┊ prompts        host ──one copy──▶ device
    column and PCM of each row                                                   host ◀──one copy── device

Shapes and addresses stay as they are for the life of the object; what a step does not fill is padding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agent_tts.models.frame_sampler import Noise, RowSampling
from agent_tts.nn.crossing import Crossing

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
ALIGNMENT = 64
KNOBS = ("temperature", "top_p", "fast_temperature", "fast_top_p", "penalty")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the buffers of every batch size have in common."""

    width: int
    """Ids of one column: main token and codes."""
    table: int
    """Pages of one row's context, at most."""
    ranks: int
    """Candidates of each draw that noise is brought for."""
    prompt: int
    """New columns of one row in one step, at most."""
    frame_samples: int
    dim: int
    """Of the Slow AR."""

    def prompt_ids(self, columns: int) -> int:
        """Numbers of one prompt of so many columns: its columns, then its pages."""
        return columns * self.width + self.table


class StepBuffers:
    """Buffers of one batch size. `x` stands between the two halves of a step and never leaves the device."""

    def __init__(self, rows: int, sizes: Sizes, crossing: Crossing, dtype: torch.dtype) -> None:
        self.rows, self.sizes = rows, sizes
        shapes: list[tuple[type, tuple[int, ...]]] = [
            (np.int64, (rows, sizes.width)),
            (np.int64, (rows,)),
            (np.int64, (rows, sizes.table)),
            (np.int64, (rows,)),
            (np.int64, (rows,)),
            (np.float32, (rows, len(KNOBS))),
            (np.float32, (rows, sizes.width, sizes.ranks)),
            (np.int64, (rows * sizes.prompt_ids(sizes.prompt),)),
        ]
        offsets = [0]
        for kind, shape in shapes:
            length = math.prod(shape) * np.dtype(kind).itemsize
            offsets.append(offsets[-1] + -(-length // ALIGNMENT) * ALIGNMENT)
        self._prompts_begin = offsets[-2]
        self._crossing = crossing
        self._up_host = crossing.host_bytes(offsets[-1])
        self._up_device = torch.zeros(offsets[-1], dtype=torch.uint8, device=crossing.device)
        self._down_host = crossing.host_bytes(4 * rows * (sizes.width + sizes.frame_samples))
        shape = (rows, sizes.width + sizes.frame_samples)
        self._down_device = torch.zeros(shape, dtype=torch.int32, device=crossing.device)
        self.x = torch.zeros(rows, sizes.dim, dtype=dtype, device=crossing.device)
        self.host = HostFields(
            *(_on_host(self._up_host, at, *shape) for at, shape in zip(offsets, shapes, strict=False))
        )
        self.device = DeviceFields(
            *(_on_device(self._up_device, at, *shape) for at, shape in zip(offsets, shapes, strict=False))
        )

    def send(self, num_prompt_ids: int) -> None:
        """One copy to the device: all rows, and so much of the prompts."""
        end = self._prompts_begin + 8 * num_prompt_ids
        self._crossing.up(self._up_host[:end], self._up_device[:end])

    def put(self, columns: Tensor, pcm: Tensor) -> None:
        """On the device: the results, columns [rows, width] int64 and PCM [rows, frame_samples]."""
        width = self.sizes.width
        self._down_device[:, :width].copy_(columns)
        self._down_device[:, width:].view(torch.float32).copy_(pcm)

    def fetch(self) -> tuple[npt.NDArray[np.int32], Floats]:
        """One copy to the host, and the wait: columns [rows, width] and PCM; the next step overwrites both."""
        host = self._down_host.view(torch.int32).view(self._down_device.shape)
        self._crossing.down(self._down_device, host)
        self._crossing.wait()
        values, width = host.numpy(), self.sizes.width
        return values[:, :width], values[:, width:].view(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """All that a captured graph may hold on to, by name."""
        fields = {name: getattr(self.device, name) for name in DeviceFields.__slots__}
        return {**fields, "x": self.x, "results": self._down_device}


@dataclass(frozen=True, slots=True)
class HostFields:
    """The host's side, to be written."""

    columns: Ints  # [rows, width]
    positions: Ints  # [rows]
    pages: Ints  # [rows, table]
    slots: Ints  # [rows]
    top_k: Ints  # [rows]
    knobs: Floats  # [rows, KNOBS]
    noise: Floats  # [rows, width, ranks]
    prompts: Ints  # [rows * ids of the longest prompt]


@dataclass(frozen=True, slots=True)
class DeviceFields:
    """The device's side: the same, as tensors."""

    columns: Tensor
    positions: Tensor
    pages: Tensor
    slots: Tensor
    top_k: Tensor
    knobs: Tensor
    noise: Tensor
    prompts: Tensor

    def sampling(self, ranks: int) -> RowSampling:
        """As the sampler wants it."""
        temperature, top_p, fast_temperature, fast_top_p, penalty = self.knobs.unbind(dim=1)
        return RowSampling(temperature, top_p, self.top_k, fast_temperature, fast_top_p, penalty, ranks)

    def row_noise(self) -> Noise:
        """As the sampler wants it."""
        return Noise(self.noise[:, :2], self.noise[:, 2:])


def _on_host(buffer: Tensor, at: int, kind: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    length = math.prod(shape) * np.dtype(kind).itemsize
    return buffer.numpy()[at : at + length].view(kind).reshape(shape)


def _on_device(buffer: Tensor, at: int, kind: type, shape: tuple[int, ...]) -> Tensor:
    length = math.prod(shape) * np.dtype(kind).itemsize
    return buffer[at : at + length].view(torch.int64 if kind is np.int64 else torch.float32).view(shape)
