"""codec.pth of a released checkpoint -> a DacCodec. Strict: every tensor is loaded, or ignored by name and reason.

The file holds weight-normalised convolutions as two tensors, g (length) and v (direction); they are folded into one
weight when loaded: w = g * v / |v|, the length taken over all axes but the first.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_config import RELEASED, DacConfig, read_codec_config
from agent_tts.nn import tensor_files
from agent_tts.nn.tensor_files import GetTensor, LoadReport

logger = logging.getLogger(__name__)

CONFIG_FILE = "codec_config.json"

_CONV = re.compile(r"^(encoder|decoder)\..*conv\.weight$")
_PROJECTION = re.compile(r"\.(in|out)_proj\.weight$")
_BUFFER = re.compile(r"\.(causal_mask|freqs_cis)$")
_NOT_TRAINED = "a table that follows from the config; it is computed, not loaded"
_NOT_NEEDED = "part of the encoder, which was not asked for"


@dataclass(frozen=True, slots=True)
class CodecCheckpoint:
    """A loaded codec and what is to be said about the loading."""

    codec: DacCodec
    report: LoadReport


def released_names(parameter: str) -> tuple[str, ...]:
    """Names in a released file for one of DacCodec's parameters; two (g, v) where it is weight-normalised."""
    if _CONV.match(parameter):
        base = parameter.removesuffix("weight") + "parametrizations.weight."
        return base + "original0", base + "original1"
    if _PROJECTION.search(parameter):
        return parameter + "_g", parameter + "_v"
    return (parameter,)


def meta_codec(config: DacConfig, *, with_encoder: bool = True) -> DacCodec:
    """The codec without memory."""
    with torch.device("meta"):
        return DacCodec(config, with_encoder=with_encoder).eval()


def load_codec(
    path: str | Path,
    config: DacConfig | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    with_encoder: bool = True,
) -> CodecCheckpoint:
    """Load codec.pth.

    Args:
        path: The file.
        config: Its shape; None = codec_config.json beside it where there is one, else the released shape.
        dtype, device: Where to. The encoder's codes are exact in float32 only.
        with_encoder: False leaves the encoder out, which only voice cloning needs.

    Raises:
        NotEnoughMemoryError: The weights do not fit.
        CheckpointError: Something is missing, cut off, of another shape, or not known; says what was expected.
    """
    path, device = Path(path), torch.device(device)
    if config is None:
        beside = path.with_name(CONFIG_FILE)
        config = read_codec_config(beside) if beside.exists() else RELEASED
    codec = meta_codec(config, with_encoder=with_encoder)
    tensor_files.check_memory(tensor_files.memory_needed(codec, dtype), device, what=f"{path.name} in {dtype}")
    readers = {name.removeprefix("generator."): reader for name, reader in tensor_files.open_pth(path).items()}
    ignored = {name: reason for name in readers if (reason := _reason_to_ignore(name, with_encoder))}
    names = {ours: released_names(ours) for ours, _ in codec.named_parameters()}
    wanted = {theirs for group in names.values() for theirs in group}
    tensor_files.check_names(set(readers) - set(ignored), wanted, where=str(path))
    folded = {ours: _folded(*(readers[theirs] for theirs in group)) for ours, group in names.items()}
    num_bytes = tensor_files.assign(codec, folded, dtype=dtype, device=device, where=str(path))
    for name, reason in ignored.items():
        logger.info("ignored %s: %s", name, reason)
    count = sum(parameter.numel() for parameter in codec.parameters())
    return CodecCheckpoint(codec, LoadReport((path.name,), count, num_bytes, ignored))


def _reason_to_ignore(name: str, with_encoder: bool) -> str | None:
    if _BUFFER.search(name):
        return _NOT_TRAINED
    if not with_encoder and name.startswith("encoder."):
        return _NOT_NEEDED
    return None


def _folded(first: GetTensor, second: GetTensor | None = None) -> GetTensor:
    if second is None:
        return first

    def fold() -> Tensor:
        g, v = first().float(), second().float()
        length: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
        folded: Tensor = v * (g / length.view(g.shape))
        return folded

    return fold
