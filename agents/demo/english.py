"""Whether a reply is English. The bundled voice reads nothing else; a small language model may say "Bien sûr".

Judged by the lexicon that comes with the voice's G2P; it holds some 180,000 words.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from pathlib import Path

LEXICONS = ("lexicon_us_gold.json.gz", "lexicon_us_silver.json.gz")
BORROWED = frozenset("bonjour ciao est gracias hola la merci".split())
"""The lexicon lists them, as they occur in English texts. A sentence of them is none."""
ENDING = re.compile(r"(?:'(?:s|d|m|t|ll|re|ve))$")
LEAST_SHARE = 0.6
"""Of the words of a sentence; names are in no lexicon."""


def foreign_sentences(text: str) -> list[str]:
    """The sentences that are not English."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return [sentence for sentence in sentences if not _is_english(sentence)]


def _is_english(sentence: str) -> bool:
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", sentence.lower().replace("\u2019", "'"))
    known = [word for word in words if word not in BORROWED and not _lexicon().isdisjoint((word, ENDING.sub("", word)))]
    return len(known) >= LEAST_SHARE * len(words)


@functools.cache
def _lexicon() -> frozenset[str]:
    import hibari

    folder = Path(hibari.__file__).parent / "assets"
    words: set[str] = set()
    for name in LEXICONS:
        words.update(word.lower() for word in json.loads(gzip.decompress((folder / name).read_bytes())))
    return frozenset(words)
