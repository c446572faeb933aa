"""Words of pushed text: complete ones, once each, however the text was cut."""

from __future__ import annotations

import random

import pytest

from agent_tts.text.pushed import NoWord, PushedText, Word

TEXT = "  One two\n three-and-a-half   "


def words(pushed: PushedText) -> list[str | NoWord]:
    """All there are now, each flush as FLUSH."""
    found: list[str | NoWord] = []
    while (word := pushed.next_word()) is not NoWord.YET:
        found.append(pushed.text(word.start, word.end) if isinstance(word, Word) else word)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_any_portions_give_the_same_words(seed: int) -> None:
    generator, pushed, found, at = random.Random(seed), PushedText(8), [], 0
    while at < len(TEXT):
        end = at + generator.randrange(1, 9)
        pushed.push(TEXT[at:end])
        at = end
        if generator.random() < 0.5:
            found += words(pushed)
    assert found + words(pushed) == ["One", "two", "three-an", "d-a-half"]


def test_a_word_waits_for_what_stands_behind_it_and_a_flush_is_given_out_once() -> None:
    pushed = PushedText(8)
    pushed.push("One tw")
    assert words(pushed) == ["One"]
    pushed.flush()
    pushed.push("o")
    assert words(pushed) == ["tw", NoWord.FLUSH]
    pushed.flush()
    pushed.flush()
    assert words(pushed) == ["o", NoWord.FLUSH, NoWord.FLUSH]
    assert pushed.num_characters == pushed.num_read == 7


def test_what_was_read_can_be_dropped_and_positions_stay() -> None:
    pushed = PushedText(8)
    pushed.push("One two three")
    assert words(pushed) == ["One", "two"]
    pushed.drop_before(4)
    pushed.drop_before(0)
    assert pushed.text(4, 13) == "two three"
    assert pushed.num_characters == 13
    with pytest.raises(AssertionError, match="dropped"):
        pushed.text(0, 3)
    with pytest.raises(AssertionError, match="has not been read"):
        pushed.drop_before(8)
