"""The text source of models that read their text as a prompt: each clause is a turn of one growing conversation.

    voice · ask(clause 1) ▸ frames · close · ask(clause 2) ▸ frames · close · ...        ▸ = the model speaks

The next clause is appended to the KV that is there. When the conversation outgrows its limit, the oldest turns are
dropped: a new context begins with the voice, which the prefix cache has, and the turns that are left.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from agent_tts.runtime.step import Readiness, RowResult, Work
from agent_tts.text.clauses import Clause, ClauseGate
from agent_tts.text.prompt import Column, PromptFormat
from agent_tts.types import WordTime

MAX_PREFILL = 512
"""Columns computed in one step, so that a long reference does not hold up everyone else's next frame."""
FRAMES_PER_CHARACTER = 6
SPARE_FRAMES = 44
"""A clause that has not ended by then is ended: the model has lost its place."""
SLOW_FRAMES_PER_CHARACTER = 2
"""A clause is spoken whole only where a context has room for so many: slow speech, ten characters a second."""
FIRST_CHARACTERS_PER_S = 15.0
"""Speaking rate until the first clause has been heard; after that, what was measured."""


@dataclass(frozen=True, slots=True)
class PromptWork:
    """What the prompt runner is fed for one request.

    Attributes:
        columns: New columns of the context, at least one.
        begins_clause: The sampler starts anew: no earlier frame counts as repeated.
        speaks: A frame is sampled behind the last column.
    """

    columns: tuple[Column, ...]
    begins_clause: bool
    speaks: bool


@dataclass(slots=True)
class _Speaking:
    """The clause that is being spoken."""

    clause: Clause
    words: deque[tuple[int, int]]  # positions in the pushed text
    max_frames: int
    turn: list[Column]  # its columns so far, ask included
    num_frames: int = 0
    start_ms: float | None = None
    word_start_ms: float = 0.0


@dataclass(slots=True)
class _Rate:
    """Characters a second of this voice, as heard so far."""

    characters: float = 0.0
    seconds: float = 0.0

    @property
    def value(self) -> float:
        return self.characters / self.seconds if self.seconds > 0 else FIRST_CHARACTERS_PER_S


