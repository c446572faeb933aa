"""Reads the bundled layout's Dual-AR from a folder: `config.json` and `model.safetensors`.

The quantizer's vectors are stored once, with the codec, under CODEBOOKS; this loader takes its copy
from there. The codec's own part is read by codec/source_filter_checkpoint.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent_tts.config import AlignedConfig, ModelConfig, TransformerConfig, from_mapping
from agent_tts.errors import CheckpointError
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.nn.weights import load_strictly, read_weights

MODEL_TYPE = "agent_tts_aligned"
WEIGHTS_FILE = "model.safetensors"
MODEL_PREFIX = "model."
CODEBOOKS = "codec.quantizer.codebooks"


def load_aligned(folder: Path) -> AlignedDualAR:
    """The model in eval mode, float32, without gradients; the caller owns it.

    Raises:
        CheckpointError: A file is missing, damaged, or of another layout.
    """
    model = AlignedDualAR(read_model_config(folder)).eval().requires_grad_(False)
    path = folder / WEIGHTS_FILE
    load_strictly(model, read_weights(path, MODEL_PREFIX), path)
    model.set_codebooks(read_weights(path, CODEBOOKS)[""])
    model.freeze()
    return model


def read_model_config(folder: Path) -> ModelConfig:
    """The `model` part of config.json.

    Raises:
        CheckpointError: It is missing or not of this layout.
    """
    path = folder / "config.json"
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as JSON: {error}.") from error
    if data.get("model_type") != MODEL_TYPE or not isinstance(data.get("model"), dict):
        raise CheckpointError(f"{str(path)!r} has model_type {data.get('model_type')!r}; {MODEL_TYPE!r} is read here.")
    return model_config(data["model"], where=str(path))


def model_config(values: dict[str, Any], *, where: str) -> ModelConfig:
    """A ModelConfig from its JSON form; unknown keys raise ConfigError."""
    parts: dict[str, type[Any]] = {"slow": TransformerConfig, "fast": TransformerConfig, "aligned": AlignedConfig}
    built: dict[str, Any] = {
        name: from_mapping(cls, values.get(name) or {}, where=f"{where}: {name}") for name, cls in parts.items()
    }
    return from_mapping(ModelConfig, {**values, **built}, where=where)
