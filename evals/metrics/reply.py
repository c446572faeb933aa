"""Whether a reply counts as one: the hard gates against empty, truncated, runaway and failed replies. Pure functions.

Limits per spoken character (letters and digits): slow speech is about 100 ms, fast speech 50 ms. 28 ms is faster than
anyone speaks, 300 ms + 3 s slower, so that a reply beyond them has lost text or does not stop.
"""

from __future__ import annotations

from enum import Enum

from evals.metrics.audio import audible_spans, centred
from evals.metrics.stream import ReplyRecord

MIN_MS_PER_CHARACTER = 28.0
MAX_MS_PER_CHARACTER = 300.0
MAX_SLACK_MS = 3_000.0
MAX_MISCOUNT_MS = 20.0
"""Most that what arrived may differ from what the peer says it handed over: more was lost, or sent twice."""


class Defect(Enum):
    """Why a reply is a failure."""

    FAILED = "failed"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    RUNAWAY = "runaway"
    MISCOUNTED = "miscounted"


def spoken_characters(text: str) -> int:
    """Letters and digits: what takes time to say, near enough."""
    return sum(character.isalnum() for character in text)


def longest_ms(text: str) -> float:
    """What no speech of this text exceeds: beyond it a reply does not stop."""
    return MAX_MS_PER_CHARACTER * spoken_characters(text) + MAX_SLACK_MS


def defect(record: ReplyRecord) -> Defect | None:
    """What is wrong with the reply, None when nothing is."""
    characters = spoken_characters(record.text)
    if record.error is not None:
        return Defect.FAILED
    if not characters:
        return None
    # A constant is as silent as a zero, and silence at the end is not text that was spoken.
    sound = audible_spans(centred(record.pcm), record.sample_rate)
    if not sound:
        return Defect.EMPTY
    if sound[-1].end_ms - sound[0].start_ms < MIN_MS_PER_CHARACTER * characters:
        return Defect.TRUNCATED
    if record.audio_ms > longest_ms(record.text):
        return Defect.RUNAWAY
    delivered_ms = record.engine.get("delivered_ms")
    if delivered_ms is not None and abs(record.audio_ms - delivered_ms) > MAX_MISCOUNT_MS:
        return Defect.MISCOUNTED
    return None
