"""Words against words: heard-text error, lost words, WER and CER counts. Pure functions of strings; no audio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Edits:
    """The cheapest way from a reference to a hypothesis."""

    substitutions: int
    deletions: int
    insertions: int
    reference: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
    """Levenshtein alignment; of several cheapest ones the one with the fewest substitutions."""
    # A cell is (cost, substitutions, deletions, insertions); min() breaks ties by substitutions.
    row = [(column, 0, 0, column) for column in range(len(hypothesis) + 1)]
    for number, wanted in enumerate(reference, start=1):
        before, row = row, [(number, 0, number, 0)]
        for column, got in enumerate(hypothesis, start=1):
            diagonal, up, left = before[column - 1], before[column], row[column - 1]
            same = wanted == got
            row.append(
                min(
                    (diagonal[0] + (not same), diagonal[1] + (not same), diagonal[2], diagonal[3]),
                    (up[0] + 1, up[1], up[2] + 1, up[3]),
                    (left[0] + 1, left[1], left[2], left[3] + 1),
                )
            )
    _, substitutions, deletions, insertions = row[-1]
    return Edits(substitutions, deletions, insertions, len(reference))


def heard_text_error(claimed: str, heard: Sequence[str]) -> int:
    """Words between what the agent says was heard and the words that really ended at the ear."""
    return edits([word for item in heard for word in words_of(item)], words_of(claimed)).errors


def lost_words(text: str, heard: Sequence[str], *, whole: bool = False) -> list[str]:
    """Words of the text that were skipped: not spoken although a later word was.

    Args:
        whole: The reply was spoken to its end, so that what is missing there was skipped too.
    """
    wanted, spoken = words_of(text), [word for item in heard for word in words_of(item)]
    # The shortest part of the text that explains as many of the spoken words as all of it does, in their order.
    explained = _explained(wanted, spoken)
    return _missing(wanted if whole else wanted[: explained.index(explained[-1])], spoken)


def _explained(wanted: list[str], spoken: list[str]) -> list[int]:
    """Length of a longest common subsequence of the spoken words and the first 0, 1, 2, ... wanted ones."""
    found, row = [0], [0] * (len(spoken) + 1)
    for word in wanted:
        before, row = row, [0]
        for column, got in enumerate(spoken, start=1):
            row.append(before[column - 1] + 1 if word == got else max(before[column], row[-1]))
        found.append(row[-1])
    return found


def _missing(wanted: list[str], spoken: list[str]) -> list[str]:
    """What a longest common subsequence leaves out of `wanted`."""
    lengths = [[0] * (len(spoken) + 1) for _ in range(len(wanted) + 1)]
    for i in range(len(wanted) - 1, -1, -1):
        for j in range(len(spoken) - 1, -1, -1):
            same = lengths[i + 1][j + 1] + 1 if wanted[i] == spoken[j] else 0
            lengths[i][j] = max(same, lengths[i + 1][j], lengths[i][j + 1])
    missing, i, j = [], 0, 0
    while i < len(wanted):
        if j < len(spoken) and wanted[i] == spoken[j] and lengths[i][j] == lengths[i + 1][j + 1] + 1:
            i, j = i + 1, j + 1
        elif j < len(spoken) and lengths[i][j + 1] >= lengths[i + 1][j]:
            j += 1
        else:
            missing.append(wanted[i])
            i += 1
    return missing
