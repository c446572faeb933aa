"""Word classes and inflection for the sentence grammar; reads WordNet's frequency list, knows no templates."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

COUNT_LINE = re.compile(r"^([a-z]{2,13})%(\d):\S+ \d+ (\d+)$")
CLASS_OF = {"1": "noun", "2": "verb", "3": "adjective", "4": "adverb", "5": "adjective"}
VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class WordLists:
    """Words by class, with the weight of each in the same place."""

    classes: dict[str, tuple[list[str], list[float]]]
    irregular: dict[str, list[str]]
    anything: list[str]

    def _pick(self, name: str, rng: random.Random) -> str:
        words, cumulative = self.classes[name]
        return rng.choices(words, cum_weights=cumulative)[0]

    def pick_noun(self, rng: random.Random) -> str:
        """A noun, common ones more often."""
        return self._pick("noun", rng)

    def pick_verb(self, rng: random.Random) -> str:
        """A verb in its base form."""
        return self._pick("verb", rng)

    def pick_adjective(self, rng: random.Random) -> str:
        """An adjective."""
        return self._pick("adjective", rng)

    def pick_adverb(self, rng: random.Random) -> str:
        """An adverb."""
        return self._pick("adverb", rng)

    def pick_any(self, rng: random.Random) -> str:
        """Any word that the pronunciation lexicon knows."""
        return rng.choice(self.anything)


def load_word_lists(wordnet: Path, lexicon: list[str]) -> WordLists:
    """Read `cntlist.rev` and `verb.exc` of a WordNet folder.

    Args:
        wordnet: The folder with WordNet's database files.
        lexicon: Words with a known pronunciation; others are left out.
    """
    known = {word for word in lexicon if re.fullmatch(r"[a-z]{2,13}", word)}
    counts: dict[str, Counter[str]] = {name: Counter() for name in set(CLASS_OF.values())}
    for line in (wordnet / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        if (match := COUNT_LINE.match(line)) and match[1] in known:
            counts[CLASS_OF[match[2]]][match[1]] += int(match[3])
    return WordLists(
        classes={name: _weighted(counter) for name, counter in counts.items()},
        irregular=_irregular_pasts(wordnet / "verb.exc"),
        anything=sorted(known),
    )


def _weighted(counter: Counter[str]) -> tuple[list[str], list[float]]:
    words = sorted(counter)
    total, cumulative = 0.0, []
    for word in words:
        total += counter[word] ** 0.7
        cumulative.append(total)
    return words, cumulative


def _irregular_pasts(path: Path) -> dict[str, list[str]]:
    pasts: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        inflected, base = line.split()[:2]
        if inflected.isalpha() and not inflected.endswith(("ing", "s")):
            pasts.setdefault(base, []).append(inflected)
    return pasts


def plural(noun: str) -> str:
    """`box` -> `boxes`, by rule only."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    """`go` -> `goes`."""
    irregular = {"be": "is", "have": "has", "do": "does", "go": "goes"}
    return irregular.get(verb) or plural(verb)


def past(verb: str, irregular: dict[str, list[str]], rng: random.Random) -> str:
    """`take` -> `took` or `taken`."""
    if verb in irregular:
        return rng.choice(irregular[verb])
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + "ed"


def gerund(verb: str) -> str:
    """`make` -> `making`."""
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")) and len(verb) > 2:
        return verb[:-1] + "ing"
    return verb + "ing"
