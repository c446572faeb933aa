"""Both kinds of real model with random weights, small enough for a soak: all of the engine runs, nothing is understood.

`aligned` is the bundled voice's layout, `prompt` S2-Pro's: its voices are prefixes, so that pages, prefix tree, pins
and eviction are at work. The same weights at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_config import DacConfig
from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder
from agent_tts.config import AlignedConfig, EngineConfig, ModelConfig, TransformerConfig
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.dual_ar import DualAR
from agent_tts.runtime.aligned_runner import AlignedRunner
from agent_tts.runtime.prompt_runner import PromptRunner
from agent_tts.runtime.step import Runner
from agent_tts.text.prompt import Column, Frames, Reference

END, TEXT, SPEAK, VOICE, SEMANTIC = 256, 257, 258, 259, 260
"""Ids behind the 256 bytes of text."""
NUM_CODES = 64
NUM_BOOKS = 3
BLANK = (0,) * NUM_BOOKS
VOICES = {"short": 40, "long": 600}
"""Frames of each voice's reference; the long one is prefilled in more than one step."""


class ByteLayout:
    """A prompt format in which text is bytes. See PromptFormat in agent_tts/text/prompt.py."""

    def voice(self, references: Sequence[Reference]) -> list[Column]:
        columns = [(VOICE, *BLANK)]
        for reference in references:
            columns += self.ask(reference.text) + self.frames(reference.codes) + self.close()
        return columns

    def ask(self, text: str) -> list[Column]:
        return [*self.opening(), *((byte, *BLANK) for byte in text.encode(errors="replace")), (SPEAK, *BLANK)]

    def opening(self) -> list[Column]:
        return [(TEXT, *BLANK)]

    def close(self) -> list[Column]:
        return [(END, *BLANK)]

    def frames(self, codes: Frames) -> list[Column]:
        return [(SEMANTIC + frame[0], *frame) for frame in codes]


def prompt_runner(config: EngineConfig) -> Runner:
    """S2-Pro's layout: Slow AR, Fast AR, DAC codec, three voices."""
    model_config = ModelConfig(
        layout="fish_qwen3_omni",
        slow=TransformerConfig(2, 32, 2, 2, 16, 64, qk_norm=True),
        fast=TransformerConfig(1, 32, 2, 2, 16, 64),
        num_codebooks=NUM_BOOKS,
        codebook_size=NUM_CODES,
        sample_rate=24_000,
        frame_samples=960,
        vocab_size=SEMANTIC + NUM_CODES,
        semantic_begin_id=SEMANTIC,
        semantic_end_id=SEMANTIC + NUM_CODES - 1,
        im_end_id=END,
    )
    codec_config = DacConfig(
        sample_rate=24_000,
        encoder_dim=2,
        encoder_rates=(2, 4, 5, 6),
        decoder_dim=16,
        decoder_rates=(6, 5, 4, 2),
        latent_dim=16,
        head_dim=16,
        semantic_codebook_size=NUM_CODES,
        num_residual=NUM_BOOKS - 1,
        residual_codebook_size=NUM_CODES,
        quantizer_layers=1,
        quantizer_heads=1,
        quantizer_ffn_dim=32,
        quantizer_window=6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        codec = DacCodec(codec_config, with_encoder=False).requires_grad_(False).eval()
        model = DualAR(model_config).requires_grad_(False).eval()
    references = {name: Reference(f"This is the {name} voice.", _codes(length)) for name, length in VOICES.items()}
    return PromptRunner(model, codec, ByteLayout(), config, references, name="tiny-prompt")


def aligned_parts() -> tuple[AlignedDualAR, SourceFilterDecoder]:
    """Model (frozen) and codec of the bundled voice's layout."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model_config = ModelConfig(
            layout="aligned",
            slow=TransformerConfig(2, 32, 2, 2, 16, 64, rope_base=10_000.0, window=48),
            fast=TransformerConfig(1, 32, 2, 2, 16, 64),
            num_codebooks=4,
            codebook_size=64,
            sample_rate=24_000,
            frame_samples=960,
            aligned=AlignedConfig(vocab_size=178, look_ahead=8, latent_dim=16, head_rank=4),
        )
        decoder = SourceFilterDecoder(
            SourceFilterConfig(4, 64, 16, frame_dim=16, frame_blocks=1, step_dim=16, step_blocks=1)
        )
        decoder.quantizer.codebooks.normal_()
        model = AlignedDualAR(model_config)
        model.set_codebooks(decoder.quantizer.codebooks)
        with torch.no_grad():
            model.advance_head.bias.copy_(torch.tensor([0.5, 1.0, -2.0, -4.0]))
            decoder.head.weight.mul_(0.1)
    model.freeze()
    return model.eval(), decoder.eval()


def aligned_runner(config: EngineConfig) -> Runner:
    """The bundled voice's layout: aligned text, source-filter codec, one voice."""
    return AlignedRunner(*aligned_parts(), config, name="tiny-aligned")


RUNNERS: dict[str, Callable[[EngineConfig], Runner]] = {"aligned": aligned_runner, "prompt": prompt_runner}


def _codes(length: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(length)
    drawn = torch.randint(NUM_CODES, (length, NUM_BOOKS), generator=generator).tolist()
    return [tuple(frame) for frame in drawn]
