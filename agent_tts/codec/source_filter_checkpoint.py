"""Reads the bundled codec's decoder from a folder: the `codec` parts of `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path

from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder
from agent_tts.config import from_mapping
from agent_tts.errors import CheckpointError
from agent_tts.nn.weights import load_strictly, read_weights

WEIGHTS_FILE = "model.safetensors"
CODEC_PREFIX = "codec."


def load_source_filter(folder: Path) -> SourceFilterDecoder:
    """The decoder in eval mode, float32 (its pitch network float64), without gradients; the caller owns it.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["codec"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read, or has no 'codec' part: {error!r}.") from error
    decoder = SourceFilterDecoder(from_mapping(SourceFilterConfig, values, where=f"{path}: codec"))
    weights = folder / WEIGHTS_FILE
    load_strictly(decoder, read_weights(weights, CODEC_PREFIX), weights)
    return decoder.eval().requires_grad_(False)
