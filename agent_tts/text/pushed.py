"""Text that arrives in any portions, as words that are complete. Knows no sentences; whoever reads it judges those.

A word is complete when white space or a flush stands behind it, or when it is longer than any word. So what comes out
depends on the text and its flushes alone, never on how the text was cut when it was pushed.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Word:
    """A range of the pushed text without white space."""

    start: int
    end: int


class NoWord(Enum):
    """Why there is no next word."""

    FLUSH = "what was pushed up to here ends here, whatever follows"
    YET = "nothing more is complete yet"


class PushedText:
    """One utterance's characters. Positions count from its first one, also when text before them was dropped."""

    def __init__(self, max_word: int) -> None:
        """Text without spaces is cut into words of `max_word` characters, so that it cannot grow for ever."""
        self._max_word = max_word
        self._pattern = re.compile(rf"\S{{1,{max_word}}}")
        self._text = ""
        self._base = 0  # characters dropped in front of _text
        self._read = 0  # all words that end before this position have been given out
        self._flushes: deque[int] = deque()  # positions behind _read

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._base + len(self._text)

    @property
    def num_read(self) -> int:
        """The position behind what next_word() has given out."""
        return self._read

    def push(self, text: str) -> None:
        self._text += text

    def flush(self) -> None:
        """Complete what was pushed so far."""
        self._flushes.append(self.num_characters)

    def next_word(self) -> Word | NoWord:
        """The next word, or the next flush, once each; YET as often as it is asked."""
        limit = self._flushes[0] if self._flushes else self.num_characters
        match = self._pattern.search(self._text, self._read - self._base, limit - self._base)
        if match is None:
            if not self._flushes:
                return NoWord.YET
            self._read = self._flushes.popleft()
            return NoWord.FLUSH
        word = Word(self._base + match.start(), self._base + match.end())
        if word.end == limit and not self._flushes and word.end - word.start < self._max_word:
            return NoWord.YET
        self._read = word.end
        return word

    def text(self, start: int, end: int) -> str:
        """Pushed text; kept until drop_before()."""
        assert start >= self._base, "this text has been dropped"
        return self._text[start - self._base : end - self._base]

    def drop_before(self, position: int) -> None:
        """Forget text before `position`, which nobody will ask for again."""
        assert position <= self._read, "text that has not been read cannot be dropped"
        if position > self._base:
            self._text = self._text[position - self._base :]
            self._base = position
