"""Many replies under one load, summed up: spreads, continuity, failures, pairs for a comparison. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from evals.metrics.reply import Defect, defect
from evals.metrics.stats import Interval, Spread, bootstrap, nearest_rank, spread
from evals.metrics.stream import ReplyLatency, ReplyRecord, continuity, latency

CONTINUITY_MS = (50, 100, 200)
COUNTS = ("underruns",)
PAIRED = ("ttfa_playable_ms", "ttfa_audible_ms", "ttfa_planned_ms", "text_lag_ms", "rtf_compute", "stall_max_ms")


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """Figures of one load. Bad replies are counted and kept out of everything else."""

    name: str
    n: int
    bad: int
    spreads: dict[str, Spread]
    playable_p50: Interval | None
    underruns: int
    replies_with_underrun: int
    continuity: dict[int, float | None]
    audio_s_per_s: float | None
    errors: dict[str, int]
    """Why replies failed, and how many."""

    def triple(self, name: str) -> str:
        """p50 / p95 / worst."""
        found = self.spreads[name]
        return "-" if not found.n else f"{found.p50:.0f}/{found.p95:.0f}/{found.worst:.0f}"

    def show_continuity(self, limit_ms: int) -> str:
        share = self.continuity[limit_ms]
        return "-" if share is None else f"{100 * share:.0f} %"

    def as_dict(self) -> dict[str, Any]:
        interval = self.playable_p50
        return {
            "n": self.n,
            "bad": self.bad,
            **{name: found.as_dict() for name, found in self.spreads.items()},
            "ttfa_playable_p50_ci95": None if interval is None else [interval.low, interval.high],
            "underruns": self.underruns,
            "replies_with_underrun": self.replies_with_underrun,
            **{f"c{limit}": share for limit, share in self.continuity.items()},
            "audio_s_per_s": self.audio_s_per_s,
            "errors": self.errors,
        }


def summarise(name: str, records: Sequence[ReplyRecord], audio_s_per_s: Sequence[float] = ()) -> LoadSummary:
    """Sum up one load; the throughput of several seeds is their median."""
    good = [latency(record) for record in records if defect(record) is None]
    playable = [item.ttfa_playable_ms for item in good if item.ttfa_playable_ms is not None]
    longest = [item.stall_max_ms for item in good]
    return LoadSummary(
        name=name,
        n=len(good),
        bad=len(records) - len(good),
        spreads={
            item.name: spread([getattr(one, item.name) for one in good])
            for item in fields(ReplyLatency)
            if item.name not in COUNTS
        },
        playable_p50=bootstrap(playable, lambda sample: nearest_rank(sample.tolist(), 0.5) or 0.0),
        underruns=sum(item.underruns for item in good),
        replies_with_underrun=sum(item.underruns > 0 for item in good),
        continuity={limit: continuity(longest, limit) for limit in CONTINUITY_MS},
        audio_s_per_s=nearest_rank(list(audio_s_per_s), 0.5),
        errors=errors(records),
    )


def audio_seconds_per_second(records: Sequence[ReplyRecord]) -> float | None:
    """Audio of whole replies, over the time from the first text to the last sample of all replies."""
    came = [record for record in records if record.arrivals]
    if not came:
        return None
    span_s = max(record.arrivals[-1].at_s for record in came) - min(record.first_text_s for record in came)
    made_ms = sum(record.audio_ms for record in came if defect(record) is None)
    return made_ms / 1000 / span_s if span_s > 0 else None


def failures(records: Iterable[ReplyRecord]) -> dict[str, int]:
    """How many replies were bad, by what was wrong with them; every kind is named, also those with none."""
    found = [defect(record) for record in records]
    return {kind.value: found.count(kind) for kind in Defect}


def errors(records: Iterable[ReplyRecord]) -> dict[str, int]:
    """Why replies failed, by name, the most frequent first."""
    return dict(Counter(record.error for record in records if record.error is not None).most_common())


def pairs_of(records: Iterable[ReplyRecord]) -> dict[str, dict[str, float]]:
    """Figures by load, seed, number and text, so that another run with the same seeds can be compared pairwise."""
    numbers: dict[tuple[str, int], int] = {}
    pairs = {}
    for record in records:
        place = (record.load, record.seed)
        numbers[place] = numbers.get(place, 0) + 1
        if defect(record) is None:
            figures = latency(record)
            values = {name: value for name in PAIRED if (value := getattr(figures, name)) is not None}
            pairs[f"{record.load} | {record.seed} | {numbers[place]} | {record.text}"] = values
    return pairs
