"""The parts of a report: sections, tables, tiles, verdicts, any outcome at all. Knows no single evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evals.outcome import Outcome, environment, show
from evals.pages.plots import drawing, ecdf, player, strips, wave_path
from evals.pages.style import document

__all__ = [
    "any_outcome",
    "drawing",
    "ecdf",
    "facts",
    "figures_of",
    "grid",
    "is_interval",
    "methods",
    "player",
    "save",
    "section",
    "strips",
    "surroundings",
    "tiles",
    "verdict",
    "wave_path",
]

_WORD = re.compile(r"[A-Za-z]{3,}")
SPREAD = ("n", "p50", "p95", "p99", "worst")


def save(path: Path, title: str, sections: Sequence[str]) -> None:
    """Write a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(title, "".join(sections)), encoding="utf-8")
    print(f"written: {path}")


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def grid(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers as show() writes them and to the right, words to the left."""
    if not rows:
        return ""
    wordy = [any(_is_words(row[column]) for row in rows if column < len(row)) for column in range(len(header))]
    head = "".join(f"<th{_class(words)}>{escape(name)}" for name, words in zip(header, wordy, strict=True))
    body = "".join("<tr>" + "".join(_cell(cell, wordy[i]) for i, cell in enumerate(row)) for row in rows)
    return f'<div class="scroll"><table><tr>{head if any(header) else ""}{body}</table></div>'


def tiles(values: Sequence[tuple[str, Any]]) -> str:
    """The few figures that matter most, large."""
    made = "".join(
        f'<div class="tile"><b>{escape(show(value))}</b><span>{escape(name)}</span></div>' for name, value in values
    )
    return f'<div class="tiles">{made}</div>' if made else ""


def facts(values: Mapping[str, Any]) -> str:
    """Names and values, one a line."""
    rows = "".join(f'<tr><td>{escape(name)}<td class="t">{escape(_plain(value))}' for name, value in values.items())
    return f'<div class="scroll"><table class="facts">{rows}</table></div>'


def verdict(outcome: Outcome) -> str:
    """Gates, what was not measured, what the peer cannot do."""
    gates = [(gate.name, gate.count, gate.limit, gate.passed) for gate in outcome.gates]
    lacking = [f"{outcome.peer}: {text}" for text in outcome.config.get("lacks", ())]
    return _verdict(gates, [*(f"not measured: {text}" for text in outcome.not_measured), *lacking])


def methods(definition: str) -> str:
    """How it was measured: the definition at the head of the evaluation, and where all of them stand."""
    names = "<p class='note'>Every name is defined in evals/README.md.</p>"
    return section("Method", f"<pre class='method'>{escape(definition.strip())}</pre>{names}")


def surroundings(outcome: Outcome) -> str:
    """Configuration and environment."""
    return section("Measured on", facts({"seed": outcome.seed, **outcome.config, **environment()}))


def any_outcome(line: Mapping[str, Any]) -> str:
    """An evaluation of any kind from its JSON line alone: gates, every figure, configuration."""
    gates = [(gate["name"], gate["count"], gate["limit"], gate["passed"]) for gate in line.get("gates", ())]
    missing = [f"not measured: {text}" for text in line.get("not_measured", ())]
    lacking = [f"{line['peer']}: {text}" for text in line.get("config", {}).get("lacks", ())]
    settings = {"seed": line.get("seed"), **line.get("config", {}), **line.get("environment", {})}
    return (
        _verdict(gates, [*missing, *lacking])
        + section("Figures", figures_of(line.get("figures", {})))
        + section("Measured on", facts(settings))
    )


def figures_of(figures: Mapping[str, Any], level: int = 3) -> str:
    """Numbers as tiles, spreads as one table, lists of rows as a table each, what is nested below its own heading."""
    spreads = {name: value for name, value in figures.items() if _is_spread(value)}
    intervals = {name: value for name, value in figures.items() if is_interval(value)}
    nested = {name: v for name, v in figures.items() if isinstance(v, Mapping) and name not in {*spreads, *intervals}}
    lists = {name: v for name, v in figures.items() if isinstance(v, list | tuple) and name not in intervals}
    single = [(n, v) for n, v in figures.items() if n not in {*spreads, *intervals, *nested, *lists}]
    parts = [tiles(single)]
    parts.append(grid(("", *SPREAD), [(name, *(value.get(key) for key in SPREAD)) for name, value in spreads.items()]))
    parts.append(grid(("", "value", "95 % from", "to"), [(n, *_triple(v)) for n, v in intervals.items()]))
    tables = {name: rows for name, value in lists.items() if (rows := [v for v in value if isinstance(v, Mapping)])}
    plain = {name: value or "none" for name, value in lists.items() if name not in tables}
    parts.append(facts(plain) if plain else "")
    for name, rows in tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        made = grid(columns, [[_plain_cell(row.get(key)) for key in columns] for row in rows])
        parts.append(f"<h{level}>{escape(name)}</h{level}>{made}")
    for name, value in nested.items():
        parts.append(f"<h{level}>{escape(name)}</h{level}>{figures_of(value, min(level + 1, 6)) or '<p>none</p>'}")
    return "".join(parts)


def _verdict(gates: Sequence[tuple[str, int, int, bool]], notes: Sequence[str]) -> str:
    failed = [gate for gate in gates if not gate[3]]
    if not gates:
        chip = '<span class="chip off">no gates</span>'
    elif failed:
        chip = f'<span class="chip bad">{len(failed)} of {len(gates)} gates failed</span>'
    else:
        chip = f'<span class="chip ok">all {len(gates)} gates passed</span>'
    bad = "".join(f'<li class="bad">{escape(name)}: {count}, at most {limit}' for name, count, limit, _ in failed)
    rows = "".join(
        f'<tr><td class="{"ok" if ok else "bad"}">{escape(name)}<td>{count}<td>{limit}'
        for name, count, limit, ok in gates
    )
    listed = f'<div class="scroll"><table><tr><th>gate<th>found<th>at most{rows}</table></div>'
    folded = f"<details><summary>Gates: counts, never times</summary>{listed}</details>" if gates else ""
    said = "".join(f"<li>{escape(note)}" for note in notes)
    known = f"<details><summary>Not measured, not possible ({len(notes)})</summary><ul>{said}</ul></details>"
    return f"<p>{chip}</p><ul>{bad}</ul>{folded}{known if notes else ''}"


def _is_spread(value: Any) -> bool:
    return isinstance(value, Mapping) and {"n", "p50"} <= value.keys() and value.keys() <= {*SPREAD}


def is_interval(value: Any) -> bool:
    """Whether it is a value with its confidence interval."""
    return isinstance(value, Mapping) and value.keys() == {"value", "low", "high"}


def _triple(value: Mapping[str, Any]) -> tuple[Any, ...]:
    return value["value"], value["low"], value["high"]


def _plain(value: Any) -> str:
    """Settings and leftovers in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return show(value)


def _plain_cell(value: Any) -> Any:
    return _plain(value) if isinstance(value, Mapping | list | tuple) else value


def _is_words(cell: Any) -> bool:
    return isinstance(cell, str) and _WORD.search(cell) is not None


def _class(words: bool) -> str:
    return ' class="t"' if words else ""


def _cell(cell: Any, words: bool) -> str:
    return f'<td class="{"t" if words else "n"}">{escape(show(cell))}'
