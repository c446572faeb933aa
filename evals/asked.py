"""What an evaluation will ask of a TTS: replies, characters and time, before it asks. A cloud costs money.

Replies and characters are counted from the texts themselves; an interrupted reply counts whole, so barge-in asks for
less than is said here. Time is an estimate from one reply that was timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from evals import barge_in, latency, quality
from evals.calls.scenario import EventPlan
from evals.load import ClosedLoop
from evals.peers.wire import TRIED_OUT
from evals.texts import text_of_words, unique_texts

OPENED = 2
"""Requests of a few words each time a server is opened: one to hear it, one for its rate."""
EVENT_S = 5.0
JUDGED_S = 2.5
"""About how long the judges take over a sentence, on two cores."""
SHORT, LONG = 12, 40
"""Words of the reply after an interruption: the last one, and one that is interrupted too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """So much."""

    replies: int
    characters: int
    seconds: float

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.replies + other.replies, self.characters + other.characters, self.seconds + other.seconds)


def asked_by_latency(options: argparse.Namespace, reply_s: float) -> Asked:
    """Every load of every seed, the cold reply and the warm-up."""
    count, seconds = 0, 0.0
    for seed in range(options.seed, options.seed + options.seeds):
        loads = [latency.load_of(name, seed) for name in options.load or latency.SETS[options.set]]
        count += 1 + options.warm_up + sum(latency.size_of(load) for load in loads)
        seconds += reply_s * (1 + options.warm_up)
        for load in loads:
            if isinstance(load, ClosedLoop):
                seconds += reply_s * load.num_replies / load.in_flight
            else:
                seconds += max(load.starts_s, default=0.0) + reply_s
    texts = islice(unique_texts(options.seed, num_sentences=options.sentences), count)
    return _of(texts, options.seeds, seconds)


def asked_by_barge_in(options: argparse.Namespace) -> Asked:
    """Every event: its reply, the next one, and the event of the warm-up."""
    plans = barge_in.plans_of(options)
    texts = [text for number, plan in enumerate(plans) for text in _replies(plan, options.seed + number)]
    if options.warm_up and plans:
        texts += _replies(plans[0], options.seed + 9_000)
    return _of(texts, 1, EVENT_S * (len(plans) + 1) / options.streams)


def asked_by_quality(options: argparse.Namespace, reply_s: float) -> Asked:
    """Every sentence in every voice and mode."""
    ways = len(options.modes) * len(options.voices or [options.voice])
    texts = quality.texts_of(options) * ways
    return _of(texts, 1, len(texts) * (reply_s + JUDGED_S))


def _replies(plan: EventPlan, seed: int) -> list[str]:
    """The texts of one event, as evals/calls/call.py draws them."""
    words = [plan.scenario.reply_words, *[LONG] * (plan.scenario.times - 1)]
    words += [SHORT] if plan.scenario.expect == "yield" else []
    return [text_of_words(100 * seed + number, count) for number, count in enumerate(words)]


def _of(texts: Iterable[str], opened: int, seconds: float) -> Asked:
    said = [*texts, *[TRIED_OUT] * (OPENED * opened)]
    return Asked(len(said), sum(map(len, said)), seconds)