class PromptText:
    """One utterance's text, from characters to the next step's work. Used by the engine's thread only."""

    def __init__(
        self, layout: PromptFormat, voice: Sequence[Column], max_context: int, *, keep_turns: bool = True
    ) -> None:
        """`voice`: the columns every context begins with. `keep_turns` False: each clause is spoken by itself."""
        self._layout = layout
        self._voice = list(voice)
        self._max_context = max_context
        self._keep_turns = keep_turns
        self._gate = ClauseGate()
        self._waiting: deque[Clause] = deque()
        self._ended = False
        self._speaking: _Speaking | None = None
        self._turns: list[list[Column]] = []
        self._context: list[Column] = []
        self._begins_context = True
        self._rate = _Rate()

    @property
    def num_characters(self) -> int:
        return self._gate.num_characters

    def push(self, text: str) -> None:
        self._gate.push(text)
        self._read_on()

    def flush(self) -> None:
        self._gate.flush()
        self._read_on()

    def end(self) -> None:
        self._gate.flush()
        self._ended = True
        self._read_on()

    def readiness(self) -> Readiness:
        if self._speaking is not None:
            return Readiness.CAN_STEP
        return Readiness.DONE if self._ended else Readiness.WAITS_FOR_TEXT

    def begins_context(self) -> bool:
        return self._begins_context

    def next_work(self, position: int) -> Work:
        speaking = self._current()
        columns = tuple(self._context[position : position + MAX_PREFILL])
        speaks = position + len(columns) == len(self._context)
        return Work(PromptWork(columns, speaking.num_frames == 0, speaks), num_positions=len(columns))

    def prefix_keys(self) -> Sequence[Hashable]:
        return self._context

    def accept(self, result: RowResult, start_ms: float, end_ms: float) -> list[WordTime]:
        speaking = self._current()
        self._begins_context = False
        if result.codes:
            self._take_frame(speaking, result, start_ms)
        done = result.segment_done or speaking.num_frames >= speaking.max_frames
        words = self._ended_words(speaking, end_ms, all_of_them=done)
        if done:
            self._finish(speaking, end_ms)
        return words

    # -----------------------------------------------------------------------------------------------------------------

    def _current(self) -> _Speaking:
        assert self._speaking is not None, "a step was planned without text"
        return self._speaking

    def _read_on(self) -> None:
        while (clause := self._gate.next_clause()) is not None:
            self._waiting.append(clause)
        if self._speaking is None and self._waiting:
            self._begin(self._waiting.popleft())

    def _begin(self, clause: Clause) -> None:
        """Put the clause behind the live context, or begin a new one with what may stay of it."""
        clause, ask = self._as_much_as_fits(clause)
        max_frames = SPARE_FRAMES + FRAMES_PER_CHARACTER * len(clause.text)
        if not self._keep_turns:
            self._turns, self._begins_context = [], True
        while self._turns and self._length_with(ask) + max_frames > self._max_context:
            del self._turns[0]
            self._begins_context = True
        room = self._max_context - self._length_with(ask)
        if self._begins_context:
            self._context = [*self._voice, *(column for turn in self._turns for column in turn)]
        self._context += ask
        words = deque(
            (clause.start + match.start(), clause.start + match.end()) for match in re.finditer(r"\S+", clause.text)
        )
        self._speaking = _Speaking(clause, words, max(1, min(max_frames, room)), list(ask))

    def _as_much_as_fits(self, clause: Clause) -> tuple[Clause, list[Column]]:
        """The clause and its columns; of one that no context has room for a part, and the rest waits."""
        room = self._max_context - len(self._voice)
        ask = self._layout.ask(clause.text)
        while len(ask) + SLOW_FRAMES_PER_CHARACTER * len(clause.text) > room and len(clause.text) > 1:
            clause, rest = _halves(clause)
            self._waiting.appendleft(rest)
            ask = self._layout.ask(clause.text)
        return clause, ask

    def _length_with(self, ask: Sequence[Column]) -> int:
        return len(self._voice) + sum(map(len, self._turns)) + len(ask)

    def _take_frame(self, speaking: _Speaking, result: RowResult, start_ms: float) -> None:
        column = (result.progress, *result.codes)
        self._context.append(column)
        speaking.turn.append(column)
        speaking.num_frames += 1
        if speaking.start_ms is None:
            speaking.start_ms = speaking.word_start_ms = start_ms

    def _finish(self, speaking: _Speaking, end_ms: float) -> None:
        if speaking.start_ms is not None:
            self._rate.characters += len(speaking.clause.text)
            self._rate.seconds += (end_ms - speaking.start_ms) / 1000
        close = self._layout.close()
        self._context += close
        self._turns.append([*speaking.turn, *close])
        self._speaking = None
        self._read_on()

    def _ended_words(self, speaking: _Speaking, now_ms: float, *, all_of_them: bool) -> list[WordTime]:
        """Words that have been spoken by now, as far as the speaking rate tells; the last one ends with its clause."""
        spoken_s = 0.0 if speaking.start_ms is None else (now_ms - speaking.start_ms) / 1000
        reached = speaking.clause.start + spoken_s * self._rate.value
        ended = []
        while speaking.words and (all_of_them or (len(speaking.words) > 1 and speaking.words[0][1] <= reached)):
            start, end = speaking.words.popleft()
            text = speaking.clause.text[start - speaking.clause.start : end - speaking.clause.start]
            ended.append(WordTime(text, start, end, min(speaking.word_start_ms, now_ms), now_ms))
            speaking.word_start_ms = now_ms
        return ended


def _halves(clause: Clause) -> tuple[Clause, Clause]:
    """Two parts of a clause, cut at the last space of its first half, or in a word where there is none."""
    middle = -(-len(clause.text) // 2)
    space = clause.text.rfind(" ", 0, middle)
    first, second = clause.text[: space if space > 0 else middle], clause.text[space + 1 if space > 0 else middle :]
    begin = clause.end - len(second.lstrip())
    return (
        Clause(first.rstrip(), clause.start, clause.start + len(first.rstrip())),
        Clause(second.lstrip(), begin, clause.end),
    )
