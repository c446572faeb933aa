"""A released checkpoint folder -> a DualAR on a device. Strict: every tensor is loaded, or ignored by name and reason.

    S2-Pro    config.json, model.safetensors.index.json + shards (or one model.safetensors)
    S1-mini   config.json, special_tokens.json, model.pth

Nothing depends on what the folder is called, and no code from it runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from agent_tts.config import ModelConfig
from agent_tts.errors import CheckpointError
from agent_tts.models.checkpoint_config import read_model_config
from agent_tts.models.dual_ar import DualAR
from agent_tts.nn import tensor_files
from agent_tts.nn.tensor_files import GetTensor, LoadReport

logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"

# Our parameter prefix -> the prefix in the file; the first that fits counts.
_PREFIXES = {
    "fish_qwen3_omni": (
        ("slow.codebook_embeddings.", "audio_decoder.codebook_embeddings."),
        ("slow.embeddings.", "text_model.model.embeddings."),
        ("slow.transformer.", "text_model.model."),
        ("fast.transformer.", "audio_decoder."),
        ("fast.", "audio_decoder."),
    ),
    "dual_ar": (
        ("slow.transformer.", ""),
        ("slow.", ""),
        ("fast.transformer.", "fast_"),
        ("fast.", "fast_"),
    ),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model and what is to be said about the loading."""

    model: DualAR
    report: LoadReport


def released_name(config: ModelConfig, parameter: str) -> str:
    """Name of one of DualAR's parameters in a released file of this layout."""
    for ours, theirs in _PREFIXES[config.layout]:
        if parameter.startswith(ours):
            return theirs + parameter.removeprefix(ours)
    raise AssertionError(f"no released name for {parameter}")


def meta_model(config: ModelConfig) -> DualAR:
    """The model without memory: for counting parameters, listing names, and loading."""
    with torch.device("meta"):
        return DualAR(config).eval()


def load_checkpoint(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Load the Slow AR and Fast AR of a released checkpoint.

    Raises:
        NotEnoughMemoryError: The weights do not fit; checked before any is read.
        CheckpointError: Something is missing, cut off, of another shape, or not known; says what was expected.
    """
    folder, device = Path(folder), torch.device(device)
    if not folder.is_dir():
        raise CheckpointError(f"{str(folder)!r} is not a folder. A folder with config.json and weights is expected.")
    config = read_model_config(folder)
    model = meta_model(config)
    tensor_files.check_memory(tensor_files.memory_needed(model, dtype), device, what=f"{folder.name} in {dtype}")
    readers, sources = _open_shards(folder) if config.layout == "fish_qwen3_omni" else _open_flat(folder)
    readers, ignored = _without_ignored(readers)
    theirs = {released_name(config, name): name for name, _ in model.named_parameters()}
    tensor_files.check_names(readers, theirs, where=str(folder))
    ours = {theirs[name]: reader for name, reader in readers.items()}
    num_bytes = tensor_files.assign(model, ours, dtype=dtype, device=device, where=str(folder))
    for name, reason in ignored.items():
        logger.info("ignored %s: %s", name, reason)
    count = sum(parameter.numel() for parameter in model.parameters())
    return Checkpoint(model, LoadReport(sources, count, num_bytes, ignored))


def _open_shards(folder: Path) -> tuple[dict[str, GetTensor], tuple[str, ...]]:
    if not (folder / INDEX).exists():
        return tensor_files.open_safetensors(folder / "model.safetensors"), ("model.safetensors",)
    weight_map = tensor_files.read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX} has no weight_map (tensor name -> file).")
    if strangers := [shard for shard in weight_map.values() if not isinstance(shard, str)]:
        raise CheckpointError(f"{folder / INDEX} names {strangers[0]!r}; a file beside it is expected.")
    readers: dict[str, GetTensor] = {}
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError(f"{folder / INDEX} names {shard!r}; a file beside it is expected.")
        readers.update(tensor_files.open_safetensors(folder / shard))
    tensor_files.check_names(readers, weight_map, where=f"{folder / INDEX}, against its shards")
    return readers, tuple(shards)


def _open_flat(folder: Path) -> tuple[dict[str, GetTensor], tuple[str, ...]]:
    readers = tensor_files.open_pth(folder / "model.pth")
    return {name.removeprefix("model."): reader for name, reader in readers.items()}, ("model.pth",)


def _without_ignored(readers: dict[str, GetTensor]) -> tuple[dict[str, GetTensor], dict[str, str]]:
    ignored = {
        name: "weights of another task of the same training run; text to speech does not use them"
        for name in readers
        if name.startswith("audio_") and not name.startswith("audio_decoder.")
    }
    return {name: reader for name, reader in readers.items() if name not in ignored}, ignored
