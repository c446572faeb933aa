"""A set of evaluations one after the other, for our engine, its peers and the control; one page and one JSON line.

Each runs in a process of its own, so that no one's threads or caches help or hurt the next. A peer that is not
installed is named and left out; a gate that fails, and an evaluation that breaks, fails the whole.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.outcome import table
from evals.pages.everything import Part, write_report
from evals.pages.style import body_of
from evals.pages.summary import markdown
from evals.peers.answers import shown

CONTROL = "--peer tone --virtual --reaction energy --clips voiced --only interruption --only abort"
NO_FOLDER = ("isolation", "ttfa")
"""Evaluations that write no files."""
SETS: dict[str, tuple[str, ...]] = {
    "smoke": (
        f"barge-in {CONTROL}",
        "latency --peer tone --seeds 1 --load closed:4:4",
        # The engine itself: the sine says nothing of what it hands on after an abort, or of a reply without sound.
        "soak -n 60",
        "latency --peer engine --seeds 1 --warm-up 0 --load closed:2:2",
    ),
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
        "barge-in --peer engine --over-socket --reaction immediate --only abort --streams 24 --repeat 4",
        "barge-in --peer engine --over-socket --reaction immediate --only abort --repeat 2",
        "live --where room --preset selective",
        "live --where pipecat-browser --preset selective",
        "live --where sip --preset selective",
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
    """One evaluation: its command, its JSON line (None: it gave none), and how long it took.

    Attributes:
        says: Where there is no line, why.
        broke: It ended otherwise than an evaluation may: a crash, or a command that is none.
        files: What it wrote itself in this run.
    """

    command: str
    line: dict[str, Any] | None
    says: str
    seconds: float
    broke: bool = False
    files: tuple[Path, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals all", description=__doc__)
    parser.add_argument("--set", choices=sorted(SETS), default="quick", help="quick is about ten minutes")
    parser.add_argument("--full", dest="set", action="store_const", const="full", help="the same as --set full")
    parser.add_argument(
        "--run", action="append", help='in place of a set: an evaluation, "latency --peer hibari"; repeatable'
    )
    parser.add_argument("--out", type=Path, default=Path("out/evals"), help="folder for everything written")
    options = parser.parse_args(argv)
    title = "Evaluation, " + ("a set of one's own" if options.run else f"set {options.set}")
    line = {"eval": "all", "set": None if options.run else options.set}
    return run_set(options.run or SETS[options.set], options.out, title, line)


def run_set(commands: Sequence[str], out: Path, title: str, line: Mapping[str, Any]) -> int:
    """Run them, write both pages and results.json, print a table and `line` with what was found; 0, 1 or 2.

    2 = none of them could run here; one that broke fails the set, one that is missing something does not.
    """
    ran: list[Ran] = []
    for number, command in enumerate(commands, start=1):
        print(f"\n[{number}/{len(commands)}] python -m evals {_shown(command)}", flush=True)
        ran.append(_run(command, out / f"{number:02d}"))
        found = dict(line) | {
            "passed": _passed(ran),
            "runs": _lines(ran),
            "not_run": {item.command: item.says for item in ran if item.line is None},
        }
        _write(out, title, ran, found)
    _print(ran)
    print(f"written: {out / 'report.html'} (everything, to listen to), {out / 'results.md'}, {out / 'results.json'}")
    print(json.dumps(found))
    if not _lines(ran) and not any(item.broke for item in ran):
        return 2
    return 0 if _passed(ran) else 1


def _write(out: Path, title: str, ran: Sequence[Ran], found: Mapping[str, Any]) -> None:
    """Both pages, anew after every evaluation: a long run that is cut short has shown what it found."""
    parts = [
        Part(item.command, item.line, _verdict(item), _took(item.seconds), _page(item.files), broke=item.broke)
        for item in ran
    ]
    write_report(out / "report.html", title, parts)
    (out / "results.md").write_text(markdown(title, _lines(ran), found["not_run"]), encoding="utf-8")
    saved = [str(file.relative_to(out)) for item in ran for file in item.files if file.suffix == ".json"]
    (out / "results.json").write_text(json.dumps(dict(found) | {"files": saved}, indent=1), encoding="utf-8")


def _lines(ran: Sequence[Ran]) -> list[dict[str, Any]]:
    return [item.line for item in ran if item.line is not None]


def _passed(ran: Sequence[Ran]) -> bool:
    return bool(_lines(ran)) and not any(item.broke for item in ran) and all(line["passed"] for line in _lines(ran))


def _page(files: Sequence[Path]) -> str:
    """The report that an evaluation wrote itself, without its frame; nothing where it wrote none."""
    return "".join(body_of(file.read_text(encoding="utf-8")) for file in files if file.suffix == ".html")


def _run(command: str, out: Path) -> Ran:
    started, began_s = time.monotonic(), time.time()
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
    # 2 with a reason is what an evaluation says that misses something; argparse says 2 too, and nothing on stdout.
    broke = found is None and not (code == 2 and any(lines))
    return Ran(_shown(command), found, says, time.monotonic() - started, broke, _written(out, began_s))


def _written(out: Path, since_s: float) -> tuple[Path, ...]:
    """What was written there since: an earlier run into the same folder is not this one's."""
    files = sorted(file for kind in ("*.html", "*.json") for file in out.glob(kind))
    return tuple(file for file in files if file.stat().st_mtime >= since_s - 1)


def _shown(command: str) -> str:
    """The command for people: nothing secret that an address may hold."""
    return " ".join(shown(word) if "://" in word else word for word in command.split(" "))


def _print(ran: Sequence[Ran]) -> None:
    rows = [(item.command, _verdict(item), _took(item.seconds)) for item in ran]
    print("\n" + table(("evaluation", "verdict", "took"), rows), end="\n\n")


def _verdict(item: Ran) -> str:
    if item.line is None:
        return f"{'BROKE' if item.broke else 'not run'}: {item.says}"
    failed = [gate["name"] for gate in item.line["gates"] if not gate["passed"]]
    return "passed" if not failed else f"FAILED: {', '.join(failed)}"


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
