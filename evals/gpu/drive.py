"""Steps of a runner without an engine around it: plans are written by hand, so that what is timed is one step.

Each speaker has its own pages and goes on whatever it says, also behind an end: load must not depend on what a model
with random weights happens to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_tts.runtime.prompt_runner import PromptRunner
from agent_tts.runtime.prompt_text import MAX_PREFILL, PromptWork
from agent_tts.runtime.step import Row, RowResult, StepPlan, Work
from agent_tts.text.prompt import Column
from agent_tts.types import SamplingParams

STEADY = SamplingParams(top_k=2, top_p=2.0, fast_top_p=2.0)
"""For comparisons. The last bit of a logit depends on the batch. Noise goes by rank, so that two candidates of nearly
equal logits exchange theirs when that bit decides their order: with two ranks that is rare, with thirty it is not."""


@dataclass
class Speaker:
    """One running request: what it has still to read, where it stands, and what it has said."""

    slot: int
    pages: tuple[int, ...]
    to_read: list[Column]
    position: int = 0
    opened: bool = False
    results: list[RowResult] = field(default_factory=list)

    @property
    def frames(self) -> list[Column]:
        """Columns it has spoken."""
        return [(result.progress, *result.codes) for result in self.results if result.codes]


class Drive:
    """Opens speakers in slots and steps any set of them."""

    def __init__(
        self, runner: PromptRunner, page_size: int, pages_each: int, sampling: SamplingParams | None = None
    ) -> None:
        self.runner = runner
        self._sampling = sampling or SamplingParams()
        self._page_size, self._pages_each = page_size, pages_each

    def open(self, slot: int, prompt: Sequence[Column]) -> Speaker:
        """A new request in a slot, which must be free."""
        first = slot * self._pages_each
        return Speaker(slot, tuple(range(first, first + self._pages_each)), list(prompt))

    def again(self, speaker: Speaker, prompt: Sequence[Column], position: int) -> Speaker:
        """Another request in the same slot that finds the first `position` positions in its pages."""
        self.runner.close_slot(speaker.slot)
        return Speaker(speaker.slot, speaker.pages, list(prompt), position)

    def step(self, speakers: Sequence[Speaker]) -> list[RowResult]:
        """One step of all of them; each keeps its result."""
        results = self.runner.run(self.plan(speakers)).rows
        for speaker, result in zip(speakers, results, strict=True):
            self._accept(speaker, result)
        return list(results)

    def plan(self, speakers: Sequence[Speaker]) -> StepPlan:
        """What step() runs."""
        return StepPlan(tuple(self._row(speaker) for speaker in speakers))

    def _row(self, speaker: Speaker) -> Row:
        columns = tuple(speaker.to_read[:MAX_PREFILL])
        speaks = len(columns) == len(speaker.to_read)
        held = -(-(speaker.position + len(columns)) // self._page_size)
        assert held <= self._pages_each, f"slot {speaker.slot} has no room for position {speaker.position}"
        return Row(
            request_id=str(speaker.slot),
            slot=speaker.slot,
            opens=not speaker.opened,
            seed=speaker.slot,
            sampling=self._sampling,
            voice="default",
            pages=speaker.pages[:held],
            num_past=speaker.position,
            position=speaker.position,
            work=Work(PromptWork(columns, not speaker.frames, speaks), num_positions=len(columns)),
        )

    def _accept(self, speaker: Speaker, result: RowResult) -> None:
        read = len(speaker.to_read[:MAX_PREFILL])
        speaker.position += read
        del speaker.to_read[:read]
        speaker.opened = True
        speaker.results.append(result)
        if not speaker.to_read:
            blank = (0,) * (self.runner.parts.config.num_codebooks - len(result.codes))
            speaker.to_read = [(result.progress, *result.codes, *blank)]
