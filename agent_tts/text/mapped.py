"""A string that can be rewritten while every character keeps the range of the pushed text it came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters without white space, as they will be phonemized, and the range of pushed text behind them."""

    text: str
    start: int
    end: int


class MappedText:
    """Text with a source range per character. Rewriting replaces both together."""

    def __init__(self, text: str, offset: int = 0) -> None:
        self.text = text
        self._starts = list(range(offset, offset + len(text)))
        self._ends = list(range(offset + 1, offset + len(text) + 1))

    def sub(self, pattern: re.Pattern[str], replacement: Replacement, group: int = 0) -> None:
        """Like re.sub, for one group of the match. What replaces it comes from its whole range; no back references."""
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        for match in pattern.finditer(self.text):
            new = replacement if isinstance(replacement, str) else replacement(match)
            first, last = match.span(group)
            if new == match.group(group):
                continue
            parts += [self.text[position:first], new]
            starts += self._starts[position:first]
            ends += self._ends[position:first]
            if new and last > first:
                starts += [self._starts[first]] * len(new)
                ends += [max(self._ends[first:last])] * len(new)
            elif new:
                here = self._ends[first - 1] if first else self._starts[0] if self._starts else 0
                starts += [here] * len(new)
                ends += [here] * len(new)
            position = last
        if parts:
            self.text = "".join(parts) + self.text[position:]
            self._starts = starts + self._starts[position:]
            self._ends = ends + self._ends[position:]

    def keep(self, pattern: re.Pattern[str]) -> None:
        """Reduce each match to its groups, in order; their characters keep their own ranges."""
        kept: list[int] = []
        position = 0
        for match in pattern.finditer(self.text):
            kept += range(position, match.start())
            for group in range(1, (match.re.groups or 0) + 1):
                if match.group(group) is not None:
                    kept += range(*match.span(group))
            position = match.end()
        if position:
            kept += range(position, len(self.text))
            self.text = "".join(self.text[index] for index in kept)
            self._starts = [self._starts[index] for index in kept]
            self._ends = [self._ends[index] for index in kept]

    def rewrite(self, function: Callable[[str], str]) -> None:
        """Apply any function from text to text. Words it changed come from the words they stand in the place of."""
        new = function(self.text)
        if new == self.text:
            return
        old_words = [match.span() for match in _WORD.finditer(self.text)]
        new_words = new.split()
        matcher = difflib.SequenceMatcher(None, [self.text[a:b] for a, b in old_words], new_words, autojunk=False)
        starts: list[int] = []
        ends: list[int] = []
        for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
            for index in range(new_from, new_to):
                if tag == "equal":
                    first, last = old_words[old_from + index - new_from]
                    starts += self._starts[first:last]
                    ends += self._ends[first:last]
                else:
                    start, end = self._range(old_words, old_from, old_to)
                    starts += [start] * len(new_words[index])
                    ends += [end] * len(new_words[index])
                starts.append(ends[-1])
                ends.append(ends[-1])
        self.text = " ".join(new_words)
        self._starts = starts[: len(self.text)]
        self._ends = ends[: len(self.text)]

    def chunks(self) -> list[Chunk]:
        """The words as they stand now, split at white space, each with its source range."""
        return [
            Chunk(match.group(), min(self._starts[slice(*match.span())]), max(self._ends[slice(*match.span())]))
            for match in _WORD.finditer(self.text)
        ]

    def _range(self, words: list[tuple[int, int]], first: int, last: int) -> tuple[int, int]:
        """Source range of some old words; of an insertion, an empty range behind the word before it."""
        if first < last:
            begin, end = words[first][0], words[last - 1][1]
            return min(self._starts[begin:end]), max(self._ends[begin:end])
        if first:
            here = self._ends[words[first - 1][1] - 1]
        else:
            here = self._starts[0] if self._starts else 0
        return here, here


_WORD = re.compile(r"\S+")
