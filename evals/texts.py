"""What is said in an evaluation: sentences of configs/evals, drawn so that no text occurs twice in a run.

A repeated prompt is a present to a prefix cache. When the sentences are used up, they come again behind a number that
makes them new from their first word on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SENTENCES = Path(__file__).parent.parent / "configs" / "evals" / "plain_sentences.txt"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text and when the LLM writes it, seconds after the first."""

    at_s: float
    text: str


def sentences(path: Path = SENTENCES) -> list[str]:
    """The sentences of a file, one a line; empty lines and lines that begin with # are left out."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def unique_texts(seed: int, *, num_sentences: int = 1, path: Path = SENTENCES) -> Iterator[str]:
    """Replies of so many sentences, without end and without repetition; the same seed gives the same ones."""
    pool, numbers, lap = sentences(path), random.Random(seed), 0
    while True:
        numbers.shuffle(pool)
        for start in range(0, len(pool) - num_sentences + 1, num_sentences):
            text = " ".join(pool[start : start + num_sentences])
            yield text if not lap else f"Number {numbers.randrange(1000, 10_000)}-{lap}: {text}"
        lap += 1


def text_of_words(seed: int, num_words: int, *, path: Path = SENTENCES) -> str:
    """A reply of exactly so many words, ended by a full stop."""
    words: list[str] = []
    replies = unique_texts(seed, path=path)
    while len(words) < num_words:
        words += next(replies).split()
    return " ".join(words[:num_words]).rstrip(".,!?;:") + "."


def at_once(text: str) -> list[Token]:
    """All of the text with the first push."""
    return [Token(0.0, text)]


def llm_pace(text: str, seed: int, *, tokens_per_s: float = 30.0) -> list[Token]:
    """Text as an LLM writes it: a word or less at a time, exponential gaps; the same for the same seed."""
    tokens: list[Token] = []
    numbers, at_s = random.Random(seed), 0.0
    for word in text.split(" "):
        piece = word if not tokens else " " + word
        cut = numbers.randrange(2, len(piece)) if len(piece) > 7 else len(piece)
        for part in (piece[:cut], piece[cut:]):
            if part:
                tokens.append(Token(at_s, part))
                at_s += numbers.expovariate(tokens_per_s)
    return tokens
