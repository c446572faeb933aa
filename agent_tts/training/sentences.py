"""Where training text comes from: WordNet's examples and glosses, fortunes, and our grammar.

Nothing of the two Debian packages is kept in the repository; sentences of the evaluation lists are
left out by their words, whatever their punctuation.
"""

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from agent_tts.training.grammar import Grammar
from agent_tts.training.wordlists import load_word_lists

WORDNET = Path("/usr/share/wordnet")
FORTUNES = Path("/usr/share/games/fortunes")
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
SANE = re.compile(r"[A-Za-z0-9 ,.;:?!'$%-]+")
MAX_WORDS = 30
GRAMMAR_PER_FOUND = 1.2
"""Grammar sentences for each sentence found in the packages."""


def fingerprint(text: str) -> str:
    """The words alone, so that punctuation and case make no second sentence."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def is_sane(text: str) -> bool:
    """Speakable as it stands: plain characters, a sensible length, no shouting."""
    words = text.split()
    return (
        SANE.fullmatch(text) is not None
        and 1 <= len(words) <= MAX_WORDS
        and max(map(len, words)) <= 16
        and sum(word.isupper() and len(word) > 1 for word in words) <= 1
    )


def _finish(text: str) -> str:
    text = re.sub(r"\([^)]*\)", "", text)
    text = re.sub(r"\s+", " ", text).strip(" ;:,\"'`-")
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def wordnet_sentences() -> Iterator[str]:
    """Examples and definitions, each as a sentence of its own."""
    for name in WORDNET_FILES:
        for line in (WORDNET / name).read_text(encoding="utf-8").splitlines():
            _, _, gloss = line.partition(" | ")
            for example in re.findall(r'"([^"]*)"', gloss):
                yield _finish(example)
            for part in re.sub(r'"[^"]*"', "", gloss).split(";"):
                if len(part.split()) >= 3:
                    yield _finish(part)


def fortune_sentences() -> Iterator[str]:
    """Sentences of the fortunes that are plain prose."""
    for path in sorted(FORTUNES.iterdir()):
        if path.suffix or path.is_symlink():
            continue
        for entry in path.read_text(encoding="utf-8", errors="replace").split("\n%\n"):
            prose = re.sub(r"\s+", " ", entry.split("\n\t\t")[0])
            yield from (_finish(part) for part in re.split(r"(?<=[.?!])\s+", prose) if len(part.split()) >= 3)


def lexicon_words() -> list[str]:
    """Words whose pronunciation the teacher's lexicon holds."""
    asset = resources.files("hibari") / "assets" / "lexicon_us_gold.json.gz"
    return list(json.loads(gzip.decompress(asset.read_bytes())))


def held_out_fingerprints(folder: Path) -> set[str]:
    """Fingerprints of every sentence in the evaluation lists."""
    lines = [line for path in sorted(folder.glob("*sentences.txt")) for line in path.read_text("utf-8").splitlines()]
    return {fingerprint(line) for line in lines}


def training_sentences(evals: Path, seed: int = 1) -> Iterator[str]:
    """Every sentence once, in an order fixed by `seed`; ends when the packages' sentences are used up."""
    seen = held_out_fingerprints(evals)
    rng = random.Random(seed)
    grammar = Grammar(load_word_lists(WORDNET, lexicon_words()), rng)
    found = sorted({text for text in [*wordnet_sentences(), *fortune_sentences()] if text and is_sane(text)})
    found.sort(key=lambda text: hashlib.sha256(f"{seed}{text}".encode()).digest())
    due = 0.0
    for text in found:
        due += GRAMMAR_PER_FOUND
        made = [grammar.sentence() for _ in range(int(due))]
        due -= len(made)
        for candidate in [text, *made]:
            words = fingerprint(candidate)
            if is_sane(candidate) and words and words not in seen:
                seen.add(words)
                yield candidate
