"""A set of evaluations one after the other, for our engine, its peers and the control; one page and one JSON line.

Each runs in a process of its own, so that no one's threads or caches help or hurt the next. A peer that is not
installed is named and left out; a gate that fails fails the whole.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.outcome import table
from evals.page_everything import Part, write_report
from evals.style import body_of
from evals.summary import markdown

CONTROL = "--peer tone --virtual --reaction energy --clips voiced --only interruption --only abort"
NO_FOLDER = ("isolation", "ttfa")
"""Evaluations that write no files."""
SETS: dict[str, tuple[str, ...]] = {
    "smoke": (f"barge-in {CONTROL}", "latency --peer tone --seeds 1 --load closed:4:4"),
    "quick": (
        f"barge-in {CONTROL}",
        "barge-in --peer engine --reaction immediate --only abort",
        "barge-in --peer engine --reaction selective --quick",
        "latency --peer engine",
        "latency --peer hibari --load closed:1:6 --load burst:4:1:10",
        "quality --peer engine -n 20",
        "prefix --conversations 4",
        "soak -n 300",
    ),
    "full": (
        f"barge-in {CONTROL}",
        "barge-in --peer tone --reaction selective",
        "barge-in --peer engine --reaction selective --repeat 2",
        "barge-in --peer engine --reaction immediate --only interruption --only abort --repeat 2",
        "barge-in --peer engine --reaction immediate --only abort --streams 8 --repeat 4",
        "barge-in --peer engine --over-socket --reaction immediate --only abort --repeat 2",
        "live --where room --preset selective",
        "live --where pipecat-browser --preset selective",
        "latency --peer engine --set full",
        "latency --peer engine --set quick --feed llm --sentences 3",
        "latency --peer hibari --set quick",
        "latency --peer piper --set quick",
        "latency --peer espeak --set quick",
        "side-by-side",
        "quality --peer engine -n 160",
        "quality --peer engine --hard -n 40",
        "quality --peer hibari -n 80 --modes whole",
        "quality --peer piper -n 80 --modes whole",
        "quality --peer kokoro -n 40 --modes whole --voices af_heart am_fenrir",
        "prefix",
        "soak -n 3000",
        "soak --real-time -n 60",
    ),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One evaluation: its command, its JSON line (None: it could not run), and how long it took."""

    command: str
    line: dict[str, Any] | None
    says: str
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals all", description=__doc__)
    parser.add_argument("--set", choices=sorted(SETS), default="quick", help="quick is about ten minutes")
    parser.add_argument("--full", dest="set", action="store_const", const="full", help="the same as --set full")
    parser.add_argument(
        "--run", action="append", help='in place of a set: an evaluation, "latency --peer hibari"; repeatable'
    )
    parser.add_argument("--out", type=Path, default=Path("out/evals"), help="folder for everything written")
    options = parser.parse_args(argv)
    commands = options.run or SETS[options.set]
    title = "Evaluation, " + ("a set of one's own" if options.run else f"set {options.set}")
    ran: list[Ran] = []
    for number, command in enumerate(commands, start=1):
        print(f"\n[{number}/{len(commands)}] python -m evals {command}", flush=True)
        ran.append(_run(command, options.out / f"{number:02d}"))
        _write(options.out, title, ran)
    _print(ran)
    print(f"written: {options.out / 'results.md'}")
    line = {
        "eval": "all",
        "set": None if options.run else options.set,
        "passed": _passed(ran),
        "runs": _lines(ran),
        "not_run": _not_run(ran),
    }
    print(json.dumps(line))
    return 0 if _passed(ran) and _lines(ran) else 1


def _write(out: Path, title: str, ran: Sequence[Ran]) -> None:
    """Both pages, anew after every evaluation: a long run that is cut short has shown what it found."""
    parts = [
        Part(item.command, item.line, _verdict(item), _took(item.seconds), _page(out / f"{number:02d}"))
        for number, item in enumerate(ran, start=1)
    ]
    write_report(out / "report.html", title, parts)
    (out / "results.md").write_text(markdown(title, _lines(ran), _not_run(ran)), encoding="utf-8")


def _lines(ran: Sequence[Ran]) -> list[dict[str, Any]]:
    return [item.line for item in ran if item.line is not None]


def _not_run(ran: Sequence[Ran]) -> dict[str, str]:
    return {item.command: item.says for item in ran if item.line is None}


def _passed(ran: Sequence[Ran]) -> bool:
    return all(line["passed"] for line in _lines(ran))


def _page(folder: Path) -> str:
    """The report that an evaluation wrote itself, without its frame; nothing where it wrote none."""
    return "".join(body_of(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.html")))


def _run(command: str, out: Path) -> Ran:
    started = time.monotonic()
    folder = [] if command.split()[0] in NO_FOLDER else ["--out", str(out)]
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", "evals", *shlex.split(command), *folder], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                print(f"  {line}", end="", flush=True)
            lines.append(line.strip())
    code = process.returncode
    found = json.loads(lines[-1]) if code in (0, 1) and lines and lines[-1].startswith("{") else None
    says = "" if found else next((line for line in reversed(lines) if line), f"ended with {code}")
    return Ran(command, found, says, time.monotonic() - started)


def _print(ran: Sequence[Ran]) -> None:
    rows = [(item.command, _verdict(item), _took(item.seconds)) for item in ran]
    print("\n" + table(("evaluation", "verdict", "took"), rows), end="\n\n")


def _verdict(item: Ran) -> str:
    if item.line is None:
        return f"not run: {item.says}"
    failed = [gate["name"] for gate in item.line["gates"] if not gate["passed"]]
    return "passed" if not failed else f"FAILED: {', '.join(failed)}"


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
