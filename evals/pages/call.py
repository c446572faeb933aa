"""One self-contained HTML page for a recorded call: players, the timeline drawn, each interruption under the glass.

Knows recordings, moments and tables; nothing of who made them. Nothing is fetched when the page is opened.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evals.metrics.audio import Samples
from evals.pages.plots import drawing, player, wave_path
from evals.pages.style import document

WIDTH, LANE, GAP = 1160, 84, 10
ZOOM_BEFORE_S, ZOOM_AFTER_S = 0.4, 0.9
COLOURS = {"caller": "c1", "agent": "c0"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A vertical line in the timeline. Seconds from the start of the recording."""

    at_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said. `unheard` is the part that was cut off."""

    who: str
    text: str
    unheard: str = ""
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class CallReport:
    """All that the page shows. Caller and agent are as long as each other and at one rate."""

    title: str
    sample_rate: int
    caller: Samples
    agent: Samples
    turns: Sequence[Turn] = ()
    interruptions: Sequence[Sequence[Moment]] = ()
    """Each one from its onset to the silence at the ear."""
    checks: Sequence[tuple[str, bool, str]] = ()
    tables: Sequence[tuple[str, str]] = ()
    """Heading and preformatted text."""
    facts: dict[str, str] = field(default_factory=dict)


def write_report(path: Path, report: CallReport) -> None:
    """Write the page."""
    path.write_text(render(report), encoding="utf-8")


def render(report: CallReport) -> str:
    parts = [
        _checks(report),
        player(
            "The call (left: caller, right: agent as heard)",
            np.stack([report.caller, report.agent], 1),
            report.sample_rate,
        ),
        _timeline(report),
        *(_zoom(report, moments, number) for number, moments in enumerate(report.interruptions, 1)),
        _turns(report.turns),
        *(f"<h2>{html.escape(heading)}</h2><pre>{html.escape(text)}</pre>" for heading, text in report.tables),
        _facts(report.facts),
    ]
    return document(report.title, "\n".join(parts))


# -- drawing ----------------------------------------------------------------------------------------------------------


def _timeline(report: CallReport) -> str:
    length_s = len(report.caller) / report.sample_rate
    ticks = "".join(
        f'<text x="{_x(at_s, 0, length_s):.1f}" y="{2 * LANE + GAP + 14}" class="tick">{at_s} s</text>'
        for at_s in range(0, int(length_s) + 1, 5)
    )
    cuts = "".join(
        f'<rect x="{_x(moments[0].at_s, 0, length_s):.1f}" y="0" height="{2 * LANE + GAP}" class="shade" '
        f'width="{max(2.0, _x(moments[-1].at_s, 0, length_s) - _x(moments[0].at_s, 0, length_s)):.1f}"/>'
        for moments in report.interruptions
        if moments
    )
    lanes = _lanes(report, 0, length_s)
    return f"<h2>Timeline</h2>{drawing(lanes + cuts + ticks, WIDTH, 2 * LANE + GAP + 20)}"


def _zoom(report: CallReport, moments: Sequence[Moment], number: int) -> str:
    if not moments:
        return ""
    start_s = max(0.0, moments[0].at_s - ZOOM_BEFORE_S)
    end_s = max(moments[-1].at_s, moments[0].at_s + ZOOM_AFTER_S) + 0.1
    height = 2 * LANE + GAP
    lines = []
    for row, moment in enumerate(sorted(moments, key=lambda item: item.at_s)):
        x = _x(moment.at_s, start_s, end_s)
        y = height + 16 * (row + 1)
        since_ms = 1000 * (moment.at_s - moments[0].at_s)
        lines.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y - 4}" class="mark"/>'
            f'<text {_beside(x)} y="{y}" class="label">{html.escape(moment.label)} +{since_ms:.0f} ms</text>'
        )
    body = _lanes(report, start_s, end_s) + "".join(lines)
    clip = _clip(report, start_s - 1.0, end_s + 1.0)
    return f"<h2>Interruption {number}</h2>{drawing(body, WIDTH, height + 16 * (len(moments) + 1))}{clip}"


def _lanes(report: CallReport, start_s: float, end_s: float) -> str:
    return _lane(report.caller, report.sample_rate, start_s, end_s, 0, "caller") + _lane(
        report.agent, report.sample_rate, start_s, end_s, LANE + GAP, "agent"
    )


def _lane(pcm: Samples, sample_rate: int, start_s: float, end_s: float, top: int, name: str) -> str:
    first, wanted = int(start_s * sample_rate), int((end_s - start_s) * sample_rate)
    part = pcm[first : first + wanted]
    part = np.pad(part, (0, wanted - len(part)))
    return (
        f'<rect x="0" y="{top}" width="{WIDTH}" height="{LANE}" class="lane"/>'
        f'<path d="{wave_path(part, width=WIDTH, top=top, height=LANE)}" class="line {COLOURS[name]}"/>'
        f'<text x="6" y="{top + 14}" class="name">{name}</text>'
    )


def _beside(x: float) -> str:
    """Where a label stands so that it does not leave the drawing."""
    return f'x="{x + 4:.1f}"' if x < 0.75 * WIDTH else f'x="{x - 4:.1f}" text-anchor="end"'


def _x(at_s: float, start_s: float, end_s: float) -> float:
    return WIDTH * (at_s - start_s) / (end_s - start_s)


# -- sound and text ---------------------------------------------------------------------------------------------------


def _clip(report: CallReport, start_s: float, end_s: float) -> str:
    start, end = (min(max(0, round(at_s * report.sample_rate)), len(report.caller)) for at_s in (start_s, end_s))
    both = np.stack([report.caller[start:end], report.agent[start:end]], 1)
    return player("this moment", both, report.sample_rate)


def _turns(turns: Sequence[Turn]) -> str:
    rows = []
    for turn in turns:
        unheard = f' <s title="cut off, never heard">{html.escape(turn.unheard)}</s>' if turn.unheard else ""
        at = f"{turn.at_s:.1f} s" if turn.at_s is not None else ""
        rows.append(f"<tr><td>{at}<td>{html.escape(turn.who)}<td>{html.escape(turn.text)}{unheard}")
    return f"<h2>What was said, and what was heard of it</h2>{_words(rows)}" if rows else ""


def _checks(report: CallReport) -> str:
    rows = [
        f'<tr class="{"ok" if passed else "bad"}"><td>{"passed" if passed else "FAILED"}'
        f"<td>{html.escape(name)}<td>{html.escape(detail)}"
        for name, passed, detail in report.checks
    ]
    return _words(rows) if rows else ""


def _facts(facts: dict[str, str]) -> str:
    rows = [f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in facts.items()]
    return f"<h2>Measured on</h2>{_words(rows)}" if rows else ""


def _words(rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table class="words">{"".join(rows)}</table></div>'
