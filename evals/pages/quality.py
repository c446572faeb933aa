"""The report of a quality run: rates by judge and mode, and the sentences that were understood worst, to listen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from evals.metrics.audio import as_float
from evals.metrics.quality import Heard, QualitySummary
from evals.metrics.stats import Interval
from evals.metrics.stream import ReplyRecord
from evals.outcome import Outcome
from evals.pages import page

WORST = 5
Case = tuple[float, str, str, int, Heard]
"""WER below zero, judge, way of speaking, number of the sentence, what was heard."""


def write_report(
    path: Path,
    outcome: Outcome,
    definition: str,
    summaries: Sequence[QualitySummary],
    heard: Mapping[tuple[str, str], Sequence[Heard]],
    records: Mapping[str, Sequence[ReplyRecord]],
) -> None:
    """Write the page of one run."""
    rows = [(s.judge, s.mode, s.n, s.exact, _percent(s.wer), _percent(s.cer), s.half_wrong) for s in summaries]
    header = ("judge", "text", "n", "exact", "WER", "CER", "half wrong")
    scores = [(name, value) for name, value in outcome.figures.items() if page.is_interval(value)]
    others = [(name, value["value"], value["low"], value["high"]) for name, value in scores]
    worst: list[Case] = sorted(
        (-item.wer, judge, mode, number, item)
        for (judge, mode), items in heard.items()
        for number, item in enumerate(items)
        if item.word_errors
    )
    page.save(
        path,
        f"Quality: {outcome.peer}",
        [
            page.verdict(outcome),
            page.section("Errors", page.grid(header, rows)),
            page.section("Scores, their mean and its 95 % interval", page.grid(("", "mean", "from", "to"), others)),
            page.section("Understood worst", *(_case(*entry[1:], records) for entry in _once(worst)[:WORST])),
            page.methods(definition),
            page.surroundings(outcome),
        ],
    )


def _once(worst: Sequence[Case]) -> list[Case]:
    """Each sentence where it was understood worst, not once for each judge and way of speaking."""
    found: dict[str, Case] = {}
    for entry in worst:
        found.setdefault(entry[-1].text, entry)
    return list(found.values())


def _case(judge: str, mode: str, number: int, item: Heard, records: Mapping[str, Sequence[ReplyRecord]]) -> str:
    record = records[mode][number]
    pcm = (as_float(record.pcm) * 32767).astype(np.int16)
    said = f"<p>said: {escape(item.text)}<br>heard by {escape(judge)}: {escape(item.heard)}</p>"
    return said + page.player(f"{mode}, WER {100 * item.wer:.0f} %", pcm, record.sample_rate)


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f} to {100 * interval.high:.2f})"
