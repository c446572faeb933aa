"""Whose voice is it? Cosines between speaker embeddings, each beside its floor: what other people's voices reach.

    same        a sentence and the next one of the same voice          how steady the voice is
    streamed    a sentence with its text streamed, and whole           what streaming does to the voice
    reference   each sentence and a recording (--reference)            cloning
    others      each sentence and other people's recordings            the floor of all of these

Knows embeddings and pairs, not who speaks or how embeddings come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

Embedding = npt.NDArray[np.float32]

OTHERS_PACKAGE, OTHERS = "moonshine_voice", ("two_cities.wav", "beckett.wav")
"""Recordings of people inside a package that the second judge comes with (MIT)."""


def cosine(one: Embedding, other: Embedding) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def same_voice(sentences: Sequence[Embedding]) -> list[float]:
    """Each sentence against the next one, the last against the first; nothing for fewer than three."""
    if len(sentences) < 3:
        return []
    return [cosine(one, sentences[(index + 1) % len(sentences)]) for index, one in enumerate(sentences)]


def pairwise(first: Sequence[Embedding | None], second: Sequence[Embedding | None]) -> list[float]:
    """Sentence by sentence; those that either side lacks are left out."""
    pairs = zip(first, second, strict=True)
    return [cosine(one, other) for one, other in pairs if one is not None and other is not None]


def against_all(sentences: Sequence[Embedding], others: Sequence[Embedding]) -> list[float]:
    """Each sentence's mean cosine to the other recordings: one value a sentence, so that sentences are resampled."""
    return [float(np.mean([cosine(one, other) for other in others])) for one in sentences] if others else []


def other_people(folder: Path | None) -> list[Path]:
    """Recordings of others: all WAV files of a folder, else those of the package, else none."""
    if folder is not None:
        return sorted(folder.glob("*.wav"))
    found = find_spec(OTHERS_PACKAGE)
    places = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    return [path for place in places for name in OTHERS if (path := place / "assets" / name).exists()]
