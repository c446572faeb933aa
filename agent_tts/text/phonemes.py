"""Text to phoneme ids for voices that read aligned text. Knows the phoneme alphabet, not the model that reads it.

A piece is phonemized with the words of its segment before it and the one word behind it, and only its own part is
kept: the tagger sees its context, and ids that were given out never change.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_tts.text.mapped import Chunk
from agent_tts.text.normalize import normalize
from agent_tts.text.segmenter import Segmenter
from agent_tts.text.units import Piece, TextUnit, WordSpan

START_ID = 0
"""Token in front of each segment, as in training."""
PUNCTUATION = frozenset(';:,.!?—…"()“” ')
SENTENCE_ENDS = frozenset(".!?…")
_UNTRAINED = str.maketrans({"—": ",", "…": ".", '"': None, "(": None, ")": None, "“": None, "”": None})
"""Marks the G2P may still give and the voice has hardly ever seen."""


class Phonemizer:
    """The G2P and its alphabet. Slow to build, so there is one per process: `shared_phonemizer()`."""

    def __init__(self) -> None:
        import hibari
        from hibari.g2p import G2P

        vocabulary = json.loads((Path(hibari.__file__).parent / "assets" / "vocab.json").read_text(encoding="utf-8"))
        self._ids: dict[str, int] = vocabulary
        self._g2p: Any = G2P()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Load what the G2P loads on first use (its net for unknown words)."""
        self.phonemes([Chunk("Zyqwort", 0, 7)])

    def ids(self, phonemes: str) -> tuple[int, ...]:
        """Ids of a phoneme string; a character without one is dropped, as the training data does."""
        return tuple(self._ids[character] for character in phonemes if character in self._ids)

    def phonemes(self, chunks: list[Chunk]) -> list[str]:
        """The phonemes of each chunk, read in the context of all of them."""
        with self._lock:
            tokens = self._g2p.phonemize_tokens(self._g2p.tokenize(" ".join(chunk.text for chunk in chunks)))
        return [part.translate(_UNTRAINED).strip() for part in _per_chunk(tokens, len(chunks))]


def _per_chunk(tokens: list[Any], num_chunks: int) -> list[str]:
    """Join the tokens up to each white space: the G2P keeps the white space of the text it was given."""
    parts = [""]
    for token in tokens:
        parts[-1] += token.phonemes or ""
        if token.whitespace:
            parts.append("")
    assert len(parts) == num_chunks, "the G2P no longer keeps white space"
    return parts


_building = threading.Lock()


def shared_phonemizer() -> Phonemizer:
    """The one G2P of this process. The first call takes about half a second, and callers meanwhile wait for it."""
    with _building:
        return _build_phonemizer()


@functools.cache
def _build_phonemizer() -> Phonemizer:
    return Phonemizer()


def warm() -> None:
    """Load the G2P now rather than with the first words."""
    shared_phonemizer().warm()


class AlignedTextFrontEnd:
    """One utterance: pushed text in, TextUnits out. Any chunking of the same text gives the same units.

    Used by one thread at a time. The units of a segment are given out as its pieces are committed; the last one has
    `closes_segment`. Text that has nothing to say gives no unit.
    """

    def __init__(self, phonemizer: Phonemizer | None = None) -> None:
        self._given = phonemizer
        self._segmenter = Segmenter()
        self._segment_tokens = 0  # of the open segment, given out so far
        self._last_character = ""

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._segmenter.num_characters

    @property
    def _phonemizer(self) -> Phonemizer:
        """Taken on first use, which is on the engine's thread; opening an utterance must not wait for it."""
        if self._given is None:
            self._given = shared_phonemizer()
        return self._given

    def push(self, text: str) -> None:
        """Add text, as the writer writes it."""
        self._segmenter.push(text)

    def flush(self) -> None:
        """Speak what is there: the segment ends here."""
        self._segmenter.flush()

    def end(self) -> None:
        """No more text."""
        self.flush()

    def next_unit(self) -> TextUnit | None:
        """The next committed unit, None when there is none yet. Reads no more text than that takes.

        So the first unit of a long text costs no more than that of a short one.
        """
        while (piece := self._segmenter.next_piece()) is not None:
            unit = self._unit(piece)
            if piece.closes_segment:
                self._segment_tokens = 0
                self._last_character = ""
                self._segmenter.drop_before(piece.end)
            if unit is not None:
                return unit
        return None

    def take(self) -> list[TextUnit]:
        """All units committed since the last call, in order."""
        units = []
        while (unit := self.next_unit()) is not None:
            units.append(unit)
        return units

    # -----------------------------------------------------------------------------------------------------------------

    def _unit(self, piece: Piece) -> TextUnit | None:
        tokens: list[int] = []
        words: list[WordSpan] = []
        for phonemes, chunk in self._own_chunks(piece):
            if not phonemes or (not self._begun(tokens) and not _is_spoken(phonemes)):
                continue
            tokens += [START_ID] if not self._begun(tokens) else self._phonemizer.ids(" ")
            first = self._segment_tokens + len(tokens)
            tokens += self._phonemizer.ids(phonemes)
            self._last_character = phonemes[-1]
            if _is_spoken(phonemes):
                last = first + len(self._phonemizer.ids(phonemes.rstrip("".join(PUNCTUATION))))
                self._add_word(words, piece, chunk, first, last)
        if piece.closes_segment and self._begun(tokens):
            if piece.is_sentence_end:
                self._end_sentence(tokens)
        elif not tokens:
            return None
        self._segment_tokens += len(tokens)
        return TextUnit(tuple(tokens), tuple(words), piece.closes_segment)

    def _begun(self, tokens: list[int]) -> bool:
        return bool(self._segment_tokens or tokens)

    def _own_chunks(self, piece: Piece) -> Iterator[tuple[str, Chunk]]:
        """The piece's chunks with their phonemes, read between what stands before and behind them."""
        text = self._segmenter.text(piece.segment_start, piece.look_ahead_end)
        chunks = normalize(text, piece.segment_start)
        for phonemes, chunk in zip(self._phonemizer.phonemes(chunks) if chunks else [], chunks, strict=True):
            if piece.start <= chunk.start < piece.end:
                yield phonemes, chunk

    def _end_sentence(self, tokens: list[int]) -> None:
        """A sentence without a mark at its end is read as one that has it."""
        if self._last_character in SENTENCE_ENDS:
            return
        if tokens and self._last_character in PUNCTUATION:
            tokens.pop()
        tokens += self._phonemizer.ids(".")

    def _add_word(self, words: list[WordSpan], piece: Piece, chunk: Chunk, first: int, last: int) -> None:
        """Add a word, or lengthen the last one when both come from the same pushed word."""
        start, end = self._whole_words(piece, chunk)
        if words and words[-1].text_end > start:
            previous = words.pop()
            start, first = previous.text_start, previous.token_start
            end = max(end, previous.text_end)
        words.append(WordSpan(self._segmenter.text(start, end), start, end, first, last))

    def _whole_words(self, piece: Piece, chunk: Chunk) -> tuple[int, int]:
        """The chunk's range, widened to the white space around it."""
        text = self._segmenter.text(piece.start, piece.end)
        start, end = chunk.start - piece.start, min(max(chunk.end, chunk.start + 1), piece.end) - piece.start
        while start > 0 and not text[start - 1].isspace():
            start -= 1
        while end < len(text) and not text[end].isspace():
            end += 1
        return piece.start + start, piece.start + end


def _is_spoken(phonemes: str) -> bool:
    return any(character not in PUNCTUATION for character in phonemes)
