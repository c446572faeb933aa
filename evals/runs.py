"""Saved runs: read from a file or a folder, and each matched with its like of another folder. Knows no figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Run = Mapping[str, Any]
NEEDED = ("eval", "peer", "seed", "config", "pairs", "environment")
OF_THE_PEER = ("model", "over_socket", "lacks", "errors", "driver_late_frames", "unreached")
"""Configuration that belongs to the thing compared, or was found: it does not tell one evaluation from another."""


class RunError(Exception):
    """Nothing to compare there; the message says what is needed."""


def runs_of(place: Path) -> list[Run]:
    """The runs of a file; of a folder those that its results.json names, or else all that lie in it."""
    if place.is_file():
        run = _read(place)
        if "files" in run:
            return runs_of(place.parent)
        if missing := [name for name in NEEDED if name not in run]:
            raise RunError(
                f"{place} is no saved run, for it has no {missing[0]!r}; such as out/mine/01/latency-openai.json"
            )
        return [run]
    if not place.is_dir():
        raise RunError(f"{place} is not there; a JSON file or a folder that --out wrote is needed")
    index = place / "results.json"
    named = _read(index).get("files") if index.is_file() else None
    files = sorted(place.rglob("*.json")) if named is None else [place / name for name in named]
    runs = [run for run in map(_read, files) if all(name in run for name in NEEDED)]
    if not runs:
        raise RunError(f"{place} holds no saved run; a folder that --out wrote is needed")
    return runs


def matched(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Each run with the one of the other side that is most like it, in the order of the first side."""
    couples = [
        (_likeness(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second) if a["eval"] == b["eval"]
    ]
    if not couples:
        names = " and ".join(", ".join(sorted({run["eval"] for run in side})) for side in (first, second))
        raise RunError(f"one has {names}: no evaluation in common")
    found: dict[int, int] = {}
    for _, i, j in sorted(couples, key=lambda couple: (*(-value for value in couple[0]), couple[1], couple[2])):
        if i not in found and j not in found.values():
            found[i] = j
    return [(first[i], second[j]) for i, j in sorted(found.items())]


def _likeness(a: Run, b: Run) -> tuple[int, int, int]:
    """The same peer, the same configuration, many pairs; in this order, and higher is more alike."""
    ours = [name for name in a["config"].keys() | b["config"].keys() if name not in OF_THE_PEER]
    differing = sum(a["config"].get(name) != b["config"].get(name) for name in ours)
    return a["peer"] == b["peer"], -differing, len(a["pairs"].keys() & b["pairs"].keys())


def differences(first: Run, second: Run) -> list[str]:
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


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
