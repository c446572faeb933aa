"""From pushed text to words that can be read aloud, each still knowing where it came from.

Three passes: `strip_markup` takes away what is for the eye, the rules here say what the G2P's own normalizer does not
know or gets wrong (addresses, phone numbers, money, codes, ranges), and that normalizer does the rest (dates, times,
units, titles). The rules write digits where the G2P reads them well: "3 dollars and 50 cents".
"""

from __future__ import annotations

import re

from agent_tts.text.mapped import Chunk, MappedText
from agent_tts.text.markup import strip_markup
from agent_tts.text.money import say_money

READ_AS = {
    "JSON": "jason",
    "YAML": "yammel",
    "SaaS": "sass",
    "IoT": "I.O.T.",
    "PhD": "P.H.D.",
    "CO2": "C.O. 2",
    "MP3": "M.P. 3",
    "WiFi": "Wi-Fi",
    "tbsp": "tablespoons",
    "tsp": "teaspoons",
    "e.g.": "for example",
    "i.e.": "that is",
    "a.k.a.": "also known as",
    "C#": "C sharp",
    "F#": "F sharp",
    "api": "A.P.I.",
    "sql": "sequel",
    "btw": "by the way",
    "Shh": "shush",
    "24/7": "24 7",
    "50/50": "50 50",
    "50-50": "50 50",
}
"""Words the G2P reads wrongly, and how they are said."""

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_READ_AS = re.compile(
    "|".join(rf"(?<![\w.]){re.escape(word)}(?![\w#])" for word in sorted(READ_AS, key=len, reverse=True))
)
_EMAIL = re.compile(r"(?<![\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(
    r"(?:https?://|www\.)[^\s<>()]*[\w/]"
    r"|(?<![\w@.])(?:[\w-]+\.)+(?:com|org|net|edu|gov|io|co|ai|dev|app|info)\b(?:/[\w./-]*\w)?"
)
_IP_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_VERSION = re.compile(r"(?<![\w.])[vV]\.?\s?(\d+(?:\.\d+){0,3})(?!\w)")
_DOTTED_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+){2,3}(?![\w.]*\d)")
_PHONE = re.compile(
    r"(?<![\w.-])(?:\+?\d{1,3}[ .-])?(?:\(\d{3}\)\s?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
    r"|(?<![\w.$-])\d{3}-\d{4}(?![\w-])"
    r"|\+\d{1,3}(?:[ -]?\d{2,4}){2,5}(?![\w-])"
)
_EMERGENCY = re.compile(r"(?i)\b(?:call|dial|text|press)\s+(\d{3})(?![\w.,:%-]*\d)\b")
_CODE_NUMBER = re.compile(
    r"(?i)\b(?:zip|zip code|pin|pin code|passcode|code|extension|ext\.?|flight(?: [a-z]{2})?|room|suite"
    r"|(?:order|account|ticket|confirmation|reference|invoice|tracking|booking|case|card) (?:number|no\.?|id))"
    r"(?: is|:)? #?(\d{3,6})(?![\w.,:%/-]*\d)\b"
)
_ZIP_CODE = re.compile(r"(?<=\b[A-Z]{2} )(\d{5})(?![\w.,-]*\d)\b")
_LONG_NUMBER = re.compile(r"(?<![\w.,:/$€£-])(?:\d{7,}|0\d+)(?![\w.,:%/-]*\d)(?!\w)")
_CODE = re.compile(r"(?<![\w.-])(?=[A-Z\d]*[A-Z])(?=[A-Z\d]*\d[A-Z\d]*\d)[A-Z\d]{4,12}(?!\w)")
_DATE_DASHES = re.compile(r"(?<![\w-])(\d{1,2})-(\d{1,2})-(\d{4})(?![\w-])")
_RANGE = re.compile(
    r"(?<=[\d%])\s?[–—]\s?(?=[$€£]?\d)|(?<=\d)-(?=[$€£]\d)|(?<=:\d\d)\s?-\s?(?=\d{1,2}:)"
    r"|(?<=\d[aApP][mM])\s?[-–—]\s?(?=\d)|(?<=noon)\s?[-–—]\s?(?=\d)"
)
_FIRST_SIGN = re.compile(r"([$€£])(?=\d[\d,]*\s?[-–—]\s?\1\d)")
_AM_PM = re.compile(r"(?<=\d)\s?([AaPp])\.?[Mm](?![\w])\.?")
_DAYS = {day[:3]: day for day in "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()}
_DAY_RANGE = re.compile(rf"\b({'|'.join(_DAYS)})\s?[-–—]\s?({'|'.join(_DAYS)})\b")
_FEET_INCHES = re.compile(r"(?<=\d)\s?(?:ft|feet)\.?\s(\d{1,2})\s?in\b\.?")
_TRAILING_ZERO = re.compile(r"(?<![\w.$€£¥₹])(\d+(?:,\d{3})*)\.(\d*0)(?![\w.]*\d)")
_PERCENT_RANGE = re.compile(rf"(?<![\w.-])({_NUMBER})-({_NUMBER})(?=\s?%|[kKmM]\b|\s?(?:am|pm|AM|PM|[ap]\.m)\b)")
_RATIO = re.compile(r"(?<![\w:])(\d{1,3}):(\d)(?![\w:])|(?<![\w:])16:10(?!\w)")
_MIXED = re.compile(r"(?<=\d)\s?([½¼¾])|(?<=\d)\s(1/2|1/4|3/4)(?![\w/])")
_MIXED_WORDS = {"½": "a half", "¼": "a quarter", "¾": "three quarters", "1/2": "a half", "1/4": "a quarter"}
_PER = re.compile(r"(?<=\d)\s?/\s?(?=(?:month|year|week|day|hour|minute|second|person|night|user|mo|yr|hr)\b)")
_SIGNED = re.compile(r"(?<![\w)%])[-−](?=[$€£]?\.?\d)")
_ABOUT = re.compile(r"(?<![\w])[~≈]\s?(?=[$€£]?\d)")
_COMPARISON = re.compile(r"(?<!\S)([<>]=?|[≤≥])\s?(?=[$€£]?\d)")
_COMPARISON_WORDS = {
    "<": "less than",
    ">": "more than",
    "<=": "at most",
    ">=": "at least",
    "≤": "at most",
    "≥": "at least",
}
_PAGE = re.compile(r"(?<!\w)p\.\s?(?=\d)")
_FILE_DOT = re.compile(
    r"(?<=\w)\.(?=(?:txt|md|py|js|ts|json|pdf|csv|html?|ya?ml|wav|mp3|exe|zip|docx?|xlsx?|png|jpe?g)\b)"
)
_HANDLE = re.compile(r"(?<![\w.])@(?=\w)")
_AMPERSAND = re.compile(r"(?<=\w\w)\s?&\s?(?=\w\w)|\s&\s")
_ETC = re.compile(r"(?<![\w.])etc\.(?=\s+[a-z])")
_DRIVE = re.compile(r"\b(?!The|And|But|With|See|Ask|For|Is|Hi|Hello|Dear)[A-Z][a-z]+ (Dr)\b\.?(?=\s*$|[,;!?]|\s[a-z])")
_ELLIPSIS = re.compile(r"\s?(?:\.{2,}|…)(?=\s+\S)|(?:\.{2,}|…)(?=[A-Za-z])")
_LAST_ELLIPSIS = re.compile(r"(?:\.{2,}|…+)")
_MANY_MARKS = re.compile(r"[!?]*\?[!?]+|[!?]+\?[!?]*|!{2,}")
_DASH = re.compile(r"\s*(?:—|―|--+|(?<=\s)[-–](?=\s)|(?<=[a-z])–(?=[a-z]))\s*")
_OPEN_PARENTHESIS = re.compile(r"^\s*\(|\s*\(")
_CLOSE_PARENTHESIS = re.compile(r"\)")
_MARK_RUN = re.compile(r"(?:\s*,)+(?=\s*[.,;:!?])|(?<=[,;:])(?:\s*,)+")
_LEADING_MARKS = re.compile(r"^(?:[\s,;:!?)]|[.-](?!\d))+")


def normalize(text: str, offset: int = 0) -> list[Chunk]:
    """Chunks to be phonemized, in order. Their ranges are positions in the pushed text, where `text` is at `offset`."""
    from hibari.g2p.normalize import normalize as read_dates_times_units

    mapped = MappedText(text, offset)
    strip_markup(mapped)
    if not any(character.isalnum() for character in mapped.text):
        return []
    _say_addresses(mapped)
    _say_numbers(mapped)
    _say_signs(mapped)
    mapped.rewrite(read_dates_times_units)
    return mapped.chunks()


def _say_addresses(text: MappedText) -> None:
    text.sub(_READ_AS, lambda match: READ_AS[match.group()])
    text.sub(_EMAIL, lambda match: _say_email(match.group()))
    text.sub(_URL, lambda match: _say_url(match.group()))
    text.sub(_IP_ADDRESS, lambda match: " dot ".join(match.group().split(".")))
    text.sub(_VERSION, lambda match: "version " + _say_dotted(match[1]))
    text.sub(_FILE_DOT, " dot ")
    text.sub(_HANDLE, "at ")


def _say_numbers(text: MappedText) -> None:
    text.sub(_DATE_DASHES, lambda match: f"{match[1]}/{match[2]}/{match[3]}")
    text.sub(_DOTTED_NUMBER, lambda match: _say_dotted(match.group()))
    text.sub(_PHONE, lambda match: _say_phone(match.group()))
    text.sub(_EMERGENCY, lambda match: _digits(match[1]), group=1)
    text.sub(_CODE_NUMBER, lambda match: match[1] if match[1].endswith("00") else _digits(match[1]), group=1)
    text.sub(_ZIP_CODE, lambda match: _digits(match[1]))
    text.sub(_LONG_NUMBER, lambda match: _say_long_number(match.group()))
    text.sub(_CODE, lambda match: _say_code(match.group()))
    text.sub(_FIRST_SIGN, "")
    text.sub(_RANGE, " to ")
    text.sub(_AM_PM, lambda match: f" {match[1].upper()}.M.")
    text.sub(_DAY_RANGE, lambda match: f"{_DAYS[match[1]]} to {_DAYS[match[2]]}")
    text.sub(_FEET_INCHES, lambda match: f" feet {match[1]} inches")
    text.sub(_PERCENT_RANGE, lambda match: f"{match[1]} to {match[2]}")
    text.sub(_RATIO, lambda match: match.group().replace(":", " to "))
    text.sub(_MIXED, lambda match: " and " + _MIXED_WORDS.get(match[1] or match[2], "three quarters"))
    text.sub(_SIGNED, "minus ")
    text.sub(_ABOUT, "about ")
    text.sub(_PAGE, "page ")
    text.sub(_COMPARISON, lambda match: _COMPARISON_WORDS[match[1]] + " ")
    text.sub(_PER, " per ")
    say_money(text)
    text.sub(_TRAILING_ZERO, lambda match: f"{match[1]} point {_digits(match[2])}")


def _say_signs(text: MappedText) -> None:
    """Marks become those the voice has learned: comma, period, question and exclamation mark, colon, semicolon."""
    text.sub(_AMPERSAND, " and ")
    text.sub(_ETC, "etc")
    text.sub(_DRIVE, "Drive", group=1)
    text.sub(_ELLIPSIS, ", ")
    text.sub(_LAST_ELLIPSIS, ".")
    text.sub(_MANY_MARKS, lambda match: "?" if "?" in match.group() else "!")
    text.sub(_DASH, ", ")
    text.sub(_OPEN_PARENTHESIS, lambda match: ", " if match.start() else " ")
    text.sub(_CLOSE_PARENTHESIS, lambda match: "," if match.string[match.end() :].strip() else "")
    text.sub(_MARK_RUN, "")
    text.sub(_LEADING_MARKS, "")


# ---------------------------------------------------------------------------------------------------------------------


def _digits(number: str) -> str:
    return " ".join(character for character in number if character.isdigit())


def _say_phone(number: str) -> str:
    return ", ".join(_digits(group) for group in re.findall(r"\d+", number))


def _say_long_number(number: str) -> str:
    """A number that nobody reads as a quantity, in groups of three or four digits."""
    if number[0] != "0" and number.endswith("000"):
        return number
    size = 3 if len(number) % 4 not in (0, 3) and len(number) % 3 == 0 else 4
    return ", ".join(_digits(number[index : index + size]) for index in range(0, len(number), size))


def _say_dotted(number: str) -> str:
    return " point ".join(number.split("."))


def _say_code(code: str) -> str:
    """Letters and digits one by one: AB12 -> "A.B. 1 2"."""
    if re.fullmatch(r"\d+[A-Z]{1,3}|[A-Z]?\d{4}s?", code):
        return code
    parts = re.findall(r"[A-Z]+|\d+", code)
    if len(parts) == 2 and len(parts[1]) <= 3:
        return f"{_spell(parts[0])} {parts[1]}"
    return " ".join(_digits(part) if part.isdigit() else _spell(part) for part in parts)


def _spell(letters: str) -> str:
    """Dotted letters are read one by one; a lone A would be read as the article."""
    if letters == "A":
        return "[A](/ˈA/)"
    return letters if len(letters) == 1 else "".join(f"{letter}." for letter in letters)


def _say_email(address: str) -> str:
    user, _, host = address.partition("@")
    return f"{_say_host(user)} at {_say_host(host)}"


def _say_url(url: str) -> str:
    """The host and a short plain path; nobody wants to hear a query string."""
    bare = re.sub(r"^(?:https?://)?(?:www\.)?", "", url).split("?")[0].split("#")[0]
    host, *path = [part for part in bare.split("/") if part]
    plain = [part for part in path[:2] if re.fullmatch(r"[A-Za-z]{2,}(?:-[A-Za-z]+)*", part)]
    return " slash ".join([_say_host(host), *(part.replace("-", " dash ") for part in plain)])


def _say_host(host: str) -> str:
    said = host.replace(".", " dot ").replace("-", " dash ").replace("_", " underscore ").replace("+", " plus ")
    return re.sub(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", said)
