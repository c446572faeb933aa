"""The report of a latency run: figures by load, distributions, when stalls happened, the worst replies to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from evals.metrics.audio import as_float
from evals.metrics.latency import LoadSummary
from evals.metrics.reply import defect
from evals.metrics.stream import ReplyRecord, latency, stalls
from evals.outcome import Outcome
from evals.pages import page

WORST = 3
SHOWN = (
    "ttfa_first_frame_ms",
    "ttfa_first_byte_ms",
    "ttfa_playable_ms",
    "ttfa_audible_ms",
    "ttfa_planned_ms",
    "queue_ms",
    "leading_silence_ms",
    "text_lag_ms",
    "e2e_ms",
    "connect_ms",
    "stall_max_ms",
    "gap_max_ms",
    "rtf_compute",
    "rtf_wall",
    "dispatch_late_ms",
)


def write_report(
    path: Path, outcome: Outcome, definition: str, summaries: Sequence[LoadSummary], records: Sequence[ReplyRecord]
) -> None:
    """Write the page of one run."""
    good = [record for record in records if defect(record) is None]
    tables = []
    for item in summaries:
        rows = [(name, s.n, s.p50, s.p95, s.p99, s.worst) for name in SHOWN if (s := item.spreads[name]).n]
        numbers = [("replies", item.n), ("bad", item.bad), ("underruns", item.underruns)]
        numbers += [(f"C{stall}", item.show_continuity(stall)) for stall in (50, 100, 200)]
        numbers += [("audio-s per s", item.audio_s_per_s)]
        spreads = page.grid(("", "n", "p50", "p95", "p99", "worst"), rows)
        tables.append(f"<h3>{escape(item.name)}</h3>{page.tiles(numbers)}{spreads}")
    playable, audible = _by_load(good, "ttfa_playable_ms"), _by_load(good, "ttfa_audible_ms")
    page.save(
        path,
        f"Latency: {outcome.peer}",
        [
            page.verdict(outcome),
            page.section("First playable", page.ecdf(playable, unit="ms since the first text")),
            page.section("First audible", page.ecdf(audible, unit="ms since the first text")),
            page.section("By load", *tables),
            page.section("The worst replies", *(_reply(record) for record in _worst(records))),
            page.methods(definition),
            page.surroundings(outcome),
        ],
    )


def _by_load(records: Sequence[ReplyRecord], name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in records:
        if (value := getattr(latency(record), name)) is not None:
            found.setdefault(record.load, []).append(value)
    return found


def _worst(records: Sequence[ReplyRecord]) -> list[ReplyRecord]:
    """Bad replies first, then the longest stalls, then the latest first sample."""

    def badness(record: ReplyRecord) -> tuple[bool, float, float]:
        figures = latency(record)
        return defect(record) is not None, figures.stall_max_ms, figures.ttfa_playable_ms or 0.0

    return sorted(records, key=badness, reverse=True)[:WORST]


def _reply(record: ReplyRecord) -> str:
    wrong, figures = defect(record), latency(record)
    facts = [f"load {record.load}, seed {record.seed}", f"{figures.audio_ms:.0f} ms of audio"]
    facts += [f"playable after {figures.ttfa_playable_ms:.0f} ms"] if figures.ttfa_playable_ms is not None else []
    facts += [f"stalled {stall.length_ms:.0f} ms at {stall.media_ms:.0f} ms" for stall in stalls(record)[:5]]
    name = f'<span class="bad">{wrong.value}</span>' if wrong else "whole"
    pcm = (as_float(record.pcm) * 32767).astype(np.int16)
    return f"<h3>{name}: {escape(record.text)}</h3>{page.player('; '.join(facts), pcm, record.sample_rate)}"
