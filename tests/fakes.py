"""Stand-ins for time and for the model: a runner that sings a tone, a text source without phonemes, a clock one sets.

The engine around them is the real one: the same loop, scheduler, allocator and hand-over as with a model.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent_tts.runtime.step import Readiness, Row, RowResult, StepPlan, StepResult, Work
from agent_tts.types import WordTime

SAMPLE_RATE = 24_000
FRAME_SAMPLES = 960
FRAME_MS = 40.0


class FakeClock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def advance_ms(self, ms: float) -> None:
        self.now_s += ms / 1000


@dataclass(slots=True)
class FakeText:
    """Each word is spoken in `frames_per_word` frames; a word counts when a space or the end follows it."""

    frames_per_word: int = 4
    window: int | None = None
    keys: tuple[Hashable, ...] = ()
    text: str = ""
    ended: bool = False
    frames: int = 0
    num_characters: int = 0

    def push(self, text: str) -> None:
        if "\0" in text:
            raise ValueError("a front end that cannot read this")
        self.text += text
        self.num_characters += len(text)

    def flush(self) -> None:
        self.text += " "

    def end(self) -> None:
        self.ended = True

    def readiness(self) -> Readiness:
        if self.frames < self.frames_per_word * len(self._words()):
            return Readiness.CAN_STEP
        return Readiness.DONE if self.ended else Readiness.WAITS_FOR_TEXT

    def begins_context(self) -> bool:
        return self.frames == 0

    def next_work(self, position: int) -> Work:
        fresh = len(self.keys) - position if self.frames == 0 and self.keys else 1
        return Work(payload=None, num_positions=fresh, window=self.window)

    def prefix_keys(self) -> Sequence[Hashable]:
        if not self.keys:
            return ()
        return (*self.keys, *(("frame", index) for index in range(self.frames)))

    def accept(self, result: RowResult, start_ms: float, end_ms: float) -> list[WordTime]:
        self.frames += 1
        if self.frames % self.frames_per_word:
            return []
        start, end, word = self._words()[self.frames // self.frames_per_word - 1]
        return [WordTime(word, start, end, end_ms - self.frames_per_word * FRAME_MS, end_ms)]

    def _words(self) -> list[tuple[int, int, str]]:
        words, start = [], None
        for index, character in enumerate(self.text + (" " if self.ended else "")):
            if character.isspace():
                if start is not None:
                    words.append((start, index, self.text[start:index]))
                start = None
            elif start is None:
                start = index
        return words


@dataclass(slots=True)
class ToneRunner:
    """A runner whose model is a sine; its codes depend on seed, voice and frame number, and on nothing else.

    Knobs: `gate` holds every step until it is set; `fail_on` raises for requests it says yes to; `step_s` is called
    once a step, to spend time in.
    """

    frames_per_word: int = 4
    voices: tuple[str, ...] = ("default", "other")
    prompts: dict[str, tuple[Hashable, ...]] = field(default_factory=dict)
    voice_prefixes: dict[str, tuple[Hashable, ...]] = field(default_factory=dict)
    window: int | None = None
    amplitude: float = 0.3
    frequency_hz: float = 400.0
    fail_on: Callable[[Row], bool] = lambda row: False
    on_step: Callable[[StepPlan], None] = lambda plan: None
    gate: threading.Event | None = None
    sample_rate: int = SAMPLE_RATE
    frame_samples: int = FRAME_SAMPLES
    model_name: str = "tone"
    codes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    prefilled: dict[str, int] = field(default_factory=dict)
    open_slots: dict[int, str] = field(default_factory=dict)
    _frames: dict[int, int] = field(default_factory=dict)

    def prepare_thread(self) -> None:
        pass

    def new_text(self, voice: str) -> FakeText:
        return FakeText(self.frames_per_word, self.window, self.prompts.get(voice, ()))

    def voice_keys(self, voice: str) -> Sequence[Hashable]:
        return self.voice_prefixes.get(voice, ())

    def run(self, plan: StepPlan) -> StepResult:
        if self.gate is not None:
            self.gate.wait()
        self.on_step(plan)
        return StepResult(tuple(self._frame(row) for row in plan.rows))

    def close_slot(self, slot: int) -> None:
        self.open_slots.pop(slot, None)
        self._frames.pop(slot, None)

    def _frame(self, row: Row) -> RowResult:
        if self.fail_on(row):
            raise RuntimeError("the fake model fails")
        if row.opens:
            assert row.slot not in self.open_slots, f"slot {row.slot} still belongs to {self.open_slots[row.slot]}"
            self.open_slots[row.slot] = row.request_id
        assert self.open_slots[row.slot] == row.request_id
        assert row.num_past + row.work.num_positions <= len(row.pages) * 16
        index = self._frames.get(row.slot, 0)
        self._frames[row.slot] = index + 1
        self.prefilled[row.request_id] = self.prefilled.get(row.request_id, 0) + row.work.num_positions
        digest = hashlib.blake2b(f"{row.seed}/{row.voice}/{index}".encode(), digest_size=4).digest()
        codes = tuple(digest)
        self.codes.setdefault(row.request_id, []).append(codes)
        times = (index * self.frame_samples + np.arange(self.frame_samples)) / self.sample_rate
        pcm = (self.amplitude * np.sin(2 * np.pi * self.frequency_hz * times)).astype(np.float32)
        return RowResult(row.request_id, pcm, codes, progress=0, segment_done=False)
