"""What may end between two words: pure functions of the words around a boundary, blind to all that comes later."""

from __future__ import annotations

import re
from enum import IntEnum


class Boundary(IntEnum):
    """What may end between two words."""

    NOTHING = 0
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3


_CLOSERS = "\"'”’)]}*_~`»"
_OPENERS = "\"'“‘([{*_~`«"
_SENTENCE_END = re.compile(rf"[.!?…。！？]+[{re.escape(_CLOSERS)}]*$")
_CLAUSE_END = re.compile(rf"[,;:—–][{re.escape(_CLOSERS)}]*$")
_DASHES = frozenset(("-", "–", "—", "--", "―"))
_LINE_MARK = re.compile(r"(?:[-*•+>|]|#{1,6}|\d{1,3}[.)])$")
_ROMAN = re.compile(r"[IVXLC]+$")
_OPEN_TAG = re.compile(r"<(?=[A-Za-z/!|])[^<>]{0,200}$")
_OPEN_BRACKET = re.compile(r"\[[^\[\]]{0,200}$")

_TITLES = frozenset(
    "mr mrs ms dr prof mt ft gen gov sen rep capt lt col sgt cmdr rev hon pres supt cpl maj adm msgr fr".split()
)
_LABELS = frozenset(
    "no nos vol fig ch pp approx est ext jan feb mar apr jun jul aug sep sept oct nov dec "
    "mon tue tues wed thu thurs fri sat sun".split()
)
"""With a period these do not end a sentence before a number."""
_NEVER_LAST = frozenset("e.g i.e cf vs viz".split())
_SOMETIMES_LAST = frozenset(
    "inc ltd corp co bros jr sr etc al a.m p.m u.s u.k u.n d.c e.u ph.d m.d b.a m.a "
    "st ave blvd rd ln hwy apt bldg dept univ assn".split()
)
"""With a period these end a sentence only before a word that begins sentences."""
_SENTENCE_STARTERS = frozenset(
    "the a an it its this that these those he she we they i you his her my your our their there here what when where "
    "who why how which if as at in on for from with and but so or then also however after before while since although "
    "because would could can do does did is are was were please let let's i'm i'll i've we'll we're you're it's that's "
    "there's yes no not now today tomorrow yesterday sorry thanks thank ok okay well one some many most all "
    "each".split()
)
_CLINGS = frozenset(
    "a an the to of in on at by for from with and or but nor as if than that which who whose whom is are was were be "
    "been am has have had will would can could shall should may might must do does did not no my your his her its our "
    "their this these those i you he she we they it very so too such per via into onto about used".split()
)
"""Words that lean on the next one: no piece ends behind them, they would be read in their stressed form."""


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
    if stem in _NEVER_LAST or (stem in _TITLES and core[:1].isupper()) or (stem in _LABELS and start.isdigit()):
        return Boundary.NOTHING
    if len(stem) == 1 and stem.isalpha() and core != "I.":
        return Boundary.NOTHING
    if stem in _SOMETIMES_LAST or re.fullmatch(r"(?:[a-z]\.)+[a-z]", stem):
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
    if not clause and (last.lower() in _TITLES or last in ("St", "Mt", "Ft")) and following[:1].isupper():
        return True
    return not clause and last[:1].isupper() and _ROMAN.match(following.rstrip(".,;:!?")) is not None


def _bare(word: str) -> str:
    return word.strip("\"'“”‘’()[]{}*_~`.,;:!?…").lower().replace("’", "'")


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _has_letter(word: str) -> bool:
    return any(character.isalpha() for character in word)


def estimated_length(word: str) -> float:
    """About how many phonemes a word takes, its space included."""
    digits = sum(character.isdigit() for character in word)
    spelled = len(word) > 1 and word.isupper()
    return 1.0 + (len(word) - digits) * (2.5 if spelled else 1.0) + 4.0 * digits
