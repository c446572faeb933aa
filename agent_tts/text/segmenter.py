"""Cuts streamed text into segments (about a sentence) and pieces (a clause or a few words). Knows no phonemes.

    "Dr. Li paid $3.50 for it, and left. Then she called."
     └──── piece ─────┘└ piece ┘└─piece─┘ └──  segment 2
     └──────────── segment 1 ───────────┘

What comes out depends on the text alone, never on how it was chunked: each boundary between two words is judged once,
when the word behind it is complete, from the text up to the end of that word. A flush is part of the text in this
sense: it ends the segment where it stands.
"""

from __future__ import annotations

import re
from enum import IntEnum

from agent_tts.text.units import Piece

FIRST_PIECE_WORDS = 3
PIECE_WORDS = 6
MAX_PIECE_WORDS = 16
"""A piece this long ends at the next space, whatever stands there."""
CLAUSE_LENGTH = 240
WORD_LENGTH = 320
MAX_LENGTH = 380
"""Estimated phonemes (about 15 a second) from which a segment ends at a clause, at a safe word, at any word."""
MAX_WORD_CHARACTERS = 400
"""Text without spaces is cut here, so that it cannot grow for ever."""


class Boundary(IntEnum):
    """What may end between two words."""

    NOTHING = 0
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3


