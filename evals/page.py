"""A self-contained HTML page: text, tables, SVG plots and audio players. Fetches nothing, knows no metric."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evals.outcome import Outcome, environment, show

COLOURS = ("#1f6fb2", "#c2571a", "#2a8a4a", "#8a4fb0", "#b0862a", "#4a9aa8", "#a84a6e")
WIDTH, HEIGHT, LEFT, BOTTOM = 900, 260, 56, 36

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #6b7684; --paper: #fff; --lane: #f2f4f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #98a3b0; --paper: #14181e; --lane: #1d232b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
       margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em } h3 { font-size: 1em } svg { width: 100% }
table { border-collapse: collapse; margin: .5em 0 } th, td { padding: .2em .9em .2em 0; text-align: right }
th:first-child, td:first-child { text-align: left } th { color: var(--soft); font-weight: normal }
pre { background: var(--lane); padding: 1em; overflow-x: auto } text { font-size: 12px; fill: var(--soft) }
.axis { stroke: var(--soft) } .lane { fill: var(--lane) }
.bad { color: #c0392b; font-weight: bold } .ok { color: #2a8a4a }
audio { width: 22em; display: block; margin: .3em 0 1em }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole document."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>"
    )


def save(path: Path, title: str, sections: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, sections), encoding="utf-8")
    print(f"written: {path}")


def section(title: str, *parts: str) -> str:
    return f"<h2>{escape(title)}</h2>{''.join(parts)}"


def grid(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers as show() writes them."""
    head = "".join(f"<th>{escape(name)}" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(show(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def verdict(outcome: Outcome) -> str:
    """Gates, what was not measured, what the peer cannot do."""
    gates = "".join(
        f'<tr><td class="{"ok" if gate.passed else "bad"}">{"ok" if gate.passed else "FAIL"} {escape(gate.name)}'
        f"<td>{gate.count}<td>at most {gate.limit}"
        for gate in outcome.gates
    )
    lacking = [f"{outcome.peer}: {text}" for text in outcome.config.get("lacks", ())]
    notes = "".join(f"<li>{escape(text)}" for text in [*(f"not measured: {t}" for t in outcome.not_measured), *lacking])
    return section("Gates", f"<table>{gates}</table>", f"<ul>{notes}</ul>" if notes else "")


def methods(definition: str) -> str:
    """How it was measured: the definition at the head of the evaluation, and where all of them stand."""
    return section("Method", f"<pre>{escape(definition.strip())}</pre><p>Every name is defined in evals/README.md.</p>")


def surroundings(outcome: Outcome) -> str:
    """Configuration and environment."""
    facts: Mapping[str, Any] = {"seed": outcome.seed, **outcome.config, **environment()}
    rows = "".join(
        f"<tr><td>{escape(name)}<td style='text-align:left'>{escape(str(value))}" for name, value in facts.items()
    )
    return section("Measured on", f"<table>{rows}</table>")


def ecdf(series: Mapping[str, Sequence[float]], *, unit: str = "ms") -> str:
    """Share of values (up) that are at most so large (right), one line for each series."""
    series = {name: sorted(values) for name, values in series.items() if len(values)}
    if not series:
        return "<p>nothing to draw</p>"
    top = max(values[-1] for values in series.values()) or 1.0
    lines, keys = [], []
    for index, (name, values) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        points = [(float(LEFT), _y(0.0))]
        for rank, value in enumerate(values, start=1):
            points += [(_x(value, top), points[-1][1]), (_x(value, top), _y(rank / len(values)))]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        keys.append(f'<tspan fill="{colour}" dx="14">{escape(name)} (n={len(values)})</tspan>')
    marks = [top * part / 4 for part in range(5)]
    ticks = "".join(
        f'<text x="{_x(mark, top):.0f}" y="{HEIGHT - 16}" text-anchor="middle">{show(mark)} {unit}</text>'
        for mark in marks
    )
    shares = "".join(f'<text x="4" y="{_y(share) + 4:.0f}">{100 * share:.0f} %</text>' for share in (0, 0.5, 0.95, 1))
    axis = f'<path class="axis" fill="none" d="M{LEFT} 8V{_y(0):.0f}H{WIDTH}"/>'
    legend = f'<text x="{LEFT}" y="{HEIGHT - 2}">{"".join(keys)}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 4}">{axis}{"".join(lines)}{ticks}{shares}{legend}</svg>'


def wave_path(samples: np.ndarray, *, width: int, top: float, height: float) -> str:
    """A waveform as an SVG path: the peak of each pixel's samples, mirrored."""
    if not len(samples):
        return ""
    values = np.abs(samples.astype(np.float32)) / (32768 if samples.dtype == np.int16 else 1)
    edges = np.linspace(0, len(values), width + 1).astype(int)
    middle = top + height / 2
    peaks = (values[a:b].max() if b > a else 0.0 for a, b in pairwise(edges))
    return "".join(
        f"M{x} {middle - peak * height / 2:.1f}V{middle + peak * height / 2:.1f}"
        for x, peak in enumerate(peaks)
        if peak > 0.004
    )


def player(label: str, samples: np.ndarray, sample_rate: int) -> str:
    """An audio player; samples are [n] or [n, channels], int16."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.ascontiguousarray(samples.astype("<i2")).tobytes())
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<div>{escape(label)}<audio controls src="data:audio/wav;base64,{data}"></audio></div>'


def _x(value: float, top: float) -> float:
    return LEFT + (WIDTH - LEFT - 30) * value / top


def _y(share: float) -> float:
    return 8 + (HEIGHT - BOTTOM - 8) * (1 - share)
