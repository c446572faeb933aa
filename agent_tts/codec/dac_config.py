"""The shape of the DAC-style codec of S2-Pro, S1-mini and Drama 3; the released one, or a JSON file for another width.

The released codec.pth brings no config: its sizes are fixed and written down here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_tts.config import TransformerConfig, unknown_key
from agent_tts.errors import CheckpointError

CONV_HEAD_DIVISOR = 64
"""The transformer inside the encoder has dim / 64 heads, whatever its head_dim ..."""
CONV_FFN_FACTOR = 3
"""... and 3 * dim channels between its two feed-forward layers."""


@dataclass(frozen=True, slots=True)
class DacConfig:
    """Everything that the codec's shape follows from."""

    sample_rate: int = 44_100
    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    encoder_transformer_layers: tuple[int, ...] = (0, 0, 0, 4)
    encoder_transformer_window: int = 512
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    latent_dim: int = 1024
    head_dim: int = 64
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    semantic_codebook_size: int = 4096
    num_residual: int = 9
    residual_codebook_size: int = 1024
    codebook_dim: int = 8
    downsample: tuple[int, ...] = (2, 2)
    quantizer_layers: int = 8
    quantizer_heads: int = 16
    quantizer_ffn_dim: int = 3072
    quantizer_window: int = 128

    @property
    def num_codebooks(self) -> int:
        return 1 + self.num_residual

    @property
    def frame_samples(self) -> int:
        """PCM samples per frame."""
        return math.prod(self.encoder_rates) * math.prod(self.downsample)

    def quantizer_transformer(self) -> TransformerConfig:
        """The transformer before the quantizer, and the one behind it."""
        return self._transformer(
            self.quantizer_layers,
            self.latent_dim,
            self.quantizer_heads,
            self.quantizer_ffn_dim,
            self.quantizer_window,
        )

    def encoder_transformer(self, dim: int, layers: int) -> TransformerConfig:
        """The transformer at the end of an encoder block of that width."""
        heads = max(1, dim // CONV_HEAD_DIVISOR)
        return self._transformer(layers, dim, heads, CONV_FFN_FACTOR * dim, self.encoder_transformer_window)

    def _transformer(self, layers: int, dim: int, heads: int, ffn_dim: int, window: int) -> TransformerConfig:
        return TransformerConfig(
            layers, dim, heads, heads, self.head_dim, ffn_dim, self.rope_base, self.norm_eps, window=window
        )


RELEASED = DacConfig()

# Key in codec_config.json -> field of DacConfig. A dot goes into a nested mapping.
_KEYS = {
    "sample_rate": "sample_rate",
    "encoder_dim": "encoder_dim",
    "encoder_rates": "encoder_rates",
    "encoder_transformer_layers": "encoder_transformer_layers",
    "encoder_transformer_window": "encoder_transformer_window",
    "decoder_dim": "decoder_dim",
    "decoder_rates": "decoder_rates",
    "latent_dim": "latent_dim",
    "head_dim": "head_dim",
    "rope_base": "rope_base",
    "norm_eps": "norm_eps",
    "quantizer.semantic_codebook_size": "semantic_codebook_size",
    "quantizer.n_codebooks": "num_residual",
    "quantizer.codebook_size": "residual_codebook_size",
    "quantizer.codebook_dim": "codebook_dim",
    "quantizer.downsample_factor": "downsample",
    "quantizer.transformer.n_layer": "quantizer_layers",
    "quantizer.transformer.n_head": "quantizer_heads",
    "quantizer.transformer.intermediate_size": "quantizer_ffn_dim",
    "quantizer.transformer.window_size": "quantizer_window",
}
_REPEATED = ("quantizer.input_dim", "quantizer.transformer.dim")
"""Keys that must say latent_dim once more."""


def read_codec_config(path: Path) -> DacConfig:
    """A codec_config.json with all keys, none unknown. Raises CheckpointError otherwise."""
    try:
        values = dict(_flatten(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is missing or no valid JSON object ({error}).") from error
    for key in values:
        if key not in _KEYS and key not in _REPEATED:
            raise CheckpointError(unknown_key(key, [*_KEYS, *_REPEATED], where=str(path)))
    if missing := [key for key in _KEYS if key not in values]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}.")
    for key in _REPEATED:
        if values.get(key, values["latent_dim"]) != values["latent_dim"]:
            raise CheckpointError(
                f"{path}: {key} is {values[key]}; only latent_dim {values['latent_dim']} is supported."
            )
    shape: dict[str, Any] = {
        name: tuple(values[key]) if isinstance(values[key], list) else values[key] for key, name in _KEYS.items()
    }
    return DacConfig(**shape)


def _flatten(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        pairs += _flatten(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return pairs
