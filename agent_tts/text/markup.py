"""What stands in a reply for the eye and must not be read: markup, control tokens, emoji, link targets, quotes."""

from __future__ import annotations

import html
import re

from agent_tts.text.mapped import MappedText

_EMOJI = (
    "\U0001f000-\U0001faff"  # pictographs, flags, symbols
    "\u2190-\u21ff\u2300-\u23ff\u2460-\u27bf\u2900-\u297f\u2b00-\u2bff"  # arrows, technical, dingbats
    "\u3030\u303d\u3297\u3299\ufe0e\ufe0f\u20e3\u200d\U000e0020-\U000e007f"
)
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u2060\ufeff\u202a-\u202e\u2066-\u2069\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|apos|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
_CONTROL_TOKEN = re.compile(r"<\|[^|<>]{0,100}\|>")
_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,200}>")
_FENCE = re.compile(r"```[a-zA-Z0-9+#-]*")
_LINK = re.compile(r"!?\[([^\[\]]{1,200})\]\([^()\s]{0,500}\)")
_FOOTNOTE = re.compile(r"\[\^?\d{1,3}\]|\[[ xX]\](?=\s)")
_BRACKETS = re.compile(r"[\[\]{}]")
_HEADER = re.compile(r"(?m)^[ \t]{0,3}#{1,6}[ \t]+|(?m:[ \t]+#{1,6}[ \t]*$)")
_RULE = re.compile(r"(?m)^[ \t]*([-*_=])[ \t]*(?:\1[ \t]*){2,}$")
_QUOTE_MARK = re.compile(r"(?m)^[ \t]*>+[ \t]+(?=[^\d\s])")
_BULLET = re.compile(r"(?m)^[ \t]*[-*+•▪◦‣·–][ \t]+")
_TABLE_EDGE = re.compile(r"(?m)^[ \t]*\|[ \t|:-]*|[ \t]*\|[ \t]*$")
_TABLE_CELL = re.compile(r"[ \t]*\|+[ \t]*")
_TIMES = re.compile(r"(?<=\d)[ \t]*[*×][ \t]*(?=\d)")
_STARS = re.compile(r"\*+|~~+|`+")
_OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_INNER_UNDERSCORE = re.compile(r"_+")
_EMOTICON = re.compile(r"(?<!\S)(?:[:;=8][-^']?[)(DPp\]\[}{/|*3]|<3|[xX]D|\^_?\^)(?=\s|$|[.,!?])")
_EMOJI_RUN = re.compile(f"[{_EMOJI}]+")
_FEET_INCHES = re.compile(r"(?<![\w.])(\d{1,2})['′’]\s?(\d{1,2})(?:[\"″”]|(?!\w))")
_INCHES = re.compile(r"(?<=\d)[\"″](?!\w)")
_TYPOGRAPHIC_APOSTROPHE = re.compile("[’‘ʼ´]")
_DOUBLE_QUOTES = re.compile('["“”„«»]')
_AND = re.compile(r"(?<=\s)'n'?(?=\s)")
_OPENING_QUOTE = re.compile(r"(?<!\w)'+(?=\w)(?!(?:\d0s|em|til|cause|tis|twas|bout|round)\b)")
_CLOSING_QUOTE = re.compile(r"(?<=[\w.,!?;:])'+(?!\w)")


def strip_markup(text: MappedText) -> None:
    """Leave the words that are meant to be heard. Text that looks like a control token is dropped, never a token."""
    text.sub(_INVISIBLE, "")
    text.sub(_ENTITY, lambda match: html.unescape(match.group()).replace("\u00a0", " "))
    text.sub(_CONTROL_TOKEN, " ")
    text.sub(_EMOTICON, " ")
    text.sub(_TAG, " ")
    text.sub(_FENCE, " ")
    _strip_markdown(text)
    text.sub(_EMOJI_RUN, " ")
    _strip_quotes(text)


def _strip_markdown(text: MappedText) -> None:
    text.keep(_LINK)
    text.sub(_FOOTNOTE, "")
    text.sub(_RULE, " ")
    text.sub(_HEADER, "")
    text.sub(_QUOTE_MARK, "")
    text.sub(_BULLET, "")
    text.sub(_TABLE_EDGE, "")
    text.sub(_TABLE_CELL, ", ")
    text.sub(_BRACKETS, " ")
    text.sub(_TIMES, " times ")
    text.sub(_STARS, "")
    text.sub(_OUTER_UNDERSCORE, "")
    text.sub(_INNER_UNDERSCORE, " ")


def _strip_quotes(text: MappedText) -> None:
    """Quotes are not spoken, and the G2P reads a word in quotes as an unknown one."""
    text.sub(_FEET_INCHES, lambda match: f"{match[1]} foot {match[2]}")
    text.sub(_INCHES, " inches")
    text.sub(_DOUBLE_QUOTES, "")
    text.sub(_TYPOGRAPHIC_APOSTROPHE, "'")
    text.sub(_AND, "and")
    text.sub(_OPENING_QUOTE, "")
    text.sub(_CLOSING_QUOTE, "")
