"""Random conversational sentences from templates and word lists; knows text, nothing of speech.

A template may hold `{slot}` (a phrase list, a word class or a generator below) and `[a|b|c]` (a
choice, which may be empty). Slots expand recursively. The grammar aims at sound coverage in spoken
rhythm, so meaning is left to chance.
"""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

from agent_tts.training.wordlists import WordLists, gerund, past, plural, third_person

HERE = Path(__file__).parent
SLOT = re.compile(r"\{(\w+)\}")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
VOWEL_SOUND = re.compile(r"\b([Aa]) (?=[aeio])")


class Grammar:
    """Sentences without end, given a random generator."""

    def __init__(self, words: WordLists, rng: random.Random) -> None:
        lines = (HERE / "templates.txt").read_text(encoding="utf-8").splitlines()
        self._templates = [line for line in lines if line and not line.startswith("#")]
        self._phrases: dict[str, list[str]] = json.loads((HERE / "phrases.json").read_text(encoding="utf-8"))
        self._words = words
        self._rng = rng
        self._generators = self._make_generators()

    def sentence(self) -> str:
        """One sentence, capitalised, with its end mark."""
        text = self._expand(self._rng.choice(self._templates))
        text = VOWEL_SOUND.sub(r"\1n ", re.sub(r"\s+", " ", text)).strip()
        return text[0].upper() + text[1:]

    def _expand(self, template: str, depth: int = 0) -> str:
        assert depth < 12, f"template recursion does not end: {template!r}"
        while match := CHOICE.search(template):
            choice = self._rng.choice(match.group(1).split("|"))
            template = template[: match.start()] + choice + template[match.end() :]
        return SLOT.sub(lambda match: self._expand(self._fill(match.group(1)), depth + 1), template)

    def _fill(self, slot: str) -> str:
        if slot in self._phrases:
            return self._rng.choice(self._phrases[slot])
        return self._generators[slot]()

    def _make_generators(self) -> dict[str, Callable[[], str]]:
        rng, words = self._rng, self._words

        def verb() -> str:
            return words.pick_verb(rng)

        return {
            "noun": lambda: words.pick_noun(rng),
            "nouns": lambda: plural(words.pick_noun(rng)),
            "adj": lambda: words.pick_adjective(rng),
            "adverb": lambda: words.pick_adverb(rng),
            "verb": verb,
            "verbs": lambda: third_person(verb()),
            "verbed": lambda: past(verb(), words.irregular, rng),
            "verbing": lambda: gerund(verb()),
            "word": lambda: words.pick_any(rng),
            "Words": lambda: plural(words.pick_noun(rng)).capitalize(),
            "number": self._number,
            "small": lambda: str(rng.randint(2, 60)),
            "digit": lambda: str(rng.randint(0, 9)),
            "digits": lambda: str(rng.randint(1, 9999)),
            "year": lambda: str(rng.randint(1890, 2035)),
            "money": self._money,
            "time": self._time,
            "date": self._date,
            "phone": lambda: ", ".join(self._digit_run(count) for count in (3, 3, 4)),
            "spelled": self._spelled,
            "letters": lambda: ", ".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(3, 7))),
        }

    def _number(self) -> str:
        rng = self._rng
        low, high = rng.choice([(2, 20), (21, 99), (100, 999), (1000, 99_999)])
        return str(rng.randint(low, high))

    def _money(self) -> str:
        rng = self._rng
        cents = rng.choice(["", "", f".{rng.randint(1, 99):02d}"])
        return f"${rng.choice([rng.randint(1, 99), rng.randint(100, 2000)])}{cents}"

    def _time(self) -> str:
        rng = self._rng
        hour = rng.randint(1, 12)
        forms = [
            f"{hour} {rng.choice(['a.m.', 'p.m.', 'in the morning', 'in the evening'])}",
            f"{hour}:{5 * rng.randint(0, 11):02d} {rng.choice(['', 'p.m.', 'a.m.'])}",
            f"half past {hour}",
            f"a quarter {rng.choice(['to', 'past'])} {hour}",
            f"{hour} o'clock",
        ]
        return rng.choice(forms).strip()

    def _date(self) -> str:
        rng = self._rng
        month, day = rng.choice(self._phrases["month"]), rng.randint(1, 28)
        year = rng.choice(["", "", f", {rng.randint(1990, 2035)}"])
        suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
        return rng.choice([f"{month} {day}{suffix}{year}", f"the {day}{suffix} of {month}"])

    def _digit_run(self, count: int) -> str:
        return " ".join(str(self._rng.randint(0, 9)) for _ in range(count))

    def _spelled(self) -> str:
        rng = self._rng
        return ", ".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(rng.randint(3, 8)))
