"""A checkpoint folder with a real codec of reduced width and random weights, in the released file's own layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from agent_tts.codec.dac_checkpoint import CONFIG_FILE, meta_codec, released_names
from agent_tts.codec.dac_config import DacConfig, read_codec_config

CODEC_CONFIG = {
    "sample_rate": 44_100,
    "encoder_dim": 2,
    "encoder_rates": [2, 4, 8, 8],
    "encoder_transformer_layers": [0, 0, 0, 1],
    "encoder_transformer_window": 20,
    "decoder_dim": 16,
    "decoder_rates": [8, 8, 4, 2],
    "latent_dim": 16,
    "head_dim": 16,
    "rope_base": 10_000,
    "norm_eps": 1e-5,
    "quantizer": {
        "input_dim": 16,
        "n_codebooks": 2,
        "codebook_size": 32,
        "codebook_dim": 8,
        "semantic_codebook_size": 64,
        "downsample_factor": [2, 2],
        "transformer": {"n_layer": 1, "n_head": 1, "dim": 16, "intermediate_size": 32, "window_size": 6},
    },
}


def write_checkpoint(folder: Path, *, seed: int = 0, model_type: str = "fish_qwen3_omni") -> Path:
    """config.json, codec.pth and codec_config.json; other seeds are other codecs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / CONFIG_FILE).write_text(json.dumps(CODEC_CONFIG))
    config: DacConfig = read_codec_config(folder / CONFIG_FILE)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, parameter in meta_codec(config).named_parameters():
        value = 0.3 * torch.randn(parameter.shape, generator=generator)
        names = released_names(name)
        if len(names) == 2:
            state[names[0]] = 0.5 + torch.rand(value.shape[0], *[1] * (value.dim() - 1), generator=generator)
        state[names[-1]] = value
    torch.save(state, folder / "codec.pth")
    return folder
