"""Tensors out of files and into a module, loudly: safetensors or `weights_only=True`, nothing missing, nothing left.

Knows files, names and shapes, not which model they belong to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agent_tts.errors import CheckpointError, NotEnoughMemoryError

GetTensor = Callable[[], Tensor]
MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded from where, and what was left out.

    Attributes:
        sources: Files read.
        num_parameters: Parameters loaded.
        num_bytes: Memory they take in the dtype they were loaded in.
        ignored: Name of each tensor in the files that was not loaded -> the reason.
    """

    sources: tuple[str, ...]
    num_parameters: int
    num_bytes: int
    ignored: Mapping[str, str] = field(default_factory=dict)


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object. Raises CheckpointError when the file is missing, damaged, or holds anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}; the checkpoint is incomplete.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); download it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds {type(data).__name__}; a JSON object is expected.")
    return data


def open_safetensors(path: Path) -> dict[str, GetTensor]:
    """Names of one safetensors file, each with a function that reads it. Checks the length of the file first."""
    from safetensors import SafetensorError, safe_open

    _check_safetensors_length(path)
    try:
        file = safe_open(str(path), framework="pt", device="cpu")
        names: list[str] = list(file.keys())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); download it again.") from error
    return {name: _reader(file, name) for name in names}


def _reader(file: Any, name: str) -> GetTensor:
    def read() -> Tensor:
        tensor: Tensor = file.get_tensor(name)
        return tensor

    return read


def _check_safetensors_length(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}; a shard is missing, download it again.")
    actual = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if actual < 8 + header_size:
            raise CheckpointError(f"{path} is cut off: {actual} bytes, its header alone needs {8 + header_size}.")
        try:
            header = json.loads(file.read(header_size))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise CheckpointError(f"{path} has a damaged header ({error}); download it again.") from error
    expected = 8 + header_size + max(ends, default=0)
    if actual != expected:
        raise CheckpointError(f"{path} is {actual} bytes, its header describes {expected}; download it again.")


def open_pth(path: Path) -> dict[str, GetTensor]:
    """A pickled state dict, read with weights_only=True (no code runs) and mapped, not copied, into memory.

    A wrapper {"state_dict": ...} is opened.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}; the checkpoint is incomplete.")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load has no error of its own: zip, pickle and runtime errors mean the same here
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as plain weights ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}). A complete file that was saved as a state dict is expected."
        ) from error
    if isinstance(data, dict) and isinstance(data.get("state_dict"), dict):
        data = data["state_dict"]
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds {type(data).__name__}; a state dict (name -> tensor) is expected.")
    strangers = [str(name) for name, value in data.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(f"{path} holds entries that are no tensors: {_some(strangers)}.")
    return {str(name): _constant(value) for name, value in data.items()}


def _constant(value: Tensor) -> GetTensor:
    return lambda: value


def check_names(found: Iterable[str], expected: Iterable[str], *, where: str) -> None:
    """Raise CheckpointError unless both are the same set; names what is missing and what is not known."""
    have, want = set(found), set(expected)
    problems = []
    if missing := sorted(want - have):
        problems.append(f"{len(missing)} tensors are missing: {_some(missing)}")
    if unknown := sorted(have - want):
        problems.append(f"{len(unknown)} tensors are not known: {_some(unknown)}")
    if problems:
        raise CheckpointError(f"{where}: {'; '.join(problems)}. Expected are {len(want)} tensors, found {len(have)}.")


def assign(
    module: nn.Module, readers: Mapping[str, GetTensor], *, dtype: torch.dtype, device: torch.device, where: str
) -> int:
    """Give each parameter of `module` (which may live on the meta device) its tensor; returns the bytes taken.

    Reads one tensor at a time. Names must match exactly; a wrong shape raises CheckpointError with both shapes.
    """
    parameters = dict(module.named_parameters())
    check_names(readers, parameters, where=where)
    num_bytes = 0
    for name, parameter in parameters.items():
        value = readers[name]()
        if value.shape != parameter.shape:
            raise CheckpointError(
                f"{where}: {name} has shape {tuple(value.shape)}, the config asks for {tuple(parameter.shape)}."
            )
        loaded = value.to(device=device, dtype=dtype, copy=True)
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(loaded, requires_grad=False))
        num_bytes += loaded.numel() * loaded.element_size()
    return num_bytes


def memory_needed(module: nn.Module, dtype: torch.dtype) -> int:
    """Bytes the parameters of `module` will take in `dtype`; the module may live on the meta device."""
    return sum(parameter.numel() for parameter in module.parameters()) * dtype.itemsize


def check_memory(
    needed: int, device: torch.device, *, what: str, advice: str = "Use dtype bfloat16, another device"
) -> None:
    """Raise NotEnoughMemoryError when `needed` bytes are more than are free now. Unknown free memory passes."""
    available = available_memory(device)
    if available is not None and needed > available:
        raise NotEnoughMemoryError(what, needed, available, str(device), advice)


def available_memory(device: torch.device) -> int | None:
    """Free bytes on the device, or None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    limits = [_physical_memory(), _cgroup_memory()]
    return min((limit for limit in limits if limit is not None), default=None)


def _physical_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _cgroup_memory() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        return limit - int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or "max"
        return None


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + rest
