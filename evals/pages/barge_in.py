"""The report of a barge-in run: decisions by class, stages, the timeline and the sound of the worst events."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
import soxr

from agent_tts.metrics import STAGES
from evals.calls.events import EventRecord
from evals.metrics.audio import as_float
from evals.metrics.barge_in import EventResult
from evals.metrics.ledger import LedgerSummary
from evals.outcome import Outcome
from evals.pages import page
from evals.peers.libraries import to_int16

WORST = 4
BEFORE_S, AFTER_S = 0.5, 2.2
DRAWN, LANE = 900, 70
PLAYED_RATE = 16_000

METHOD = """
A virtual caller speaks a clip at an anchored moment of a reply. Onset: the first audible sample of the clean clip.
The agent is the same for every TTS: replies go in 20 ms frames through a queue into a player that records the ear.
Silence at the ear: end of the last audible sample of the reply that was spoken over. Stale: anything of it after that.
"""


def write_report(
    path: Path,
    outcome: Outcome,
    summary: LedgerSummary,
    events: list[tuple[EventRecord, EventResult]],
    *,
    method: str = METHOD,
) -> None:
    """Write the page of one run."""
    stages = [(name, s.n, s.p50, s.p95, s.p99, s.worst) for name, s in summary.stages.items()]
    kinds = [
        (kind.kind, kind.n, kind.correct, _counts(kind.outcomes), kind.dip_ms.p50, kind.silence_ms.p95)
        for kind in summary.kinds
    ]
    interval = summary.penalty_ms
    numbers = [
        ("yield rate", _share(summary.yield_rate)),
        ("selectivity", _share(summary.selectivity)),
        ("average penalty time, ms", None if interval is None else interval.value),
        ("its 95 % interval", "-" if interval is None else f"{interval.low:.0f} to {interval.high:.0f}"),
    ]
    silences = {
        kind.kind: [
            value
            for _, result in events
            if result.kind == kind.kind and (value := result.row.since_onset_ms("silence_s")) is not None
        ]
        for kind in summary.kinds
    }
    page.save(
        path,
        f"Barge-in: {outcome.peer}, {outcome.config['reaction']}",
        [
            page.verdict(outcome),
            page.section(
                "Decisions",
                page.tiles(numbers),
                page.grid(("class", "n", "right", "outcomes", "dip p50 ms", "silence p95 ms"), kinds),
            ),
            page.section("Stages, ms since the onset", page.grid(("", "n", "p50", "p95", "p99", "worst"), stages)),
            page.section("Onset to silence at the ear", page.ecdf(silences, unit="ms since the onset")),
            page.section("The worst events", *(_event(event, result) for event, result in _worst(events))),
            page.methods(method),
            page.surroundings(outcome),
        ],
    )


def _worst(events: list[tuple[EventRecord, EventResult]]) -> list[tuple[EventRecord, EventResult]]:
    """Those with findings first, then those with the largest penalty."""
    return sorted(events, key=lambda item: (-len(item[1].findings), -item[1].penalty_ms))[:WORST]


def _event(event: EventRecord, result: EventResult) -> str:
    begin_s = max(event.ear.begin_s, event.onset_s - BEFORE_S)
    end_s = min(event.ear.at_s(len(event.ear.frames)), event.onset_s + AFTER_S)
    mouth = _cut(event.mouth, event.mouth_rate, event.mouth_start_s, begin_s, end_s)
    ear = _cut(event.ear.pcm(), event.ear.sample_rate, event.ear.begin_s, begin_s, end_s)
    findings = ", ".join(result.findings) or "no finding"
    return (
        f"<h3>{escape(event.key)}: {escape(result.outcome)} ({escape(findings)})</h3>"
        f"{_timeline(event, result, mouth, ear, begin_s, end_s)}"
        f"{page.player('left: caller, right: what the caller hears', np.stack([mouth, ear], 1), PLAYED_RATE)}"
    )


def _timeline(
    event: EventRecord, result: EventResult, mouth: np.ndarray, ear: np.ndarray, begin_s: float, end_s: float
) -> str:
    moments = [("onset", event.onset_s)]
    moments += [(label, at_s) for name, label in STAGES if (at_s := getattr(result.row, name)) is not None]
    moments = [(label, at_s) for label, at_s in moments if begin_s <= at_s <= end_s]
    parts = []
    for row, (label, at_s) in enumerate(sorted(moments, key=lambda item: item[1])):
        x, y = DRAWN * (at_s - begin_s) / (end_s - begin_s), 2 * LANE + 30 + 14 * row
        parts.append(f'<path class="mark" d="M{x:.1f} 0V{y - 10:.0f}"/>')
        parts.append(f'<text {_beside(x)} y="{y:.0f}">{escape(label)} +{1000 * (at_s - event.onset_s):.0f} ms</text>')
    lanes = (
        f'<rect class="lane" width="{DRAWN}" height="{LANE}"/>'
        f'<rect class="lane" y="{LANE + 8}" width="{DRAWN}" height="{LANE}"/>'
        f'<path class="line c1" d="{page.wave_path(mouth, width=DRAWN, top=0, height=LANE)}"/>'
        f'<path class="line c0" d="{page.wave_path(ear, width=DRAWN, top=LANE + 8, height=LANE)}"/>'
        f'<text x="4" y="13">caller</text><text x="4" y="{LANE + 21}">ear</text>'
    )
    return page.drawing(lanes + "".join(parts), DRAWN, 2 * LANE + 40 + 14 * len(moments))


def _beside(x: float) -> str:
    """Where a label stands so that it does not leave the drawing."""
    return f'x="{x + 4:.1f}"' if x < 0.75 * DRAWN else f'x="{x - 4:.1f}" text-anchor="end"'


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items())


def _cut(samples: np.ndarray | None, rate: int, start_s: float, begin_s: float, end_s: float) -> np.ndarray:
    """A stretch of a recording at PLAYED_RATE, int16, silence where it does not reach."""
    made = np.zeros(round((end_s - begin_s) * PLAYED_RATE), np.int16)
    if samples is None or not len(samples):
        return made
    first = max(0, round((begin_s - start_s) * rate))
    part = samples[first : max(first, round((end_s - start_s) * rate))]
    values = as_float(part)
    if rate != PLAYED_RATE:
        values = soxr.resample(values, rate, PLAYED_RATE)
    whole = to_int16(values)[: len(made)]
    made[: len(whole)] = whole
    return made
