"""Writes the bundled voice: `config.json` and `model.safetensors` with int8 rows, from the averaged weights."""

import json
import logging
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.codec.source_filter_checkpoint import CODEC_PREFIX, WEIGHTS_FILE
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.aligned_checkpoint import MODEL_PREFIX, MODEL_TYPE
from agent_tts.nn.weights import pack

LOG = logging.getLogger(__name__)
MAX_BYTES = 20_000_000
KEPT_AS_HALF = (f"{CODEC_PREFIX}quantizer.", f"{CODEC_PREFIX}pitch.")
"""The vectors that codes stand for, and F0, where a rounding error is a wrong note."""


def export(model: AlignedDualAR, decoder: SourceFilterDecoder, folder: Path) -> int:
    """Write both into the folder; returns the bytes of the weights file."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {MODEL_PREFIX + name: value for name, value in model.state_dict().items()}
    weights |= {CODEC_PREFIX + name: value for name, value in decoder.state_dict().items()}
    path, partial = folder / WEIGHTS_FILE, folder / (WEIGHTS_FILE + ".partial")
    save_file(pack(weights, KEPT_AS_HALF), str(partial), metadata={"format": "pt"})
    size = partial.stat().st_size
    assert size <= MAX_BYTES, f"{size} bytes of weights, {MAX_BYTES} are allowed in the package"
    partial.chmod(0o644)
    partial.rename(path)
    config = {"model_type": MODEL_TYPE, "model": _stated(model.config), "codec": asdict(decoder.config)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    LOG.info("export: %.1f MB in %s", size / 1e6, folder)
    return size


def _stated(config: Any) -> dict[str, Any]:
    """A config as JSON, without the fields that other layouts need and this one leaves at their defaults."""
    out = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if hasattr(value, "__dataclass_fields__"):
            out[item.name] = asdict(value)
        elif item.default is MISSING or value != item.default:
            out[item.name] = value
    return out
