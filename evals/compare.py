"""Two runs compared on pairs: the same text or event in both. Says who is better, or that nothing can be said.

Two JSON files, or two folders of `yours` or `all`: then every evaluation of one with its like of the other. Pairs are
found by key. Change = b - a, its median (of word errors, most of which are 0, its mean) with a 95 % bootstrap interval;
"better" only when the interval does not hold 0. Lower is better in every paired figure; figures are never merged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.metrics.stats import Verdict, nearest_rank, paired
from evals.outcome import table
from evals.runs import Run, RunError, differences, matched, runs_of

Pairs = Mapping[str, Mapping[str, float]]
MEANS = ("wer",)
"""Figures that are 0 in most pairs: their median says nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals compare", description=__doc__)
    parser.add_argument("a", type=Path, help="JSON file of one run, or a folder of runs")
    parser.add_argument("b", type=Path, help="of the other")
    options = parser.parse_args(argv)
    try:
        first, second = runs_of(options.a), runs_of(options.b)
        couples = matched(first, second)
    except RunError as error:
        print(f"cannot compare: {error}")
        return 2
    found = [_compare(a, b) for a, b in couples]
    alone = _alone(first, second, couples)
    for name in alone:
        print(f"without its like: {name}")
    _print_summary(found)
    line: dict[str, Any] = {"eval": "compare"}
    # One evaluation each: its verdicts stand at the top, as they always did.
    print(json.dumps(line | (found[0] if len(found) == 1 else {"comparisons": found, "alone": alone})))
    return 0


def compare(first: Pairs, second: Pairs) -> dict[str, Verdict]:
    """A verdict for each figure that both runs have."""
    verdicts = {}
    for name in _figures(first):
        keys = [key for key in first if key in second and name in first[key] and name in second[key]]
        before, after = ([run[key][name] for key in keys] for run in (first, second))
        if verdict := paired(before, after, mean=name in MEANS):
            verdicts[name] = verdict
    return verdicts


def _compare(first: Run, second: Run) -> dict[str, Any]:
    """Print one couple; what a script wants to know of it."""
    print(f"\na = {_name(first)}\nb = {_name(second)}")
    if first["seed"] != second["seed"]:
        print(f"seeds differ ({first['seed']} and {second['seed']}): few or no pairs can be found")
    for difference in differences(first, second):
        print(f"differs: {difference}")
    verdicts = compare(first["pairs"], second["pairs"])
    _print(first["pairs"], second["pairs"], verdicts)
    named = {"a": _name(first), "b": _name(second)}
    return named | {"verdicts": {name: asdict(verdict) for name, verdict in verdicts.items()}}


def _alone(first: Sequence[Run], second: Sequence[Run], couples: Sequence[tuple[Run, Run]]) -> list[str]:
    taken = [id(run) for couple in couples for run in couple]
    return [
        f"{letter}: {_name(run)}"
        for letter, runs in (("a", first), ("b", second))
        for run in runs
        if id(run) not in taken
    ]


def _figures(pairs: Pairs) -> list[str]:
    return list(dict.fromkeys(name for values in pairs.values() for name in values))


def _print(first: Pairs, second: Pairs, verdicts: Mapping[str, Verdict]) -> None:
    rows = []
    for name, found in verdicts.items():
        interval = f"{found.change.low:.3g} to {found.change.high:.3g}"
        medians = [
            nearest_rank([values[name] for values in run.values() if name in values], 0.5) for run in (first, second)
        ]
        label = f"{name} (mean change)" if name in MEANS else name
        rows.append((label, found.n, *medians, found.change.value, interval, found.better or "no difference shown"))
    header = ("figure", "pairs", "a p50", "b p50", "b - a", "95 %", "better")
    print("\n" + (table(header, rows) if rows else "no pairs: they share no text and no event"), end="\n\n")


def _print_summary(found: Sequence[Mapping[str, Any]]) -> None:
    """Each evaluation once more on one line, where there are several."""
    if len(found) < 2:
        return
    rows = [
        (one["a"].partition(",")[0], *(_named(one["verdicts"], better) for better in ("a", "b", None))) for one in found
    ]
    print(table(("evaluation", "a is better in", "b is better in", "no difference shown"), rows), end="\n\n")


def _named(verdicts: Mapping[str, Any], better: str | None) -> str:
    return ", ".join(name for name, verdict in verdicts.items() if verdict["better"] == better) or "-"


def _name(run: Run) -> str:
    reaction = f" ({run['config']['reaction']})" if "reaction" in run["config"] else ""
    return f"{run['eval']} of {run['peer']}{reaction}, {run['environment']['date']}, {run['environment']['commit']}"
