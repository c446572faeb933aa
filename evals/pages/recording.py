"""The report of a recorded call: the timeline, each overlap under the glass and to listen to, the verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evals.metrics.recording import WINDOW_MS, CallSummary, Overlap
from evals.outcome import Outcome, environment, show
from evals.pages.call import CallReport, Moment, write_report

MOST = 12
"""Overlaps that are drawn; each brings its own sound."""


def write(
    path: Path,
    outcome: Outcome,
    summary: CallSummary,
    caller: npt.NDArray[np.int16],
    agent: npt.NDArray[np.int16],
    rate: int,
) -> None:
    """Write the page of one call."""
    length = max(len(caller), len(agent))
    caller, agent = (np.pad(track, (0, length - len(track))) for track in (caller, agent))
    report = CallReport(
        title=f"A recorded call: {outcome.peer}",
        sample_rate=rate,
        caller=caller,
        agent=agent,
        interruptions=[_moments(item) for item in summary.overlaps[:MOST]],
        checks=[(gate.name, gate.passed, f"{gate.count}, at most {gate.limit}") for gate in outcome.gates],
        tables=[
            ("Overlaps", "\n".join(_line(item) for item in summary.overlaps) or "the caller never spoke over the agent")
        ],
        facts={name: show(value) for name, value in environment().items() if isinstance(value, str | int | float)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, report)
    print(f"written: {path}")


def _moments(item: Overlap) -> list[Moment]:
    found = [Moment(item.onset_ms / 1000, f"caller begins ({item.kind.value})")]
    if item.silent_ms is not None:
        found.append(Moment((item.onset_ms + item.silent_ms) / 1000, "agent silent"))
    return [*found, Moment(max(item.caller_end_ms, item.onset_ms) / 1000, "caller ends")]


def _line(item: Overlap) -> str:
    ended = (
        f"silent after {item.silent_ms:.0f} ms" if item.silent_ms is not None else f"audible beyond {WINDOW_MS:.0f} ms"
    )
    more = f", talk-over {item.talk_over_ms:.0f} ms, leftover {item.leftover_ms:.0f} ms"
    return f"{item.onset_ms / 1000:8.2f} s  {item.kind.value}: {ended}{more}"
