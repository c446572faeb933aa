"""A real aligned model and codec with random weights, small enough for tests: all runs, nothing is intelligible."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent_tts.config import EngineConfig
from agent_tts.runtime.aligned_runner import AlignedRunner
from agent_tts.runtime.step import StepPlan, StepResult
from evals.soak.tiny_models import aligned_parts as toy_parts

__all__ = ["Record", "RecordingRunner", "toy_parts", "toy_runner"]


def toy_runner(config: EngineConfig | None = None) -> RecordingRunner:
    """Same weights at every call."""
    return RecordingRunner(*toy_parts(), config or EngineConfig(), name="toy")


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
