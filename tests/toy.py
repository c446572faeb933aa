"""A real aligned model and codec with random weights, small enough for tests: all runs, nothing is intelligible."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder
from agent_tts.config import AlignedConfig, EngineConfig, ModelConfig, TransformerConfig
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.runtime.aligned_runner import AlignedRunner
from agent_tts.runtime.step import StepPlan, StepResult


def toy_runner(config: EngineConfig | None = None) -> RecordingRunner:
    """Same weights at every call."""
    model, decoder = toy_parts()
    return RecordingRunner(model, decoder, config or EngineConfig(), name="toy")


def toy_parts() -> tuple[AlignedDualAR, SourceFilterDecoder]:
    """The model, frozen, and its codec."""
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


@dataclass
class Record:
    """What one request got, in order."""

    codes: list[tuple[int, ...]] = field(default_factory=list)
    pcm: list[np.ndarray] = field(default_factory=list)

    @property
    def audio(self) -> np.ndarray:
        return np.concatenate(self.pcm)


class RecordingRunner(AlignedRunner):
    """Keeps every result by request."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.records: dict[str, Record] = {}
        self.rows_per_step: list[int] = []

    def run(self, plan: StepPlan) -> StepResult:
        result = super().run(plan)
        self.rows_per_step.append(len(plan.rows))
        for row in result.rows:
            record = self.records.setdefault(row.request_id, Record())
            record.codes.append(row.codes)
            record.pcm.append(row.pcm)
        return result
