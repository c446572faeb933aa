"""Blocks of the DAC-style codec. All are causal without look-ahead, so each can stream with explicit state.

Attribute names follow the tensors of the released file (`block`, `conv`, `alpha`, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agent_tts.codec.dac_config import DacConfig
from agent_tts.config import TransformerConfig
from agent_tts.nn.attention import Transformer
from agent_tts.nn.conv import CausalConv1d, CausalConvTranspose1d, ConvNeXtBlock
from agent_tts.nn.streaming import StateList, StreamingSequential
from agent_tts.nn.window_kv import WindowKV

DILATIONS = (1, 3, 9)
NEXT_EPS = 1e-6


class Snake(nn.Module):
    """x + sin(a x)^2 / a, with one learnt a per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, time] -> the same shape."""
        return torch.addcdiv(x, (self.alpha * x).sin().square(), self.alpha + 1e-9)


class ResidualUnit(nn.Module):
    """Two causal convolutions, the first one dilated, around a shortcut."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.block = StreamingSequential(
            Snake(dim), CausalConv1d(dim, dim, 7, dilation=dilation), Snake(dim), CausalConv1d(dim, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim, time] -> the same shape."""
        out: Tensor = x + self.block(x)
        return out

    def init_state(self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> StateList:
        """State of the convolutions."""
        return self.block.init_state(slots, device, dtype)

    def step(self, x: Tensor, state: StateList, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of any length."""
        return x + self.block.step(x, state, slot_ids)


class WindowTransformer(nn.Module):
    """A transformer over time with a window, in the codec's channel-first layout. Its final norm is applied."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        stack = Transformer(config, layer_scale=True)
        self.layers, self.norm = stack.layers, stack.norm  # the names of the released file
        self._run = stack.forward
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """The whole signal: [rows, dim, time] -> the same shape."""
        out: Tensor = self.norm(self._run(x.transpose(1, 2)))
        return out.transpose(1, 2)

    def step(self, x: Tensor, state: WindowKV, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of at most state.max_chunk."""
        view = state.advance(x.shape[-1], slot_ids)
        out: Tensor = self.norm(self._run(x.transpose(1, 2), view.positions, view))
        return out.transpose(1, 2)


class EncoderBlock(nn.Module):
    """Residual units, then a strided convolution that doubles the width; the last block ends in a transformer."""

    def __init__(self, config: DacConfig, dim: int, stride: int, transformer_layers: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(dim // 2, dilation) for dilation in DILATIONS),
            Snake(dim // 2),
            CausalConv1d(dim // 2, dim, 2 * stride, stride=stride),
        )
        if transformer_layers:
            self.block.append(WindowTransformer(config.encoder_transformer(dim, transformer_layers)))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim / 2, time] -> [rows, dim, time / stride]."""
        out: Tensor = self.block(x)
        return out


class DecoderBlock(nn.Module):
    """A transposed convolution that halves the width, then residual units."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.block = StreamingSequential(
            Snake(dim),
            CausalConvTranspose1d(dim, dim // 2, 2 * stride, stride=stride),
            *(ResidualUnit(dim // 2, dilation) for dilation in DILATIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim, time] -> [rows, dim / 2, time * stride]."""
        out: Tensor = self.block(x)
        return out

    def init_state(self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> StateList:
        """State of all parts."""
        return self.block.init_state(slots, device, dtype)

    def step(self, x: Tensor, state: StateList, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of any length."""
        return self.block.step(x, state, slot_ids)


def resampler(dim: int, factors: tuple[int, ...], *, up: bool) -> StreamingSequential:
    """Stages of a k = s convolution and a ConvNeXt block, down to the frame rate or back up."""
    stages = []
    for factor in factors:
        blocks: tuple[nn.Module, nn.Module] = (
            (CausalConvTranspose1d(dim, dim, factor, stride=factor), ConvNeXtBlock(dim, eps=NEXT_EPS))
            if up
            else (CausalConv1d(dim, dim, factor, stride=factor), ConvNeXtBlock(dim, eps=NEXT_EPS))
        )
        stages.append(StreamingSequential(*blocks))
    return StreamingSequential(*stages)
