"""The report and the results page of a side-by-side run, from its outcome alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.metrics.side_by_side import COLUMNS
from evals.outcome import Outcome, environment
from evals.pages import page

READ = (
    "How to read it. Onset to silence and what leaks are the agent's doing: it clears its player, whatever speaks, so "
    "these hardly differ. What a TTS adds or lacks is in the other columns: how long it goes on computing for nobody, "
    "how much it makes that nobody hears, how soon the next reply sounds, and whether it knows what was heard."
)


def write_report(path: Path, outcome: Outcome, definition: str) -> None:
    """Write the page of one run."""
    plots = []
    for column in COLUMNS:
        series = {name: _values(outcome, name, column.key) for name in outcome.figures}
        if any(series.values()):
            plots.append(
                page.section(column.label, f"<p>{column.says}</p>", page.strips(series, unit=_unit(column.label)))
            )
    page.save(
        path,
        "Side by side: the same interruptions, the same agent, each TTS",
        [
            f'<p class="lead">{READ}</p>',
            page.verdict(outcome),
            page.section("p50 / worst", page.grid(_header(), _rows(outcome))),
            *plots,
            page.section("What each cannot do", page.grid(("TTS", ""), _lacks(outcome))),
            page.methods(definition),
            page.surroundings(outcome),
        ],
    )


def markdown(outcome: Outcome) -> str:
    """The page for docs/results."""
    where = environment()
    lines = [
        f"# Side by side, {where['date'][:10]}",
        f"{where['date']}, commit {where['commit']}, {where['cpu']} with {where['cores']} cores"
        f"{', ' + where['gpu'] if where['gpu'] else ''}, load average {where['load_average']} at the end, "
        f"seed {outcome.seed}, reaction {outcome.config['reaction']}. Made by `python -m evals side-by-side`.",
        READ,
        "Each cell is p50 / worst over the events of the row.",
        _table(_header(), _rows(outcome)),
        "\n".join(f"- **{column.label}**: {column.says}" for column in COLUMNS),
        "## What each cannot do",
        _table(("TTS", "cannot"), _lacks(outcome)),
        "## Findings",
        "\n".join(f"- {name}: {_findings(found)}" for name, found in outcome.figures.items()),
    ]
    if outcome.not_measured:
        lines += ["## Not run", "\n".join(f"- {reason}" for reason in outcome.not_measured)]
    return "\n\n".join(lines) + "\n"


def _header() -> tuple[str, ...]:
    return ("TTS", "n", "stopped", *(column.label for column in COLUMNS))


def _rows(outcome: Outcome) -> list[tuple[Any, ...]]:
    return [
        (name, found["n"], found["stopped"], *(_cell(found[column.key]) for column in COLUMNS))
        for name, found in outcome.figures.items()
    ]


def _cell(found: Mapping[str, Any]) -> str:
    return f"{found['p50']:.0f} / {found['worst']:.0f}" if found["n"] else "-"


def _lacks(outcome: Outcome) -> list[tuple[str, str]]:
    lacks: Mapping[str, list[str]] = outcome.config["lacks_by_row"]
    return [(name, "; ".join(texts) or "-") for name, texts in lacks.items()]


def _findings(found: Mapping[str, Any]) -> str:
    named = [f"{count} {name.replace('_', ' ')}" for name, count in found["findings"].items()]
    named += [f"{found['unreached']} events whose moment never came"] if found["unreached"] else []
    return ", ".join(named) or "none"


def _values(outcome: Outcome, name: str, key: str) -> list[float]:
    return [values[key] for event, values in outcome.pairs.items() if event.startswith(f"{name} | ") and key in values]


def _unit(label: str) -> str:
    return label.rpartition(", ")[2]


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])
