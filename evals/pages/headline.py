"""The three to six figures of an outcome that a reader wants first. Pure: a JSON line in, names and values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.outcome import show

Line = Mapping[str, Any]
MOST = 6


def headline(line: Line) -> list[tuple[str, str]]:
    """Of the known evaluations their own; of any other one the first figures it has."""
    known = {"barge-in": _barge_in, "latency": _latency, "quality": _quality, "prefix": _prefix, "side-by-side": _rows}
    known["live"] = _barge_in
    return known.get(line["eval"], _any)(line["figures"])[:MOST]


def _barge_in(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    silence = figures["stages"].get("silence at the ear")
    penalty = figures.get("penalty_ms")
    found = [("onset to silence, p50 / p95 ms", _two(silence))] if silence else []
    found += [("yield rate", _share(figures["yield_rate"])), ("selectivity", _share(figures["selectivity"]))]
    found += [("average penalty, ms", show(penalty["value"]))] if penalty else []
    found += [("next reply heard after, p50 / p95 ms", _two(figures["next_ttfa_ms"]))]
    return [*found, ("events", show(figures["n"]))]


def _latency(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for load, values in figures.items():
        if load != "cold":
            found.append((f"{load}: playable, p50 / p95 ms", _two(values["ttfa_playable_ms"])))
            found.append((f"{load}: stalls in {values['n']}", show(values["underruns"])))
    return found


def _quality(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, values in figures.items():
        if isinstance(values, Mapping) and values.get("wer"):
            rate = values["wer"]
            found.append((f"WER, {name}, n {values['n']}", f"{100 * rate['value']:.2f} %"))
        elif isinstance(values, Mapping) and name.startswith(("DistillMOS", "similarity")):
            found.append((name, f"{values['value']:.2f}"))
    return found


def _prefix(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"hit rate, {name}", _share(values["hit_rate"]))
        for name, values in figures.items()
        if isinstance(values, Mapping) and "hit_rate" in values
    ]


def _rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"{name}: made and not heard, p50 ms", show(values["unheard_ms"]["p50"])) for name, values in figures.items()
    ]


def _any(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Numbers, shares and spreads in the order in which they stand; of what is nested the first level."""
    found: list[tuple[str, str]] = []
    for name, value in figures.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping) and {"n", "p50", "p95"} <= value.keys():
            found += [(f"{label}, p50 / p95", _two(value))] if value["n"] else []
        elif isinstance(value, Mapping) and value.keys() == {"value", "low", "high"}:
            found.append((label, show(value["value"])))
        elif isinstance(value, Mapping) and not prefix:
            found += _any(value, f"{name}: ")
        elif isinstance(value, int | float | str):
            found.append((label, show(value)))
    return found


def _two(found: Mapping[str, Any]) -> str:
    return f"{show(_round(found['p50']))} / {show(_round(found['p95']))}"


def _round(value: float | None) -> float | int | None:
    return round(value) if value is not None and abs(value) >= 10 else value


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
