"""The codec of the released checkpoints: PCM to codes, and codes to PCM as one call or frame by frame.

Every part looks only back, so streaming is exact: convolution tails and the window's keys and values are carried per
slot, and no frame is decoded twice. Knows no language model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.codec.dac_config import DacConfig
from agent_tts.codec.dac_layers import DecoderBlock, EncoderBlock, Snake, WindowTransformer, resampler
from agent_tts.codec.dac_quantizer import make_quantizers
from agent_tts.nn.conv import CausalConv1d
from agent_tts.nn.streaming import StateList, StreamingSequential
from agent_tts.nn.window_kv import WindowKV

MAX_CHUNK = 8
"""Frames that one streaming step runs at once; longer chunks are cut."""


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What the decoder carries for each slot."""

    window: WindowKV
    convs: StateList

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """These slots (None: all) begin a new stream."""
        self.window.reset(slot_ids)
        self.convs.reset(slot_ids)


class DacQuantizer(nn.Module):
    """Codebooks with the resampling to the frame rate and the transformers around them."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.semantic_quantizer, self.quantizer = make_quantizers(config)
        self.downsample = resampler(config.latent_dim, config.downsample, up=False)
        self.upsample = resampler(config.latent_dim, config.downsample[::-1], up=True)
        self.pre_module = WindowTransformer(config.quantizer_transformer())
        self.post_module = WindowTransformer(config.quantizer_transformer())

    def encode(self, latent: Tensor) -> Tensor:
        """[rows, latent_dim, time] -> codes [rows, codebooks, frames]."""
        z = self.pre_module(self.downsample(latent))
        semantic, rest = self.semantic_quantizer.encode(z)
        residual, _ = self.quantizer.encode(rest)
        return torch.cat([semantic, residual], dim=1)

    def look_up(self, codes: Tensor) -> Tensor:
        """[rows, codebooks, frames] -> the sum of what the codes stand for, [rows, latent_dim, frames]."""
        return self.semantic_quantizer.decode(codes[:, :1]) + self.quantizer.decode(codes[:, 1:])


class DacCodec(nn.Module):
    """Encoder, quantizer and decoder. The encoder can be left out where only speech is made."""

    def __init__(self, config: DacConfig, *, with_encoder: bool = True) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config) if with_encoder else None
        self.quantizer = DacQuantizer(config)
        self.decoder = _Decoder(config)

    def encode(self, pcm: Tensor) -> Tensor:
        """[rows, samples] at the codec's rate -> codes [rows, codebooks, frames], the last frame zero-padded."""
        assert self.encoder is not None, "this codec was loaded without its encoder"
        padded = F.pad(pcm, (0, -pcm.shape[-1] % self.config.frame_samples))
        return self.quantizer.encode(self.encoder(padded.unsqueeze(1)))

    def decode(self, codes: Tensor) -> Tensor:
        """All frames at once: [rows, codebooks, frames] -> PCM [rows, frames * frame_samples] in -1..1."""
        z = self.quantizer.post_module(self.quantizer.look_up(codes))
        pcm: Tensor = self.decoder(self.quantizer.upsample(z))
        return pcm.squeeze(1)

    def init_state(
        self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DecoderState:
        """State for that many streams, owned by the caller."""
        weight = self.quantizer.post_module.norm.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        window = WindowKV(self.quantizer.post_module.config, slots, MAX_CHUNK, dtype, device)
        upsample = self.quantizer.upsample.init_state(slots, device, dtype)
        return DecoderState(window, StateList([upsample, self.decoder.model.init_state(slots, device, dtype)]))

    def step(self, codes: Tensor, state: DecoderState, slot_ids: Tensor | None = None) -> Tensor:
        """The next frames of some slots: [rows, codebooks, frames] -> PCM [rows, frames * frame_samples].

        Any chunking gives what decode() gives for the whole. The state of the slots moves on.
        """
        parts = [self._step(part, state, slot_ids) for part in torch.split(codes, MAX_CHUNK, dim=-1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _step(self, codes: Tensor, state: DecoderState, slot_ids: Tensor | None) -> Tensor:
        upsample, decoder = state.convs
        assert isinstance(upsample, StateList)
        assert isinstance(decoder, StateList)
        z = self.quantizer.post_module.step(self.quantizer.look_up(codes), state.window, slot_ids)
        z = self.quantizer.upsample.step(z, upsample, slot_ids)
        return self.decoder.model.step(z, decoder, slot_ids).squeeze(1)


class _Encoder(nn.Module):
    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        blocks: list[nn.Module] = [CausalConv1d(1, dim, 7)]
        for stride, layers in zip(config.encoder_rates, config.encoder_transformer_layers, strict=True):
            dim *= 2
            blocks.append(EncoderBlock(config, dim, stride, layers))
        self.block = nn.Sequential(*blocks, Snake(dim), CausalConv1d(dim, config.latent_dim, 3))

    def forward(self, pcm: Tensor) -> Tensor:
        """[rows, 1, samples] -> [rows, latent_dim, samples / hop]."""
        out: Tensor = self.block(pcm)
        return out


class _Decoder(nn.Module):
    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        blocks: list[nn.Module] = [CausalConv1d(config.latent_dim, dim, 7)]
        for stride in config.decoder_rates:
            blocks.append(DecoderBlock(dim, stride))
            dim //= 2
        self.model = StreamingSequential(*blocks, Snake(dim), CausalConv1d(dim, 1, 7), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """[rows, latent_dim, time] -> [rows, 1, time * hop]."""
        out: Tensor = self.model(z)
        return out
