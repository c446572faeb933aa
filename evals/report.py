"""One self-contained HTML page for a recorded call: players, the timeline drawn, each interruption under the glass.

Knows recordings, moments and tables; nothing of who made them. Nothing is fetched when the page is opened.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evals.measure import Samples

WIDTH, LANE, GAP = 1160, 84, 10
ZOOM_BEFORE_S, ZOOM_AFTER_S = 0.4, 0.9


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
        f"<h1>{html.escape(report.title)}</h1>",
        _checks(report),
        _player("The call (left: caller, right: agent as heard)", np.stack([report.caller, report.agent], 1), report),
        _timeline(report),
        *(_zoom(report, moments, number) for number, moments in enumerate(report.interruptions, 1)),
        _turns(report.turns),
        *(f"<h2>{html.escape(heading)}</h2><pre>{html.escape(text)}</pre>" for heading, text in report.tables),
        _facts(report.facts),
    ]
    return _PAGE.replace("{title}", html.escape(report.title)).replace("{body}", "\n".join(parts))


# -- drawing ----------------------------------------------------------------------------------------------------------


def _timeline(report: CallReport) -> str:
    length_s = len(report.caller) / report.sample_rate
    ticks = "".join(
        f'<text x="{_x(at_s, 0, length_s):.1f}" y="{2 * LANE + GAP + 14}" class="tick">{at_s} s</text>'
        for at_s in range(0, int(length_s) + 1, 5)
    )
    cuts = "".join(
        f'<rect x="{_x(moments[0].at_s, 0, length_s):.1f}" y="0" height="{2 * LANE + GAP}" class="cut" '
        f'width="{max(2.0, _x(moments[-1].at_s, 0, length_s) - _x(moments[0].at_s, 0, length_s)):.1f}"/>'
        for moments in report.interruptions
        if moments
    )
    lanes = _lanes(report, 0, length_s)
    return f'<h2>Timeline</h2><svg viewBox="0 0 {WIDTH} {2 * LANE + GAP + 20}">{lanes}{cuts}{ticks}</svg>'


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
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y - 4}" class="moment"/>'
            f'<text {_beside(x)} y="{y}" class="label">{html.escape(moment.label)} +{since_ms:.0f} ms</text>'
        )
    box = f'viewBox="0 0 {WIDTH} {height + 16 * (len(moments) + 1)}"'
    body = _lanes(report, start_s, end_s) + "".join(lines)
    clip = _clip(report, start_s - 1.0, end_s + 1.0)
    return f"<h2>Interruption {number}</h2><svg {box}>{body}</svg>{clip}"


def _lanes(report: CallReport, start_s: float, end_s: float) -> str:
    return _lane(report.caller, report.sample_rate, start_s, end_s, 0, "caller") + _lane(
        report.agent, report.sample_rate, start_s, end_s, LANE + GAP, "agent"
    )


def _lane(pcm: Samples, sample_rate: int, start_s: float, end_s: float, top: int, name: str) -> str:
    """One waveform: the peak of each pixel's samples, mirrored."""
    edges = np.linspace(start_s * sample_rate, end_s * sample_rate, WIDTH + 1).astype(int).clip(0, len(pcm))
    magnitude = np.abs(pcm.astype(np.int32))
    peaks = [int(magnitude[a:b].max()) if b > a else 0 for a, b in itertools.pairwise(edges)]
    middle = top + LANE / 2
    path = "".join(
        f"M{x} {middle - h:.1f}V{middle + h:.1f}"
        for x, peak in enumerate(peaks)
        if (h := LANE / 2 * peak / 32768) > 0.4
    )
    return (
        f'<rect x="0" y="{top}" width="{WIDTH}" height="{LANE}" class="lane"/><path d="{path}" class="{name}"/>'
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
    return _player("this moment", both, report)


def _player(label: str, stereo: Samples, report: CallReport) -> str:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(report.sample_rate)
        file.writeframes(np.ascontiguousarray(stereo).tobytes())
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<p>{html.escape(label)}</p><audio controls src="data:audio/wav;base64,{data}"></audio>'


def _turns(turns: Sequence[Turn]) -> str:
    rows = []
    for turn in turns:
        unheard = f' <s title="cut off, never heard">{html.escape(turn.unheard)}</s>' if turn.unheard else ""
        at = f"{turn.at_s:.1f} s" if turn.at_s is not None else ""
        rows.append(f"<tr><td>{at}<td>{html.escape(turn.who)}<td>{html.escape(turn.text)}{unheard}")
    return f"<h2>What was said, and what was heard of it</h2><table>{''.join(rows)}</table>" if rows else ""


def _checks(report: CallReport) -> str:
    rows = [
        f'<tr class="{"ok" if passed else "bad"}"><td>{"passed" if passed else "FAILED"}'
        f"<td>{html.escape(name)}<td>{html.escape(detail)}"
        for name, passed, detail in report.checks
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _facts(facts: dict[str, str]) -> str:
    rows = [f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in facts.items()]
    return f"<h2>Measured on</h2><table>{''.join(rows)}</table>" if rows else ""


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #6b7684; --paper: #fff; --lane: #f2f4f7;
        --caller: #c2571a; --agent: #1f6fb2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #98a3b0; --paper: #14181e; --lane: #1d232b;
          --caller: #f08a4b; --agent: #5fa8e6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em } h2 { font-size: 1.1em; margin-top: 2em } svg, audio { width: 100% }
pre { background: var(--lane); padding: 1em; overflow-x: auto } table { border-collapse: collapse }
td { padding: .25em .9em .25em 0; vertical-align: top } s { color: var(--soft) }
.lane { fill: var(--lane) } .caller { stroke: var(--caller) } .agent { stroke: var(--agent) }
.cut { fill: var(--caller); opacity: .25 }
.moment { stroke: var(--soft); stroke-dasharray: 3 3 } .label, .tick, .name { font-size: 12px; fill: var(--soft) }
.ok td:first-child { color: #2a8a4a } .bad td:first-child { color: #c0392b; font-weight: bold }
</style><body>
{body}
</body></html>
"""
