"""The readiness gate of prompt-text models: a clause is given out only when its reading cannot change any more."""

import random

import pytest

from agent_tts.text.clauses import MAX_LENGTH, ClauseGate


def clauses(text: str, sizes: list[int] | None = None) -> list[str]:
    gate, found, at = ClauseGate(), [], 0
    for size in sizes or [len(text)]:
        gate.push(text[at : at + size])
        at += size
        found += drain(gate)
    gate.push(text[at:])
    gate.flush()
    return found + drain(gate)


def drain(gate: ClauseGate) -> list[str]:
    found = []
    while (clause := gate.next_clause()) is not None:
        found.append(clause.text)
    return found


LONG = (
    "Sure, I can help. Your order of 3 items, worth $1,250.75, left St. Louis on Jan. 5 at 7:45 p.m. and should reach "
    'you soon. He said "wait. no, go on" and [laughing] left; then nothing happened for a very long time, which is odd.'
)


@pytest.mark.parametrize("seed", range(8))
def test_chunking_changes_nothing(seed: int) -> None:
    pick = random.Random(seed)
    sizes = [pick.randint(1, 9) for _ in range(len(LONG) // 5)]
    assert clauses(LONG, sizes) == clauses(LONG)
    assert " ".join(clauses(LONG)) == LONG


def test_the_first_clause_is_short_and_later_ones_are_longer() -> None:
    first, *later = clauses(LONG)
    assert first == "Sure, I can help."
    assert all(len(clause) >= 24 for clause in later[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "It costs about $3.",
        "Meet Dr. ",
        "The number is 555, ",
        'He said "we are all going home. ',
        "[whisper in a small voice. ",
        "Hello there, friend",
        "Wait for the <break time",
    ],
)
def test_what_may_still_change_is_held_back(text: str) -> None:
    gate = ClauseGate()
    gate.push(text)
    assert gate.next_clause() is None


def test_a_flush_gives_out_what_is_there() -> None:
    gate = ClauseGate()
    gate.push("  Hello Dr. ")
    gate.flush()
    gate.push("Watson")
    assert drain(gate) == ["Hello Dr."]
    gate.flush()
    assert drain(gate) == ["Watson"]
    gate.flush()
    assert drain(gate) == []


def test_positions_point_into_the_pushed_text() -> None:
    text, gate = "  Hello there.  How are you today, my friend? Good. ", ClauseGate()
    gate.push(text)
    gate.flush()
    while (clause := gate.next_clause()) is not None:
        assert text[clause.start : clause.end] == clause.text


def test_text_without_spaces_or_boundaries_comes_in_bounded_clauses() -> None:
    assert all(0 < len(clause) <= MAX_LENGTH for clause in clauses("x" * 2000))
    assert all(0 < len(clause) <= MAX_LENGTH for clause in clauses("(" + "word " * 400))
