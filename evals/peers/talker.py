"""Peer: the tone's clock with a voice: one passage of made speech, cut into words of 240 ms whatever the text says.

For what a sine cannot show, such as a caller's microphone that hears the agent. Runs on a virtual clock; needs hibari.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from evals.calls.clips import passage
from evals.peers.base import Abilities, Pcm
from evals.peers.tone import SAMPLE_RATE, WORD_MS, TonePeer

WORD_SAMPLES = SAMPLE_RATE * WORD_MS // 1000


class TalkerPeer(TonePeer):
    """A voice without a text."""

    name = "talker"
    abilities = Abilities(
        text="stream",
        audio="frames",
        abort="step",
        pause=True,
        words=True,
        lacks=("speaks one passage, whatever the text",),
    )

    def __init__(self, *, lead_ms: float | None = None) -> None:
        super().__init__(lead_ms=lead_ms, sound=_word)

    async def open(self) -> None:
        _word(0)


def _word(number: int) -> Pcm:
    words = _words()
    return words[number % len(words)]


@cache
def _words() -> list[Pcm]:
    samples = passage(SAMPLE_RATE)
    whole = len(samples) // WORD_SAMPLES * WORD_SAMPLES
    return list((samples[:whole] * 32767).astype(np.int16).reshape(-1, WORD_SAMPLES))
