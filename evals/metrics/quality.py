"""Word and character errors of many sentences, pooled, with intervals; two ways of speaking compared. All pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.metrics.stats import Interval, Verdict, bootstrap_ratio, paired
from evals.metrics.text import edits


@dataclass(frozen=True, slots=True)
class Heard:
    """One sentence, what a judge heard, and the errors in it."""

    text: str
    heard: str
    word_errors: int
    words: int
    character_errors: int
    characters: int

    @property
    def wer(self) -> float:
        return self.word_errors / max(1, self.words)


@dataclass(frozen=True, slots=True)
class QualitySummary:
    """All sentences of one way of speaking, by one judge."""

    judge: str
    mode: str
    n: int
    exact: int
    half_wrong: int
    """Sentences with a WER above 50 %."""
    wer: Interval | None
    cer: Interval | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_texts(text: str, heard: str, normalise: Callable[[str], str]) -> Heard:
    """Errors of one sentence after normalising both."""
    wanted, got = normalise(text).split(), normalise(heard).split()
    words = edits(wanted, got)
    characters = edits(list("".join(wanted)), list("".join(got)))
    return Heard(text, heard, words.errors, words.reference, characters.errors, characters.reference)


def summarise(judge: str, mode: str, heard: Sequence[Heard]) -> QualitySummary:
    """Pooled rates: errors over reference words, resampled by sentence."""
    return QualitySummary(
        judge=judge,
        mode=mode,
        n=len(heard),
        exact=sum(item.word_errors == 0 for item in heard),
        half_wrong=sum(item.wer > 0.5 for item in heard),
        wer=bootstrap_ratio([i.word_errors for i in heard], [i.words for i in heard]),
        cer=bootstrap_ratio([i.character_errors for i in heard], [i.characters for i in heard]),
    )


def against(first: Sequence[Heard], second: Sequence[Heard]) -> Verdict | None:
    """Word errors a sentence, second way of speaking minus the first: mean change, paired by sentence."""
    by_text = {item.text: item for item in second}
    pairs = [(item, by_text[item.text]) for item in first if item.text in by_text]
    # The median of word errors is nearly always 0; the mean is what WER is made of.
    return paired([a.word_errors for a, _ in pairs], [b.word_errors for _, b in pairs], mean=True)
