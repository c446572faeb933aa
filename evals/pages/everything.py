"""The report of a set: verdicts and first figures at a glance, every evaluation's own page folded below.

An evaluation that writes no page of its own is shown from its JSON line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from evals.outcome import environment
from evals.pages import page
from evals.pages.headline import headline


@dataclass(frozen=True, slots=True)
class Part:
    """One evaluation of the set; `line` is None where it gave none, `body` empty where it wrote no page."""

    command: str
    line: Mapping[str, Any] | None
    verdict: str
    took: str
    body: str
    broke: bool = False


def write_report(path: Path, title: str, parts: Sequence[Part]) -> None:
    """Write the page."""
    where = environment()
    summary = (
        f"{where['date'][:16].replace('T', ' ')} UTC, commit {where['commit'] or 'unknown'}, {where['cpu']}, "
        f"{where['cores']} cores, {where['gpu'] or 'no GPU'}; load average {where['load_average']} at the end."
    )
    sections = [
        f'<p class="lead">{escape(summary)}</p>',
        f"<p>{_tally(parts)}</p>",
        *(_part(part) for part in parts),
        page.section("Measured on", page.facts(where)),
        '<p class="note">Gates are counts; times depend on the machine and never fail a run. '
        "Every name is defined in evals/README.md. A server's own machine is not known here. "
        "This page fetches nothing.</p>",
    ]
    page.save(path, title, sections)


def _tally(parts: Sequence[Part]) -> str:
    passed = sum(part.line is not None and part.line["passed"] for part in parts)
    missing = sum(part.line is None and not part.broke for part in parts)
    chips = [f'<span class="chip ok">{passed} passed</span>']
    if failed := len(parts) - passed - missing:
        chips.append(f'<span class="chip bad">{failed} failed</span>')
    if missing:
        chips.append(f'<span class="chip off">{missing} could not run</span>')
    return " ".join(chips)


def _part(part: Part) -> str:
    kind = "bad" if part.broke else "off" if part.line is None else "ok" if part.line["passed"] else "bad"
    state = {"ok": "passed", "bad": "failed", "off": "not run"}[kind] if not part.broke else "broke"
    says = "" if kind == "ok" else f'<p class="{"bad" if kind == "bad" else "note"}">{escape(part.verdict)}</p>'
    head = (
        f'<h2><code>{escape(part.command)}</code> <span class="chip {kind}">{state}</span> '
        f'<span class="note">{escape(part.took)}</span></h2>{says}'
    )
    if part.line is None:
        return f"<section>{head}</section>"
    holds = "plots, the worst cases to listen to, method" if part.body else "all figures"
    body = part.body or page.any_outcome(part.line)
    folded = f"<details><summary>Everything: {holds}</summary>{body}</details>"
    return f"<section>{head}{page.tiles(headline(part.line))}{folded}</section>"
