"""Amounts of money as they are said: "$3.50" -> "3 dollars and 50 cents"."""

from __future__ import annotations

import re

from agent_tts.text.mapped import MappedText

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_CODES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "t": "trillion"}
_SCALE = r"(?:\s?(hundred|thousand|million|billion|trillion|[kKmMbBtT]|[mb]n)(?!\w))?"
_AMOUNT = r"(\d+(?:,\d{3})*)(?:\.(\d+))?"
_SIGN_FIRST = re.compile(rf"(?<!\w)(?:US|CA|A|C)?([$€£¥₹])\s?{_AMOUNT}{_SCALE}(?!\w)")
_SIGN_LAST = re.compile(rf"(?<![\w.]){_AMOUNT}{_SCALE}\s?([€£₹]|USD|EUR|GBP|JPY|INR)(?!\w)")
_CODE_FIRST = re.compile(rf"(?<!\w)(USD|EUR|GBP|JPY|INR)\s?{_AMOUNT}{_SCALE}(?!\w)")
_ARTICLE = re.compile(r"(?i)(?:\ban?|\bthe|\bthis|\byour|\bone|\beach)\s+$")
_NOUN = re.compile(
    r"\s(?!(?:of|in|for|and|to|or|is|are|was|were|per|from|off|a|an|on|by|at|each|will|would|more|less|that|which|"
    r"you|we|they|he|she|it|i|the|this|today|now|back|with|as|if|when|but|plus|extra|total|due|left|remaining)\b)[a-z]"
)


def say_money(text: MappedText) -> None:
    """Put amounts into words; numbers stay digits."""
    text.sub(_SIGN_FIRST, lambda match: _say(match, match[1], match[2], match[3], match[4]))
    text.sub(_SIGN_LAST, lambda match: _say(match, match[4], match[1], match[2], match[3]))
    text.sub(_CODE_FIRST, lambda match: _say(match, match[1], match[2], match[3], match[4]))


def _say(match: re.Match[str], sign: str, whole: str, fraction: str | None, scale: str | None) -> str:
    one, many, small_one, small_many = _CURRENCIES[_CODES.get(sign, sign)]
    whole = f"{int(whole.replace(',', '')):,}"  # without the comma, four digits would be read as a year
    if scale:
        number = f"{whole}.{fraction}" if fraction else whole
        return f"{number} {_SCALES.get(scale.lower(), scale)} {_unit(match, one, many)}"
    if fraction is None or not fraction.strip("0"):
        return f"{whole} {one if whole == '1' else _unit(match, one, many)}"
    if len(fraction) != 2 or not small_one:
        return f"{whole}.{fraction} {many}"
    small = f"{int(fraction)} {small_one if int(fraction) == 1 else small_many}"
    return small if not whole.strip("0") else f"{whole} {one if whole == '1' else many} and {small}"


def _unit(match: re.Match[str], one: str, many: str) -> str:
    """ "A $5 bill" has a dollar, "I paid $5" has dollars."""
    attributive = _ARTICLE.search(match.string, 0, match.start()) and _NOUN.match(match.string, match.end())
    return one if attributive else many
