"""Cuts streamed text into the clauses that a prompt-text model speaks one after another. Knows no tokens, no audio.

A model that gets its text as a prompt cannot take words back, so a clause is given out only when its reading can no
longer change: not inside a number, behind an abbreviation, or while a tag, quote or bracket stands open. The first
clause is short, so that speech begins soon; later ones are longer, because each seam between two turns can be heard.

What comes out depends on the text and its flushes alone, never on how the text was chunked.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from agent_tts.text.boundaries import Boundary, has_open_construct, is_inside_quotes, judge_boundary

MAX_LENGTH = 320
"""Characters from which a clause ends between any two words."""

_WORD = re.compile(rf"\S{{1,{MAX_LENGTH}}}")


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
        self._text = ""
        self._base = 0  # characters dropped in front of _text
        self._scanned = 0  # all words that end before this position have been judged
        self._flushes: deque[int] = deque()
        self._words: list[tuple[int, int]] = []  # of the open clause
        self._num_clauses = 0

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._base + len(self._text)

    def push(self, text: str) -> None:
        """Add text. A word is judged when the white space behind it, and the word after that, have arrived."""
        self._text += text

    def flush(self) -> None:
        """End the clause here, whatever stands here."""
        self._flushes.append(self.num_characters)

    def next_clause(self) -> Clause | None:
        """The next clause; None when the text so far commits no more."""
        while True:
            limit = self._flushes[0] if self._flushes else self.num_characters
            word = _WORD.search(self._text, self._scanned - self._base, limit - self._base)
            if word is None:
                if not self._flushes:
                    return None
                self._scanned = self._flushes.popleft()
                if self._words:
                    return self._take()
                continue
            start, end = self._base + word.start(), self._base + word.end()
            if end == limit and not self._flushes and end - start < MAX_LENGTH:
                return None
            clause = self._take() if self._words and self._ends_before(start, end) else None
            self._words.append((start, end))
            self._scanned = end
            if clause is not None:
                return clause

    def _ends_before(self, start: int, end: int) -> bool:
        """Whether the open clause ends before the word at start .. end."""
        first, (last_start, last_end) = self._words[0][0], self._words[-1]
        if end - first > MAX_LENGTH:
            return True
        so_far = self._slice(first, last_end)
        if has_open_construct(so_far) or is_inside_quotes(so_far):
            return False
        before = self._slice(*self._words[-2]) if len(self._words) > 1 else ""
        last, gap, following = self._slice(last_start, last_end), self._slice(last_end, start), self._slice(start, end)
        boundary = judge_boundary(before, last, gap, following)
        least = _LEAST[min(self._num_clauses, len(_LEAST) - 1)]
        allowed = {Boundary.SENTENCE: least.sentence, Boundary.CLAUSE: least.clause, Boundary.WORD: least.word}
        return boundary in allowed and len(so_far) >= allowed[boundary]

    def _take(self) -> Clause:
        start, end = self._words[0][0], self._words[-1][1]
        clause = Clause(self._slice(start, end), start, end)
        self._words = []
        self._num_clauses += 1
        self._text = self._text[end - self._base :]
        self._base = end
        return clause

    def _slice(self, start: int, end: int) -> str:
        return self._text[start - self._base : end - self._base]
