"""One step of the engine as values: StepPlan in, StepResult out, and the two seams around it. No torch, no policy.

A `TextSource` is how a request gets its text to the model; a `Runner` is what computes. Both come in pairs per
checkpoint layout (aligned text: text/aligned.py with runtime/aligned_runner.py; prompt text: text/clauses.py with
runtime/prompt_runner.py), and scheduler and loop see nothing but these two protocols.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agent_tts.types import SamplingParams, WordTime

FloatPcm = npt.NDArray[np.float32]
"""Mono audio in -1..1, shape [num_samples]."""


class Readiness(Enum):
    """What stands between a request and its next frame, as far as text goes."""

    CAN_STEP = "can step"
    WAITS_FOR_TEXT = "waits for text"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Work:
    """What one request feeds into one step.

    Attributes:
        payload: What the paired runner understands (new text tokens, prompt columns).
        num_positions: KV positions the step writes for this request.
        window: KV positions behind the new ones that are still read; None = all.
    """

    payload: Any
    num_positions: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class PageCopy:
    """The first positions of one KV page, to be copied into another before anything of the step is computed."""

    source: int
    target: int
    num_positions: int


@dataclass(frozen=True, slots=True)
class Row:
    """One request's part of a step.

    Attributes:
        slot: Row of the running batch; indexes sampler and codec state.
        opens: First step of this request: the slot's state is new.
        pages: KV pages of the positions still read, in order, those of the new positions included.
        num_past: Positions already in these pages.
        position: Absolute position of the first new one (for RoPE).
        copy: Cached positions that go into the page where the new ones begin; None = none.
    """

    request_id: str
    slot: int
    opens: bool
    seed: int
    sampling: SamplingParams
    voice: str
    pages: tuple[int, ...]
    num_past: int
    position: int
    work: Work
    copy: PageCopy | None = None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Who runs in this step."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class RowResult:
    """What one request got out of a step.

    Attributes:
        pcm: Audio of the frame, or of none. With a segment's last frame also what its codec had held back.
        codes: The frame's codes, one per codebook; empty when the step made no frame.
        progress: Aligned text: tokens of the segment the model has passed. Prompt text: the frame's main token.
        segment_done: The model has ended this segment.
    """

    request_id: str
    pcm: FloatPcm
    codes: tuple[int, ...]
    progress: int
    segment_done: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came out of a step, in the order of the plan's rows."""

    rows: tuple[RowResult, ...]


class TextSource(Protocol):
    """The text of one request, from pushed characters to what the model is fed. Used by the engine thread only."""

    @property
    def num_characters(self) -> int: ...

    def push(self, text: str) -> None: ...

    def flush(self) -> None: ...

    def end(self) -> None: ...

    def readiness(self) -> Readiness: ...

    def begins_context(self) -> bool:
        """Whether the next step starts a new context: no KV written so far is read again. Holds until accept()."""
        ...

    def next_work(self, position: int) -> Work:
        """What the next step is fed when `position` positions of the context are computed. Same until accept()."""
        ...

    def prefix_keys(self) -> Sequence[Hashable]:
        """One key per position of the context, the next step's included; empty = this context is never shared."""
        ...

    def accept(self, result: RowResult, start_ms: float, end_ms: float) -> list[WordTime]:
        """Take one step's result; its frame sounds from `start_ms` to `end_ms`. Returns the words that ended in it."""
        ...


class Runner(Protocol):
    """Computes steps. Owns every tensor: weights, KV, sampler and codec state of each slot."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_samples(self) -> int: ...

    @property
    def model_name(self) -> str: ...

    @property
    def voices(self) -> tuple[str, ...]: ...

    def prepare_thread(self) -> None:
        """Called once on the thread that will call run()."""
        ...

    def new_text(self, voice: str) -> TextSource: ...

    def voice_keys(self, voice: str) -> Sequence[Hashable]:
        """The prefix keys that every context of this voice begins with, to be pinned; empty = there are none."""
        ...

    def run(self, plan: StepPlan) -> StepResult: ...

    def close_slot(self, slot: int) -> None:
        """Forget the slot's state. Called by retire(), for an aborted request too."""
        ...
