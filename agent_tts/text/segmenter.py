"""Cuts streamed text into segments (about a sentence) and pieces (a clause or a few words). Knows no phonemes.

    "Dr. Li paid $3.50 for it, and left. Then she called."
     └──── piece ─────┘└ piece ┘└─piece─┘ └──  segment 2
     └──────────── segment 1 ───────────┘

What comes out depends on the text alone, never on how it was chunked: each boundary between two words is judged once,
when the word behind it is complete, from the text up to the end of that word. A flush is part of the text in this
sense: it ends the segment where it stands.
"""

from __future__ import annotations

from collections import deque

from agent_tts.text.boundaries import (
    Boundary,
    estimated_length,
    has_open_construct,
    is_inside_quotes,
    judge_boundary,
)
from agent_tts.text.pushed import NoWord, PushedText, Word
from agent_tts.text.units import Piece

FIRST_PIECES_WORDS = (3, 2, 2, 3)
"""Least words of an utterance's first pieces. They are short because little has been spoken that could be played until
the next one is complete: with a second piece of six words, an LLM of 30 tokens a second left a gap of 150 ms behind the
first word in one reply of four."""
PIECE_WORDS = 6
MAX_PIECE_WORDS = 16
"""A piece this long ends at the next space, whatever stands there."""
CLAUSE_LENGTH = 240
WORD_LENGTH = 320
MAX_LENGTH = 380
"""Estimated phonemes (about 15 a second) from which a segment ends at a clause, at a safe word, at any word."""
MAX_WORD_CHARACTERS = 400
"""Text without spaces is cut here, so that it cannot grow for ever."""


class Segmenter:
    """One utterance's text, pushed in any portions; `next_piece()` gives one committed piece after the other."""

    def __init__(self) -> None:
        self._pushed = PushedText(MAX_WORD_CHARACTERS)
        self._words: list[Word] = []  # of the open segment
        self._piece_first = 0  # index of the open piece's first word
        self._length = 0.0
        self._num_pieces = 0  # of the utterance
        self._pieces: deque[Piece] = deque()

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._pushed.num_characters

    def push(self, text: str) -> None:
        """Add text. A word is judged when the white space behind it has arrived."""
        self._pushed.push(text)

    def flush(self) -> None:
        """End the segment here: nothing that follows changes what has been pushed."""
        self._pushed.flush()

    def next_piece(self) -> Piece | None:
        """The next piece, None when the text so far commits no more. Looks no further than it must."""
        while not self._pieces:
            if not self._judge_next_word():
                return None
        return self._pieces.popleft()

    def text(self, start: int, end: int) -> str:
        """Pushed text of a piece or of its segment; kept until drop_before()."""
        return self._pushed.text(start, end)

    def drop_before(self, position: int) -> None:
        """Forget text before `position`, which no piece to come will ask for."""
        self._pushed.drop_before(min(position, self._words[0].start if self._words else self._pushed.num_read))

    # -----------------------------------------------------------------------------------------------------------------

    def _judge_next_word(self) -> bool:
        """Judge one word, or one flush. False when neither is there."""
        word = self._pushed.next_word()
        if word is NoWord.YET:
            return False
        if word is NoWord.FLUSH:
            if self._words:
                self._commit(None, closes=True, sentence=True)
            return True
        self._judge(word)
        self._words.append(word)
        self._length += estimated_length(self.text(word.start, word.end))
        return True

    def _judge(self, word: Word) -> None:
        """Decide what ends between the last word and this one."""
        if not self._words:
            return
        boundary = self._boundary(word)
        closes = boundary == Boundary.SENTENCE or (
            self._length >= CLAUSE_LENGTH
            and (boundary >= Boundary.CLAUSE or (self._length >= WORD_LENGTH and boundary >= Boundary.WORD))
        )
        if closes or self._length >= MAX_LENGTH:
            self._commit(word.end, closes=True, sentence=boundary == Boundary.SENTENCE)
        elif self._ends_piece(boundary):
            self._commit(word.end, closes=False, sentence=False)

    def _ends_piece(self, boundary: Boundary) -> bool:
        num_words = len(self._words) - self._piece_first
        if num_words >= MAX_PIECE_WORDS:
            return True
        if boundary >= Boundary.CLAUSE:
            return num_words >= (2 if self._num_pieces else 1)
        least = FIRST_PIECES_WORDS[self._num_pieces] if self._num_pieces < len(FIRST_PIECES_WORDS) else PIECE_WORDS
        return boundary == Boundary.WORD and num_words >= least

    def _boundary(self, word: Word) -> Boundary:
        last = self._words[-1]
        so_far = self.text(self._words[0].start, last.end)
        before = self.text(self._words[-2].start, self._words[-2].end) if len(self._words) > 1 else ""
        boundary = judge_boundary(
            before, self.text(last.start, last.end), self.text(last.end, word.start), self.text(word.start, word.end)
        )
        if boundary == Boundary.NOTHING or not has_open_construct(so_far):
            if boundary == Boundary.SENTENCE and self._length < CLAUSE_LENGTH / 2 and is_inside_quotes(so_far):
                return Boundary.CLAUSE
            return boundary
        return Boundary.NOTHING

    def _commit(self, look_ahead_end: int | None, *, closes: bool, sentence: bool) -> None:
        start, end = self._words[self._piece_first].start, self._words[-1].end
        self._pieces.append(
            Piece(
                segment_start=self._words[0].start,
                start=start,
                end=end,
                look_ahead_end=end if closes or look_ahead_end is None else look_ahead_end,
                closes_segment=closes,
                is_sentence_end=sentence,
            )
        )
        self._num_pieces += 1
        if closes:
            self._words = []
            self._piece_first = 0
            self._length = 0.0
        else:
            self._piece_first = len(self._words)
