"""Plots and sound for a page, as SVG and data URLs. Knows numbers and names, no metric; colours are style.py's."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from evals.metrics.stats import nearest_rank
from evals.pages.style import SERIES

WIDTH, HEIGHT, LEFT, BOTTOM = 900, 260, 56, 30
ROW, NAME = 34, 230
NOTHING = '<p class="note">nothing to draw</p>'


def ecdf(series: Mapping[str, Sequence[float]], *, unit: str = "ms") -> str:
    """Share of values (up) that are at most so large (right), one line for each series."""
    series = {name: sorted(values) for name, values in series.items() if len(values)}
    if not series:
        return NOTHING
    top, ticks = _scale(max(values[-1] for values in series.values()))
    lines = [_steps(values, top, index) for index, values in enumerate(series.values())]
    bottom = _y(0)
    across = "".join(
        f'<path class="rule" d="M{LEFT} {_y(share):.0f}H{WIDTH}"/>'
        f'<text x="{LEFT - 8}" y="{_y(share) + down:.0f}" text-anchor="end">{100 * share:.0f} %</text>'
        for share, down in ((0.5, 4), (0.95, 12), (1, 4))
    )
    marks = "".join(
        f'<text x="{_x(mark, top):.0f}" y="{HEIGHT - 8}" text-anchor="middle">{mark:g}</text>' for mark in ticks
    )
    axis = f'<path class="axis" fill="none" d="M{LEFT} 8V{bottom:.0f}H{WIDTH}"/>'
    label = f'<text x="{WIDTH}" y="{bottom - 6:.0f}" text-anchor="end">{escape(unit)}</text>'
    return _figure(f"{across}{axis}{''.join(lines)}{marks}{label}", HEIGHT, _legend(series))


def strips(series: Mapping[str, Sequence[float]], *, unit: str = "ms") -> str:
    """Every value as a dot, a row for each series, its median as a bar: nothing is averaged away."""
    seen = {name: sorted(values) for name, values in series.items()}
    if not any(seen.values()):
        return NOTHING
    top, ticks = _scale(max(values[-1] for values in seen.values() if values))
    height, rows = ROW * len(seen) + BOTTOM, []
    for index, (name, values) in enumerate(seen.items()):
        y = ROW * index + ROW / 2
        rows.append(
            f'<path class="rule" d="M{NAME} {y:.0f}H{WIDTH}"/><text class="name" y="{y + 4:.0f}">{escape(name)}</text>'
        )
        if not values:
            rows.append(f'<text x="{NAME + 6}" y="{y + 4:.0f}">not known</text>')
            continue
        rows += [
            f'<circle class="dot c{index % SERIES}" fill-opacity=".55" r="4" cx="{_along(value, top):.1f}" '
            f'cy="{y + (number % 5 - 2) * 2.4:.1f}"/>'
            for number, value in enumerate(values)
        ]
        x = _along(nearest_rank(values, 0.5) or 0.0, top)
        rows.append(f'<path class="line c{index % SERIES}" stroke-width="3" d="M{x:.1f} {y - 13:.0f}V{y + 13:.0f}"/>')
    marks = "".join(
        f'<text x="{_along(mark, top):.0f}" y="{height - 8}" text-anchor="middle">{mark:g}</text>' for mark in ticks
    )
    return _figure("".join(rows) + marks, height, f"{escape(unit)}; a dot is one event, the bar is the median")


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
    return (
        f'<div class="player"><span class="note">{escape(label)}</span>'
        f'<audio controls preload="metadata" src="data:audio/wav;base64,{data}"></audio></div>'
    )


def drawing(body: str, width: float, height: float) -> str:
    """An SVG that may be wider than a phone."""
    return f'<div class="scroll"><svg viewBox="0 0 {width:.0f} {height:.0f}">{body}</svg></div>'


def _figure(body: str, height: float, caption: str) -> str:
    return f"<figure>{drawing(body, WIDTH + 12, height)}<figcaption>{caption}</figcaption></figure>"


def _legend(series: Mapping[str, Sequence[float]]) -> str:
    keys = [
        f'<span class="key c{index % SERIES}">\N{BLACK CIRCLE}</span> {escape(name)} (n {len(values)})'
        for index, (name, values) in enumerate(series.items())
    ]
    return " &nbsp; ".join(keys)


def _steps(values: Sequence[float], top: float, index: int) -> str:
    path = f"M{LEFT} {_y(0):.1f}"
    for rank, value in enumerate(values, start=1):
        path += f"H{_x(value, top):.1f}V{_y(rank / len(values)):.1f}"
    return f'<path class="line c{index % SERIES}" stroke-width="2" d="{path}H{WIDTH}"/>'


def _scale(largest: float) -> tuple[float, list[float]]:
    """A round end of the axis at or above the largest value, and marks up to it."""
    if largest <= 0:
        return 1.0, [0.0, 1.0]
    step = 10.0 ** np.floor(np.log10(largest / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if largest / (step * factor) <= 5)
    count = int(np.ceil(largest / step - 1e-9))
    return float(step * count), [float(step * number) for number in range(count + 1)]


def _x(value: float, top: float) -> float:
    return LEFT + (WIDTH - LEFT) * value / top


def _along(value: float, top: float) -> float:
    return NAME + 6 + (WIDTH - NAME - 12) * value / top


def _y(share: float) -> float:
    return 8 + (HEIGHT - BOTTOM - 8) * (1 - share)
