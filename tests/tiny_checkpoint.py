"""Checkpoint folders in the released layout, random weights of reduced width: a codec alone, or a whole S2-Pro."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from agent_tts.codec.dac_checkpoint import CONFIG_FILE, meta_codec, released_names
from agent_tts.codec.dac_config import DacConfig, read_codec_config
from agent_tts.models.checkpoint import meta_model, released_name
from agent_tts.models.checkpoint_config import read_model_config

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


NUM_SEMANTIC = 64
CONTROLS = ("<|im_start|>", "<|im_end|>", "<|voice|>")
MODEL_CONFIG = {
    "model_type": "fish_qwen3_omni",
    "eos_token_id": 257,
    "semantic_start_token_id": 259,
    "semantic_end_token_id": 259 + NUM_SEMANTIC - 1,
    "text_config": {
        "n_layer": 2,
        "dim": 32,
        "n_head": 2,
        "n_local_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
        "rope_base": 1_000_000,
        "norm_eps": 1e-6,
        "attention_qk_norm": True,
        "tie_word_embeddings": True,
        "vocab_size": 259 + NUM_SEMANTIC,
        "max_seq_len": 4096,
    },
    "audio_decoder_config": {
        "n_layer": 1,
        "dim": 32,
        "n_head": 2,
        "n_local_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
        "attention_qk_norm": False,
        "tie_word_embeddings": False,
        "text_dim": 32,
        "num_codebooks": 3,
        "vocab_size": NUM_SEMANTIC,
    },
}


def write_model(folder: Path, *, seed: int = 0) -> Path:
    """All files of an S2-Pro folder: the codec, both transformers, and a tokenizer in which text is bytes."""
    from safetensors.torch import save_file

    write_checkpoint(folder, seed=seed)
    (folder / "config.json").write_text(json.dumps(MODEL_CONFIG))
    config = read_model_config(folder)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        released_name(config, name): 0.2 * torch.randn(parameter.shape, generator=generator)
        for name, parameter in meta_model(config).named_parameters()
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(_byte_tokenizer()))
    return folder


def _byte_tokenizer() -> dict[str, object]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": 256 + index, "content": name, **flags} for index, name in enumerate(CONTROLS)]
    model = {"type": "BPE", "vocab": {letter: index for index, letter in enumerate(letters)}, "merges": []}
    return {"version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level, "model": model}
