"""Many judged events summed up: stages, decisions by class, one trade-off number, counts for gates. All pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent_tts.metrics import STAGES
from evals.metrics.barge_in import EventResult
from evals.metrics.stats import Interval, Spread, bootstrap, spread

LEAKS = ("onset_s", "decision_s", "abort_s")


@dataclass(frozen=True, slots=True)
class KindSummary:
    """Decisions of one class of events."""

    kind: str
    n: int
    correct: int
    outcomes: dict[str, int]
    dip_ms: Spread
    silence_ms: Spread


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """What a run of events came to.

    Attributes:
        absent: Events that should not stop it.
        stages: ms since the onset, by stage.
        leaks: Audible ms at the ear after each stage.
        after_abort_ms: abort() called -> silence at the ear.
        yield_rate: True interruptions that stopped the agent in time / all of them.
        selectivity: Events that should not stop it and did not / all of them.
        penalty_ms: Average penalty time, the one trade-off number, with its interval.
        response_ms: End of the caller's sound -> the next reply at the ear.
    """

    n: int
    absent: int
    stages: dict[str, Spread]
    leaks: dict[str, Spread]
    after_abort_ms: Spread
    release_ms: Spread
    kinds: tuple[KindSummary, ...]
    yield_rate: float | None
    selectivity: float | None
    penalty_ms: Interval | None
    next_ttfa_ms: Spread
    response_ms: Spread
    frames_wasted: Spread
    leaked_words: Spread
    heard_text_error: Spread
    neighbour_underruns: Spread
    neighbour_gap_ms: Spread
    findings: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(results: Sequence[EventResult]) -> LedgerSummary:
    """Sum up a run."""
    yielding = [item for item in results if item.expect == "yield"]
    absent = [item for item in results if item.expect == "absent"]
    rows = [item.row for item in yielding]
    return LedgerSummary(
        n=len(results),
        absent=len(absent),
        stages={label: found for name, label in STAGES if (found := spread([r.since_onset_ms(name) for r in rows])).n},
        leaks={name.removesuffix("_s"): spread([row.leaked_ms.get(name) for row in rows]) for name in LEAKS},
        after_abort_ms=spread([_between(row.abort_s, row.silence_s) for row in rows]),
        release_ms=spread([_between(row.abort_s, row.released_s) for row in rows]),
        kinds=tuple(_kind(kind, results) for kind in dict.fromkeys(item.kind for item in results)),
        yield_rate=_share(yielding),
        selectivity=_share(absent),
        penalty_ms=bootstrap([item.penalty_ms for item in results]),
        next_ttfa_ms=spread([row.next_ttfa_ms for row in rows]),
        response_ms=spread([item.response_ms for item in yielding]),
        # A peer that does not say what it handed over (a server) wastes an unknown number, not none.
        frames_wasted=spread(
            [float(r.frames_wasted) for r in rows if r.abort_s is not None and r.delivered_ms is not None]
        ),
        leaked_words=spread([float(item.leaked_words) for item in yielding]),
        heard_text_error=spread([None if (e := item.heard_text_error) is None else float(e) for item in results]),
        neighbour_underruns=spread([None if (u := item.neighbour_underruns) is None else float(u) for item in results]),
        neighbour_gap_ms=spread([item.neighbour_gap_ms for item in results]),
        findings=dict(Counter(name for item in results for name in item.findings)),
    )


def pairs_of(results: Sequence[EventResult]) -> dict[str, dict[str, float]]:
    """Figures by event, so that another run of the same scenarios can be compared pairwise."""
    pairs = {}
    for item in results:
        row = item.row
        figures = {
            "penalty_ms": item.penalty_ms,
            "onset_to_silence_ms": row.since_onset_ms("silence_s"),
            "onset_to_abort_ms": row.since_onset_ms("abort_s"),
            "abort_to_silence_ms": _between(row.abort_s, row.silence_s),
            "next_ttfa_ms": row.next_ttfa_ms,
        }
        pairs[item.key] = {name: value for name, value in figures.items() if value is not None}
    return pairs


def _kind(kind: str, results: Sequence[EventResult]) -> KindSummary:
    mine = [item for item in results if item.kind == kind]
    return KindSummary(
        kind=kind,
        n=len(mine),
        correct=sum(item.correct for item in mine),
        outcomes=dict(Counter(item.outcome for item in mine)),
        dip_ms=spread([item.dip_ms for item in mine if item.dip_ms > 0]),
        silence_ms=spread([item.row.since_onset_ms("silence_s") for item in mine]),
    )


def _share(results: Sequence[EventResult]) -> float | None:
    return sum(item.correct for item in results) / len(results) if results else None


def _between(start_s: float | None, end_s: float | None) -> float | None:
    """ms; silence that came before (a pause) counts as 0."""
    return None if start_s is None or end_s is None else max(0.0, 1000 * (end_s - start_s))
