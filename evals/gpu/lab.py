"""What all sections share: device, model, runner, and speakers that are in the middle of something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from agent_tts.config import EngineConfig
from agent_tts.runtime.prompt_runner import PromptRunner
from agent_tts.runtime.static_step import StaticStep
from evals.gpu.drive import Drive, Speaker
from evals.gpu.model import SENTENCE, Built
from evals.gpu.timing import Budget, Clock

CONTEXT = 600
"""Columns in front of the frames that are timed: a 20 s voice, a sentence, and 5 s that have been spoken."""
VOICE = "twenty-seconds"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    batches: tuple[int, ...]
    repeats: int
    """Steps that are timed where a step is quick; a quarter of them where it is not."""
    utterances: int
    """One after the other through the engine, idle and under load."""
    num_pages: int

    @property
    def slots(self) -> int:
        return self.batches[-1]


FULL = Effort((1, 8, 32, 64), 100, 20, 8192)
TINY = Effort((1, 4), 10, 3, 256)


@dataclass
class Lab:
    """Made once. Sections use it one after the other."""

    built: Built
    device: torch.device
    dtype: torch.dtype
    effort: Effort
    budget: Budget
    config: EngineConfig
    runner: PromptRunner
    notes: list[str] = field(default_factory=list)
    _speakers: list[Speaker] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(self.device)

    @property
    def static(self) -> StaticStep:
        assert self.runner.static is not None, "the lab's runner computes static steps"
        return self.runner.static

    @property
    def bound(self) -> int:
        """The bound of the context that CONTEXT and the frames behind it fall under."""
        return next(bound for bound in self.static.contexts if bound >= CONTEXT + self.effort.repeats + 10)

    @property
    def drive(self) -> Drive:
        return Drive(self.runner, self.config.page_size, self.effort.num_pages // self.effort.slots)

    def speakers(self, count: int) -> list[Speaker]:
        """So many who stand behind CONTEXT columns and go on frame by frame."""
        if not self._speakers:
            layout, drive = self.built.layout, self.drive
            prompt = layout.voice([self.built.voice()]) + layout.ask(SENTENCE)
            self._speakers = [drive.open(slot, prompt) for slot in range(self.effort.slots)]
            while any(not speaker.frames for speaker in self._speakers):
                drive.step(self._speakers)
        for speaker in self._speakers:
            speaker.position = CONTEXT
        return self._speakers[:count]

    def leave(self) -> None:
        """Give the slots back: an engine takes over."""
        for speaker in self._speakers:
            self.runner.close_slot(speaker.slot)
        self._speakers.clear()


def engine_config(device: torch.device, dtype: torch.dtype, effort: Effort, step: str) -> EngineConfig:
    """Of the engine that is measured."""
    return EngineConfig(
        device=str(device),
        dtype="bfloat16" if dtype == torch.bfloat16 else "float32",
        max_slots=effort.slots,
        max_waiting=2 * effort.slots,
        num_pages=effort.num_pages,
        step=step,  # type: ignore[arg-type]
    )


def make_runner(built: Built, config: EngineConfig, voices: Sequence[str] = (VOICE,)) -> PromptRunner:
    """A runner around the built model. On a GPU this captures the graphs."""
    references = {name: built.voice() for name in voices}
    runner = PromptRunner(built.model, built.codec, built.layout, config, references, name="random-weights")
    runner.prepare_thread = lambda: None  # type: ignore[method-assign]  # needs no threadpoolctl; threads stay as they are
    return runner
