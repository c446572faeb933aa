"""Causal network at the frame rate that turns latents into features; shared by both codec training phases."""

import torch
from torch import Tensor, nn

from agent_tts.nn.conv import CausalConv1d, ConvNeXtBlock
from agent_tts.nn.streaming import StateList, StreamingSequential


class LatentTrunk(nn.Module):
    """[rows, latent_dim, frames] -> [rows, dim, frames], no look-ahead."""

    def __init__(self, latent_dim: int, dim: int, num_blocks: int, *, kernel_size: int = 7, mlp_ratio: int = 3) -> None:
        super().__init__()
        blocks = (
            ConvNeXtBlock(dim, kernel_size=kernel_size, mlp_ratio=mlp_ratio, layer_scale=0.1) for _ in range(num_blocks)
        )
        self.layers = StreamingSequential(CausalConv1d(latent_dim, dim, 3), *blocks)
        self.norm = nn.LayerNorm(dim)

    def forward(self, latent: Tensor) -> Tensor:
        """The whole signal."""
        return self._normalise(self.layers(latent))

    def init_state(self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> StateList:
        """State of every block."""
        return self.layers.init_state(slots, device, dtype)

    def step(self, latent: Tensor, state: StateList, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of any length."""
        return self._normalise(self.layers.step(latent, state, slot_ids))

    def _normalise(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)
