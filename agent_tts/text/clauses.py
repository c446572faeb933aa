"""Cuts streamed text into the clauses that a prompt-text model speaks one after another. Knows no tokens, no audio.

A model that gets its text as a prompt cannot take words back, so a clause is given out only when its reading can no
longer change: not inside a number, behind an abbreviation, or while a tag, quote or bracket stands open. The first
clause is short, so that speech begins soon; later ones are longer, because each seam between two turns can be heard.

What comes out depends on the text and its flushes alone, never on how the text was chunked.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_tts.text.boundaries import Boundary, has_open_construct, is_inside_quotes, judge_boundary
from agent_tts.text.pushed import NoWord, PushedText, Word

MAX_LENGTH = 320
"""Characters from which a clause ends between any two words."""


@dataclass(frozen=True, slots=True)
class _Least:
    """Fewest characters with which a clause may end at each kind of boundary."""

    sentence: int
    clause: int
    word: int


_LEAST = (_Least(1, 12, 60), _Least(24, 60, 160), _Least(60, 140, 240))
"""For the first clause, the second, and all later ones."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A range of the pushed text, as it was pushed, without the white space around it."""

    text: str
    start: int
    end: int


class ClauseGate:
    """One utterance's text, pushed in any portions; `next_clause()` gives one clause after the other."""

    def __init__(self) -> None:
        self._pushed = PushedText(MAX_LENGTH)
        self._words: list[Word] = []  # of the open clause
        self._num_clauses = 0

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._pushed.num_characters

    def push(self, text: str) -> None:
        """Add text. A word is judged when the white space behind it has arrived."""
        self._pushed.push(text)

    def flush(self) -> None:
        """End the clause here: nothing that follows changes what has been pushed."""
        self._pushed.flush()

    def next_clause(self) -> Clause | None:
        """The next clause; None when the text so far commits no more."""
        while (word := self._pushed.next_word()) is not NoWord.YET:
            if word is NoWord.FLUSH:
                if self._words:
                    return self._take()
                continue
            clause = self._take() if self._words and self._ends_before(word) else None
            self._words.append(word)
            if clause is not None:
                return clause
        return None

    def _ends_before(self, word: Word) -> bool:
        """Whether the open clause ends before this word."""
        first, last = self._words[0], self._words[-1]
        if word.end - first.start > MAX_LENGTH:
            return True
        text = self._pushed.text
        so_far = text(first.start, last.end)
        if has_open_construct(so_far) or is_inside_quotes(so_far):
            return False
        before = text(self._words[-2].start, self._words[-2].end) if len(self._words) > 1 else ""
        boundary = judge_boundary(
            before, text(last.start, last.end), text(last.end, word.start), text(word.start, word.end)
        )
        least = _LEAST[min(self._num_clauses, len(_LEAST) - 1)]
        allowed = {Boundary.SENTENCE: least.sentence, Boundary.CLAUSE: least.clause, Boundary.WORD: least.word}
        return boundary in allowed and len(so_far) >= allowed[boundary]

    def _take(self) -> Clause:
        start, end = self._words[0].start, self._words[-1].end
        clause = Clause(self._pushed.text(start, end), start, end)
        self._words = []
        self._num_clauses += 1
        self._pushed.drop_before(end)
        return clause
