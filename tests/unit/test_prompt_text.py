"""The turns of a prompt-text conversation: what is asked, in which contexts, and that nothing is cut off in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from agent_tts.runtime.prompt_text import PromptText, PromptWork
from agent_tts.runtime.step import Readiness, RowResult
from agent_tts.text.prompt import Column
from agent_tts.types import WordTime

FRAME_MS = 46.4


class LetterLayout:
    """Every character is one column; a few more stand around them."""

    def voice(self, references: object) -> list[Column]:
        return [(1, 0)] * 40

    def opening(self) -> list[Column]:
        return [(2, 0)]

    def ask(self, text: str) -> list[Column]:
        return [*self.opening(), *((10 + ord(letter), 0) for letter in text), (3, 0)]

    def close(self) -> list[Column]:
        return [(4, 0)]

    def frames(self, codes: object) -> list[Column]:
        raise AssertionError("not needed here")


@dataclass
class Spoken:
    """What a model was asked for, clause by clause, and what it could say."""

    longest_context: int = 0
    clauses: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    words: list[WordTime] = field(default_factory=list)


def asked_now(source: PromptText) -> str:
    tokens = [column[0] for column in source.prefix_keys()]
    begin = len(tokens) - tokens[::-1].index(2)
    return "".join(chr(token - 10) for token in tokens[begin : tokens.index(3, begin)])


def speak(source: PromptText, frames_per_character: float) -> Spoken:
    """Step until it is done, as the engine would, with a model that takes so long for its text."""
    found, position = Spoken(), 0
    while source.readiness() is Readiness.CAN_STEP:
        position = 0 if source.begins_context() else position
        work = source.next_work(position)
        payload: PromptWork = work.payload
        assert 0 < len(payload.columns) == work.num_positions
        if payload.begins_clause:
            found.clauses.append(asked_now(source))
            found.frames.append(0)
        position += work.num_positions
        found.longest_context = max(found.longest_context, position)
        ends = found.frames[-1] == round(frames_per_character * len(found.clauses[-1]))
        now_ms = FRAME_MS * sum(found.frames)
        result = RowResult("r", np.zeros(0, np.float32), () if ends else (7,), 6, ends)
        found.words += source.accept(result, now_ms, now_ms + FRAME_MS)
        found.frames[-1] += not ends
    return found


def source_of(text: str) -> PromptText:
    source = PromptText(LetterLayout(), LetterLayout().voice(()), max_context=300)
    source.push(text)
    source.end()
    return source


@pytest.mark.parametrize(
    "text",
    [
        "no pause for breath in this one long sentence of mine " * 5,
        "x" * 700,
        "short, then " + "word " * 60 + "y" * 300 + " and the end.",
    ],
)
def test_a_clause_too_long_for_the_context_is_spoken_in_parts_and_to_its_end(text: str):
    spoken = speak(source_of(text), frames_per_character=2.0)
    assert "".join("".join(spoken.clauses).split()) == "".join(text.split()), "all of it was asked for"
    assert spoken.longest_context <= 300
    assert spoken.frames == [2 * len(clause) for clause in spoken.clauses], "none was cut off"
    assert "".join(word.text for word in spoken.words) == "".join(text.split())
    assert all(text[word.text_start : word.text_end] == word.text for word in spoken.words)


def test_a_clause_that_fits_is_spoken_whole():
    text = "one sentence of some forty characters."
    assert speak(source_of(text), frames_per_character=2.0).clauses == [text]


def test_a_model_that_does_not_end_is_ended_within_its_context():
    spoken = speak(source_of("This is said. And this is never ended. And one more."), frames_per_character=1e9)
    assert spoken.longest_context <= 300
    assert spoken.frames == [44 + 6 * len(clause) for clause in spoken.clauses]
