"""Two runs of one evaluation, compared on pairs: the same text, or the same event, in both. Says who is better, or that
nothing can be said.

Pairs are found by key. Change = b - a, its median with a 95 % bootstrap interval; "better" only when the interval does
not hold 0. Lower is better in every paired figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.metrics_stats import Verdict, nearest_rank, paired
from evals.outcome import table

Pairs = Mapping[str, Mapping[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals compare", description=__doc__)
    parser.add_argument("a", type=Path, help="JSON file of one run")
    parser.add_argument("b", type=Path, help="JSON file of the other")
    options = parser.parse_args(argv)
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (options.a, options.b))
    if first["eval"] != second["eval"]:
        print(f"{options.a} is a run of {first['eval']}, {options.b} of {second['eval']}: nothing to compare")
        return 2
    if first["seed"] != second["seed"]:
        print(f"seeds differ ({first['seed']} and {second['seed']}): few or no pairs can be found")
    for difference in differences(first, second):
        print(f"differs: {difference}")
    verdicts = compare(first["pairs"], second["pairs"])
    _print(f"a = {_name(first)}", f"b = {_name(second)}", first["pairs"], second["pairs"], verdicts)
    line: dict[str, Any] = {"eval": "compare", "a": _name(first), "b": _name(second)}
    print(json.dumps(line | {"verdicts": {name: asdict(found) for name, found in verdicts.items()}}))
    return 0


def compare(first: Pairs, second: Pairs) -> dict[str, Verdict]:
    """A verdict for each figure that both runs have."""
    verdicts = {}
    for name in _figures(first):
        keys = [key for key in first if key in second and name in first[key] and name in second[key]]
        if verdict := paired([first[key][name] for key in keys], [second[key][name] for key in keys]):
            verdicts[name] = verdict
    return verdicts


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What else than the thing compared is not the same: configuration, machine, commit."""
    found = [
        f"{name}: {first['config'].get(name)!r} and {second['config'].get(name)!r}"
        for name in first["config"].keys() | second["config"].keys()
        if first["config"].get(name) != second["config"].get(name)
    ]
    for name in ("cpu", "cores", "gpu", "commit"):
        one, other = first["environment"].get(name), second["environment"].get(name)
        if one != other:
            found.append(f"{name}: {one!r} and {other!r}")
    return sorted(found)


def _figures(pairs: Pairs) -> list[str]:
    return list(dict.fromkeys(name for values in pairs.values() for name in values))


def _print(a: str, b: str, first: Pairs, second: Pairs, verdicts: Mapping[str, Verdict]) -> None:
    print(f"\n{a}\n{b}\n")
    rows = []
    for name, found in verdicts.items():
        interval = f"{found.change.low:.3g} to {found.change.high:.3g}"
        medians = [
            nearest_rank([values[name] for values in run.values() if name in values], 0.5) for run in (first, second)
        ]
        rows.append((name, found.n, *medians, found.change.value, interval, found.better or "no difference shown"))
    print(
        table(("figure", "pairs", "a p50", "b p50", "b - a", "95 %", "better"), rows) if rows else "no pairs",
        end="\n\n",
    )


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['eval']} of {run['peer']}, {run['environment']['date']}, {run['environment']['commit']}"