class Segmenter:
    """One utterance's text, pushed in any portions; `take()` gives the pieces committed since the last call."""

    def __init__(self) -> None:
        self._text = ""
        self._base = 0  # characters dropped in front of _text
        self._scanned = 0  # all words that end before this position have been judged
        self._words: list[tuple[int, int]] = []  # of the open segment
        self._piece_first = 0  # index of the open piece's first word
        self._length = 0.0
        self._spoken_first_piece = False
        self._pieces: list[Piece] = []

    @property
    def num_characters(self) -> int:
        """Characters pushed so far."""
        return self._base + len(self._text)

    def push(self, text: str) -> None:
        """Add text. A word is judged when the white space behind it has arrived."""
        self._text += text
        self._scan(final=False)

    def flush(self) -> None:
        """End the segment here: nothing that follows changes what has been pushed."""
        self._scan(final=True)
        if self._words:
            self._commit(None, closes=True, sentence=True)

    def take(self) -> list[Piece]:
        """Pieces committed since the last call, in order."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def text(self, start: int, end: int) -> str:
        """Pushed text of a piece or of its segment; kept until the segment has been closed and taken."""
        assert start >= self._base, "this text has been dropped"
        return self._text[start - self._base : end - self._base]

    def drop_before(self, position: int) -> None:
        """Forget text before `position`, which no piece to come will ask for."""
        count = min(position, self._words[0][0] if self._words else self._scanned) - self._base
        if count > 0:
            self._text = self._text[count:]
            self._base += count

    # -----------------------------------------------------------------------------------------------------------------

    def _scan(self, *, final: bool) -> None:
        for match in _WORD.finditer(self._text, self._scanned - self._base):
            start, end = self._base + match.start(), self._base + match.end()
            complete = end < self.num_characters or match.end() - match.start() == MAX_WORD_CHARACTERS
            if not complete and not final:
                return
            self._judge(start, end)
            self._words.append((start, end))
            self._length += _estimated_length(match.group())
            self._scanned = end
        if final:
            self._scanned = self.num_characters

    def _judge(self, start: int, end: int) -> None:
        """Decide what ends between the last word and the one that begins at `start`."""
        if not self._words:
            return
        boundary = self._boundary(start, end)
        closes = boundary == Boundary.SENTENCE or (
            self._length >= CLAUSE_LENGTH
            and (boundary >= Boundary.CLAUSE or (self._length >= WORD_LENGTH and boundary >= Boundary.WORD))
        )
        if closes or self._length >= MAX_LENGTH:
            self._commit(end, closes=True, sentence=boundary == Boundary.SENTENCE)
        elif self._ends_piece(boundary):
            self._commit(end, closes=False, sentence=False)

    def _ends_piece(self, boundary: Boundary) -> bool:
        num_words = len(self._words) - self._piece_first
        if num_words >= MAX_PIECE_WORDS:
            return True
        first = not self._spoken_first_piece
        if boundary >= Boundary.CLAUSE:
            return num_words >= (1 if first else 2)
        return boundary == Boundary.WORD and num_words >= (FIRST_PIECE_WORDS if first else PIECE_WORDS)

    def _boundary(self, start: int, end: int) -> Boundary:
        last_start, last_end = self._words[-1]
        gap = self.text(last_end, start)
        so_far = self.text(self._words[0][0], last_end)
        before = self.text(*self._words[-2]) if len(self._words) > 1 else ""
        boundary = judge_boundary(before, self.text(last_start, last_end), gap, self.text(start, end))
        if boundary == Boundary.NOTHING or not has_open_construct(so_far):
            if boundary == Boundary.SENTENCE and self._length < CLAUSE_LENGTH / 2 and is_inside_quotes(so_far):
                return Boundary.CLAUSE
            return boundary
        return Boundary.NOTHING

    def _commit(self, look_ahead_end: int | None, *, closes: bool, sentence: bool) -> None:
        start, end = self._words[self._piece_first][0], self._words[-1][1]
        self._pieces.append(
            Piece(
                segment_start=self._words[0][0],
                start=start,
                end=end,
                look_ahead_end=end if closes or look_ahead_end is None else look_ahead_end,
                closes_segment=closes,
                is_sentence_end=sentence,
            )
        )
        self._spoken_first_piece = True
        if closes:
            self._words = []
            self._piece_first = 0
            self._length = 0.0
        else:
            self._piece_first = len(self._words)


# ---------------------------------------------------------------------------------------------------------------------
# Rules: pure functions of the words around a boundary

_WORD = re.compile(rf"\S{{1,{MAX_WORD_CHARACTERS}}}")
_CLOSERS = "\"'”’)]}*_~`»"
_OPENERS = "\"'“‘([{*_~`«"
_SENTENCE_END = re.compile(rf"[.!?…。！？]+[{re.escape(_CLOSERS)}]*$")
_CLAUSE_END = re.compile(rf"[,;:—–][{re.escape(_CLOSERS)}]*$")
_DASHES = frozenset(("-", "–", "—", "--", "―"))
_LINE_MARK = re.compile(r"(?:[-*•+>|]|#{1,6}|\d{1,3}[.)])$")
_ROMAN = re.compile(r"[IVXLC]+$")
_OPEN_TAG = re.compile(r"<(?=[A-Za-z/!|])[^<>]{0,200}$")
_OPEN_BRACKET = re.compile(r"\[[^\[\]]{0,200}$")

_ALWAYS_ABBREVIATED = frozenset(
    "mr mrs ms dr prof st mt ft gen gov sen rep capt lt col sgt cmdr rev hon pres supt cpl maj adm msgr fr "
    "e.g i.e cf vs viz approx est no nos vol fig ch pp ed eds jan feb mar apr jun jul aug sep sept oct nov dec "
    "mon tue tues wed thu thurs fri sat sun ave blvd rd ln hwy apt bldg dept univ assn".split()
)
"""With a period these do not end a sentence before a capital, digit or name; at the end of text they do."""
_SOMETIMES_ABBREVIATED = frozenset(
    "inc ltd corp co bros jr sr etc al a.m p.m u.s u.k u.n d.c e.u ph.d m.d b.a m.a".split()
)
"""These end a sentence only before a word that begins sentences."""
_SENTENCE_STARTERS = frozenset(
    "the a an it its this that these those he she we they i you his her my your our their there here what when where "
    "who why how which if as at in on for from with and but so or then also however after before while since although "
    "because would could can do does did is are was were please let let's i'm i'll i've we'll we're you're it's that's "
    "there's yes no not now today tomorrow yesterday sorry thanks thank ok okay well one some many most all each".split()
)
_CLINGS = frozenset(
    "a an the to of in on at by for from with and or but nor as if than that which who whose whom is are was were be "
    "been am has have had will would can could shall should may might must do does did not no my your his her its our "
    "their this these those i you he she we they it very so too such per via into onto about used".split()
)
"""Words that lean on the next one: no piece ends behind them, they would be read in their stressed form."""
_TITLES = frozenset("mr mrs ms dr prof st mt ft gen gov sen rep capt lt col sgt rev hon".split())


def judge_boundary(before: str, last: str, gap: str, following: str) -> Boundary:
    """What may end between the words `last` and `following`; `before` is the word in front of `last`."""
    if "\n" in gap and _ends_line(gap, last, following):
        return Boundary.SENTENCE
    if _LINE_MARK.match(last) and (not before or last[0] in "*•+>|#"):
        return Boundary.NOTHING
    if _SENTENCE_END.search(last):
        return _judge_sentence_end(last, following)
    if _is_unsafe(before, last, following):
        return Boundary.NOTHING
    if _CLAUSE_END.search(last) or last in _DASHES:
        return Boundary.CLAUSE
    return Boundary.NOTHING if _bare(last) in _CLINGS else Boundary.WORD


def has_open_construct(text: str) -> bool:
    """True inside a markup tag, a link text or inline code: what follows may take the words back."""
    return bool(_OPEN_TAG.search(text) or _OPEN_BRACKET.search(text)) or text.count("`") % 2 == 1


def is_inside_quotes(text: str) -> bool:
    """True while a double quote or a parenthesis stands open."""
    return text.count('"') % 2 == 1 or text.count("“") > text.count("”") or text.count("(") > text.count(")")


def _judge_sentence_end(last: str, following: str) -> Boundary:
    start = following.lstrip(_OPENERS)[:1]
    if start.islower() or following in _DASHES:
        return Boundary.CLAUSE if last.rstrip(_CLOSERS)[-1:] in "!?…" or last.endswith("..") else Boundary.NOTHING
    core = last.strip(_OPENERS + _CLOSERS)
    if not core.endswith(".") or core.endswith(".."):
        return Boundary.SENTENCE
    stem = core[:-1].lower()
    if stem in _ALWAYS_ABBREVIATED or (len(stem) == 1 and stem.isalpha() and stem != "i"):
        return Boundary.NOTHING
    if stem in _SOMETIMES_ABBREVIATED or re.fullmatch(r"(?:[a-z]\.)+[a-z]", stem):
        return Boundary.SENTENCE if _bare(following) in _SENTENCE_STARTERS and start.isupper() else Boundary.NOTHING
    return Boundary.SENTENCE


def _ends_line(gap: str, last: str, following: str) -> bool:
    """A line break ends a segment, unless the line was wrapped inside a sentence."""
    if gap.count("\n") > 1 or _LINE_MARK.match(following):
        return True
    if _CLAUSE_END.search(last) or _bare(last) in _CLINGS:
        return False
    return not following.lstrip(_OPENERS)[:1].islower()


def _is_unsafe(before: str, last: str, following: str) -> bool:
    """True where both words may be read as one thing: a number, a date, a title and its name, a formula."""
    clause = _CLAUSE_END.search(last) is not None
    if _has_digit(last) and _has_digit(following):
        return True
    if not clause and (_has_digit(last) or _has_digit(following)):
        return True
    if following in _DASHES or (last in _DASHES and (_has_digit(before) or _has_digit(following))):
        return True
    if last not in _DASHES and not (_has_letter(last) and _has_letter(following)):
        return True
    if not clause and last.lower() in _TITLES and following[:1].isupper():
        return True
    return not clause and last[:1].isupper() and _ROMAN.match(following.rstrip(".,;:!?")) is not None


def _bare(word: str) -> str:
    return word.strip("\"'“”‘’()[]{}*_~`.,;:!?…").lower().replace("’", "'")


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _has_letter(word: str) -> bool:
    return any(character.isalpha() for character in word)


def _estimated_length(word: str) -> float:
    """About how many phonemes a word takes, its space included."""
    digits = sum(character.isdigit() for character in word)
    spelled = len(word) > 1 and word.isupper()
    return 1.0 + (len(word) - digits) * (2.5 if spelled else 1.0) + 4.0 * digits
