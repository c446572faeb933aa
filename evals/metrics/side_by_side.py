"""One event of one TTS as a handful of values, and many of them as a row of the table. Pure; knows no peer by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.calls.events import EventRecord
from evals.metrics.barge_in import EventResult
from evals.metrics.stats import spread
from evals.metrics.text import edits, words_of


@dataclass(frozen=True, slots=True)
class Column:
    """One value of an event: its key, what it is called, its definition."""

    key: str
    label: str
    says: str


COLUMNS = (
    Column("silence_ms", "onset to silence, ms", "the caller's first sound -> the last of the reply at the ear"),
    Column("leaked_ms", "leaked, ms", "audible at the ear after the decision to stop"),
    Column("release_ms", "abort to released, ms", "abort() -> the TTS has stopped working for this reply"),
    Column("unheard_ms", "made and not heard, ms", "audio computed for the reply - audio of it that reached the ear"),
    Column("wasted_ms", "wasted, ms", "audio computed and never handed over: what abort() could still throw away"),
    Column(
        "next_ttfa_ms",
        "next TTFA, ms",
        "first text of the next reply -> its first sound at the ear; text comes at an LLM's pace",
    ),
    Column(
        "text_error", "heard text, words wrong", "what the TTS says was heard against its own word times at the ear"
    ),
    Column("listened_error", "by a listener", "the same against what a speech recogniser hears in the ear's recording"),
)

Values = Mapping[str, float]


def values_of(event: EventRecord, result: EventResult, listened: str | None) -> dict[str, float]:
    """What one event came to; what cannot be known of this TTS is left out.

    Args:
        listened: What a recogniser wrote down of the reply's audio at the ear; None = nobody listened.
    """
    row, facts = result.row, event.reply.facts
    generated, delivered = facts.get("generated_ms"), facts.get("delivered_ms")
    found = {
        "silence_ms": row.since_onset_ms("silence_s"),
        "leaked_ms": row.leaked_ms.get("decision_s"),
        "release_ms": _ms(event.reply.abort_s, event.reply.released_s),
        "unheard_ms": None if generated is None or row.heard_ms is None else max(0.0, generated - row.heard_ms),
        "wasted_ms": None if generated is None or delivered is None else max(0.0, generated - delivered),
        "next_ttfa_ms": row.next_ttfa_ms,
        "text_error": result.heard_text_error,
        "listened_error": listened_error(event.reply.claimed, listened),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def listened_error(claimed: str | None, listened: str | None) -> int | None:
    """Words between what is claimed and what a recogniser heard; a word cut in its middle may count as one."""
    return None if claimed is None or listened is None else edits(words_of(listened), words_of(claimed)).errors


def row_of(values: Sequence[Values]) -> dict[str, Any]:
    """A spread of each column."""
    return {column.key: spread([one.get(column.key) for one in values]).as_dict() for column in COLUMNS}


def _ms(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else max(0.0, 1000 * (end_s - start_s))
