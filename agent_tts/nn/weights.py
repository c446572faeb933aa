"""Weights on disk: safetensors with int8 rows; knows tensors and names, not whose they are.

A matrix may be stored as int8 with one scale per row, under `<name>` and `<name>.row_scale`. It is
turned into float32 once, when read. Everything else is stored as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from agent_tts.errors import CheckpointError

SCALE_SUFFIX = ".row_scale"
SMALLEST_QUANTIZED = 4096


def quantize_rows(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 values and a float32 scale per row, so that value * scale is close to the tensor."""
    flat = tensor.float().flatten(1)
    scale = (flat.abs().amax(1) / 127.0).clamp(min=1e-12)
    return torch.round(flat / scale[:, None]).to(torch.int8).view(tensor.shape), scale


def dequantize_rows(values: Tensor, scale: Tensor) -> Tensor:
    """The float32 tensor that `quantize_rows` stands for."""
    return values.float() * scale.float().view(-1, *[1] * (values.dim() - 1))


def pack(weights: dict[str, Tensor], keep: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What is written: int8 rows for large matrices, float16 for those that begin with a name in `keep`."""
    out: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(keep) if keep else False:
            out[name] = tensor.half().contiguous()
        elif tensor.dim() >= 2 and tensor.numel() >= SMALLEST_QUANTIZED:
            out[name], out[name + SCALE_SUFFIX] = quantize_rows(tensor)
        else:
            out[name] = tensor.float().contiguous()
    return out


def read_weights(path: Path, prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with `prefix`, which is cut off; int8 rows become float32.

    Raises:
        CheckpointError: The file is missing or damaged, or holds nothing under that prefix.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            raw = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as safetensors: {error}.") from error
    if not raw:
        raise CheckpointError(f"{str(path)!r} holds no tensor whose name begins with {prefix!r}.")
    out = {}
    for name, tensor in raw.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        scale = raw.get(name + SCALE_SUFFIX)
        out[name.removeprefix(prefix)] = tensor.float() if scale is None else dequantize_rows(tensor, scale)
    return out


def load_strictly(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Copy the weights into the module; every name must be on both sides, with the same shape.

    Raises:
        CheckpointError: Names are missing or left over, or a shape differs.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{str(path)!r} does not fit its config.json: {error}") from error
