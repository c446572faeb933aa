"""Prefix reuse: draws of voices by Zipf's law, and hit rates of what was prefilled. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evals.metrics.stats import Spread, spread


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance of a conversation: which voice, and the how manieth time that voice is used (0 = cold)."""

    conversation: int
    number: int
    voice: str
    use: int


@dataclass(frozen=True, slots=True)
class Prefill:
    """What one turn cost."""

    turn: Turn
    prompt_tokens: int
    cached_tokens: int
    ttfa_ms: float | None


@dataclass(frozen=True, slots=True)
class Counted:
    """Prompts of n turns. Hit rate = positions taken from the cache / prompt positions; None of no positions."""

    n: int
    prompt_tokens: int
    cached_tokens: int

    @property
    def hit_rate(self) -> float | None:
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(frozen=True, slots=True)
class ReuseSummary(Counted):
    """The same, and when the first chunk could be played."""

    ttfa_ms: Spread


def zipf_turns(voices: Sequence[str], *, conversations: int, turns: int, exponent: float, seed: int) -> list[Turn]:
    """Conversations with one voice each, the k-th voice drawn with weight 1/k^exponent; turns of all interleave."""
    numbers = random.Random(seed)
    weights = [1 / rank**exponent for rank in range(1, len(voices) + 1)]
    chosen = numbers.choices(list(voices), weights, k=conversations)
    order = [index for index in range(conversations) for _ in range(turns)]
    numbers.shuffle(order)
    uses: dict[str, int] = {}
    numbered: dict[int, int] = {}
    drawn = []
    for conversation in order:
        voice = chosen[conversation]
        drawn.append(Turn(conversation, numbered.get(conversation, 0), voice, uses.get(voice, 0)))
        uses[voice] = uses.get(voice, 0) + 1
        numbered[conversation] = numbered.get(conversation, 0) + 1
    return drawn


def summarise(prefills: Sequence[Prefill]) -> dict[str, ReuseSummary]:
    """All turns, the first use of each voice (cold), and the others (warm)."""
    groups = {
        "all": list(prefills),
        "cold": [item for item in prefills if item.turn.use == 0],
        "warm": [item for item in prefills if item.turn.use > 0],
    }
    return {
        name: ReuseSummary(
            n=len(items),
            prompt_tokens=sum(item.prompt_tokens for item in items),
            cached_tokens=sum(item.cached_tokens for item in items),
            ttfa_ms=spread([item.ttfa_ms for item in items]),
        )
        for name, items in groups.items()
    }
