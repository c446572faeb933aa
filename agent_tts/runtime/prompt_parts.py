"""What both ways to compute a step of a prompt-text model share: the networks, their state, and what a slot carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent_tts.cache.kv_pool import KVPool
from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac import DecoderState as CodecState
from agent_tts.config import EngineConfig, ModelConfig
from agent_tts.models import presets
from agent_tts.models.dual_ar import DualAR
from agent_tts.models.frame_sampler import FrameSampler
from agent_tts.models.quantized import require
from agent_tts.models.slow_ar import SlowDecoder
from agent_tts.runtime.step import FloatPcm, Row, RowResult

RANKS = 64
"""Noise is drawn for so many ranks where every row's top_k is within them."""
SILENCE: FloatPcm = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one running utterance carries from step to step, beside tensors."""

    noise: np.random.Generator
    sampling: presets.Sampling


class PromptParts:
    """Owns every tensor of a prompt-text model. Slot `nobody` is for rows that stand for no request."""

    def __init__(self, model: DualAR, codec: DacCodec, config: EngineConfig, most_rows: int) -> None:
        slow, weight = model.config.slow, model.slow.head_weight
        require(config.fast_weights, weight.device)
        self.config: ModelConfig = model.config
        self.device = weight.device
        self.model, self.codec = model, codec
        self.pool = KVPool(
            slow.num_layers,
            config.num_pages,
            config.page_size,
            slow.num_kv_heads,
            slow.head_dim,
            weight.dtype,
            weight.device,
        )
        self.decoder = SlowDecoder(model.slow)
        slots, self.nobody = config.max_slots + 1, config.max_slots
        self.sampler = FrameSampler(model, slots, rows=max(slots, most_rows), fast_weights=config.fast_weights)
        self.codec_state: CodecState = codec.init_state(slots)
        self.slots: dict[int, Slot] = {}
        self._slot_ids = torch.arange(slots, device=self.device)

    def slot_id(self, slot: int) -> Tensor:
        """[1] on the device; a view, so that naming a slot copies nothing."""
        return self._slot_ids[slot : slot + 1]

    def speak(self, codes: Tensor, ends: Tensor, slot_ids: Tensor) -> Tensor:
        """codes [rows, codebooks] -> PCM [rows, frame_samples]. An end is no audio: it must not move a stream on."""
        slots = torch.where(ends, self._slot_ids[self.nobody], slot_ids)
        return self.codec.step(codes.unsqueeze(-1), self.codec_state, slots)

    def result(self, row: Row, column: Sequence[int], pcm: FloatPcm) -> RowResult:
        """`pcm` becomes the caller's."""
        main, *codes = column
        if main == self.config.im_end_id:
            return RowResult(row.request_id, SILENCE, (), main, True)
        return RowResult(row.request_id, pcm, tuple(codes), main, False)
