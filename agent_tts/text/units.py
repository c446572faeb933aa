"""What the text front end hands to the engine: phoneme ids with the words they belong to. No torch, no rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WordSpan:
    """One spoken word: where it stands in the pushed text and in its segment's tokens.

    Attributes:
        text: The pushed text from `text_start` to `text_end`, punctuation included. "$3.50" is one word.
        text_start, text_end: Character positions in all text pushed into the utterance.
        token_start, token_end: Range in the tokens of the whole segment (its units joined), without the space before
            the word and the punctuation after it.
    """

    text: str
    text_start: int
    text_end: int
    token_start: int
    token_end: int


@dataclass(frozen=True, slots=True)
class TextUnit:
    """A piece of a segment whose reading can no longer change.

    The tokens of a segment are those of its units, joined. A segment's first unit begins with the start token.
    `token_ids` may be empty only where `closes_segment` is true.
    """

    token_ids: tuple[int, ...]
    words: tuple[WordSpan, ...]
    closes_segment: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of the pushed text that the segmenter has committed.

    Attributes:
        segment_start: Where its segment begins.
        start, end: The piece itself.
        look_ahead_end: End of the next word, which is known and may colour the reading; = end where the segment closes.
        closes_segment: No further piece belongs to this segment.
        is_sentence_end: The segment ends here as a sentence does, not because it had grown too long.
    """

    segment_start: int
    start: int
    end: int
    look_ahead_end: int
    closes_segment: bool
    is_sentence_end: bool
