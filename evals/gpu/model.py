"""Models with random weights, built where they will run: S2-Pro's exact shape, or a tiny one of the same layout.

Nothing of 4.5 billion parameters is made on the host first. Weights are scaled so that activations and logits stay of a
natural size: zeros or equal numbers would run faster than real ones do. What such a model says is noise.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import nn

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_checkpoint import meta_codec
from agent_tts.codec.dac_config import RELEASED, DacConfig
from agent_tts.config import ModelConfig, TransformerConfig
from agent_tts.models.checkpoint import meta_model
from agent_tts.models.dual_ar import DualAR
from agent_tts.text.prompt import Reference, S2Prompt

S2_PRO = ModelConfig(
    layout="fish_qwen3_omni",
    slow=TransformerConfig(36, 2560, 32, 8, 128, 9728, qk_norm=True),
    fast=TransformerConfig(4, 2560, 32, 8, 128, 9728),
    num_codebooks=10,
    codebook_size=4096,
    sample_rate=44_100,
    frame_samples=2_048,
    vocab_size=155_776,
    max_seq_len=32_768,
    semantic_begin_id=151_678,
    semantic_end_id=155_773,
    im_end_id=151_645,
)
TINY = ModelConfig(
    layout="fish_qwen3_omni",
    slow=TransformerConfig(2, 32, 4, 2, 16, 64, qk_norm=True),
    fast=TransformerConfig(2, 32, 4, 2, 16, 64),
    num_codebooks=4,
    codebook_size=128,
    sample_rate=8_000,
    frame_samples=320,
    vocab_size=640,
    semantic_begin_id=400,
    semantic_end_id=527,
    im_end_id=3,
)
TINY_CODEC = DacConfig(
    sample_rate=8_000,
    encoder_rates=(2, 2, 4, 5),
    decoder_dim=16,
    decoder_rates=(5, 4, 2, 2),
    latent_dim=32,
    head_dim=16,
    semantic_codebook_size=128,
    num_residual=3,
    residual_codebook_size=64,
    quantizer_layers=2,
    quantizer_heads=2,
    quantizer_ffn_dim=64,
    quantizer_window=12,
)
EMBEDDING_STD = 0.05
VOICE_SECONDS = 20.0
SENTENCE = (
    "We will send the parcel to your new address by Friday morning and you can follow it on our page."  # 20 words
)


@dataclass(frozen=True, slots=True)
class Built:
    """A model, its codec, and how its prompts are written."""

    model: DualAR
    codec: DacCodec
    layout: S2Prompt

    def voice(self, seconds: float = VOICE_SECONDS) -> Reference:
        """A reference of that length with random codes."""
        config = self.model.config
        frames = int(seconds * config.sample_rate / config.frame_samples)
        drawn = torch.randint(64, (frames, config.num_codebooks), generator=torch.Generator().manual_seed(0))
        return Reference(SENTENCE + " " + SENTENCE, [tuple(frame) for frame in drawn.tolist()])


class ChunkTokenizer:
    """A token for each four characters: about as many as a real one gives for English."""

    def __init__(self, config: ModelConfig) -> None:
        self._first, self._count = config.im_end_id + 1, min(config.semantic_begin_id - config.im_end_id - 1, 50_000)
        if self._count < 1_000:  # the end token stands behind the text
            self._first, self._count = 10, min(config.semantic_begin_id - 10, 50_000)

    def encode(self, text: str) -> list[int]:
        pieces = (text[at : at + 4] for at in range(0, len(text), 4))
        return [self._first + zlib.crc32(piece.encode()) % self._count for piece in pieces]

    def control(self, name: str) -> int | None:
        return {"<|im_start|>": 2, "<|im_end|>": 3, "<|voice|>": 4}.get(name)


def build(device: torch.device, dtype: torch.dtype, *, tiny: bool = False, seed: int = 0) -> Built:
    """The model in `dtype`, the codec in float32 as the engine loads it."""
    config, codec_config = (TINY, TINY_CODEC) if tiny else (S2_PRO, RELEASED)
    torch.manual_seed(seed)
    model = fill(meta_model(config).to(dtype).to_empty(device=device))
    codec = fill(meta_codec(codec_config, with_encoder=False).to_empty(device=device))
    layout = S2Prompt(ChunkTokenizer(config), config.num_codebooks, config.semantic_begin_id)
    return Built(model, codec, layout)


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Random weights in place; norms and scales near 1."""
    for name, parameter in module.named_parameters():
        if parameter.dim() == 1 or name.endswith("alpha"):
            parameter.fill_(0.0 if name.endswith("bias") else 0.1 if name.endswith("gamma") else 1.0)
        elif "embeddings" in name:
            parameter.normal_(std=EMBEDDING_STD)
        else:
            gain = 0.7 if parameter.dim() == 3 else 1.0  # convolutions: so that the codec does not magnify rounding
            parameter.normal_(std=gain * parameter[0].numel() ** -0.5)
    return module.requires_grad_(False).eval()
