"""What a listener says to mean "go on", and what ends a reply by itself. English. Knows words, no conversation."""

from __future__ import annotations

import re

BACKCHANNELS = frozenset(
    "ah aha alright awesome cool exactly fine good gotcha great hm hmm hmmm huh interesting mhm mhmm mm mmhm mmm "
    "mm-hm mm-hmm mhm-hm nice oh okay ok perfect really right sure true uh uh-huh uhhuh uh-uh um umm wow ya yah "
    "yeah yep yes yup".split()
)
"""Words with which a listener says: go on."""

BACKCHANNEL_PHRASES = re.compile(
    r"\b(?:i see|i know|i understand|got it|of course|makes sense|that makes sense|no way|all right|thank you|thanks)\b"
)
"""The same in several words."""

HUM = re.compile(r"(?:h?m+h?[ua]?)+|[aeu]h?-?h[ua]h?")
"""What recognisers write for a hum, beside the spellings above: "mama", "mum", "hmma", "ah-huh", "eh-ha"."""

URGENT = frozenset(
    "actually but cancel enough excuse hang hello help hey hold no nope pause quiet repeat stop wait what why".split()
)
"""Each of these ends a reply by itself; any other word needs a second one beside it, as what recognisers make of a
short "sure" or "mm-hm" is one word. Words of a guess that may be taken back count when the next guess has them too."""


def is_backchannel(words: str) -> bool:
    """Whether all that was said is of the kind that means: go on. Nothing at all counts too."""
    return not meaning(words)


def meaning(words: str) -> frozenset[str]:
    """The words that are no backchannels."""
    rest = BACKCHANNEL_PHRASES.sub(" ", " ".join(re.findall(r"[a-z']+(?:-[a-z]+)*", words.lower())))
    return frozenset(word for word in rest.split() if word not in BACKCHANNELS and not HUM.fullmatch(word))
