"""Slow AR and Fast AR together, as one checkpoint holds them. Knows no sampling, no requests and no audio."""

from __future__ import annotations

from torch import nn

from agent_tts.config import ModelConfig
from agent_tts.models.fast_ar import FastAR
from agent_tts.models.slow_ar import SlowAR


class DualAR(nn.Module):
    """A prompt-text Dual-AR model as its checkpoint describes it. On the meta device it costs no memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.slow = SlowAR(config)
        self.fast = FastAR(config)
