"""The same interruptions of the same agent around each TTS: what ours adds, and what it does not.

Clock, ear and decision are those of `barge-in`; the agent, its player and a plain energy VAD are the same for every
row, so that what differs between two rows belongs to the TTS. Each row runs in a process of its own, one after the
other. Counted out: nothing; a TTS that is not installed is named and has no row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from evals import barge_in
from evals.calls.call import CallSetting
from evals.calls.events import EventRecord
from evals.calls.policies import REACTIONS, reaction_maker
from evals.calls.scenario import FOLDER, load, plan
from evals.judges import RATE, FasterWhisper, JudgeUnavailableError
from evals.metrics.audio import as_float
from evals.metrics.barge_in import judge
from evals.metrics.side_by_side import COLUMNS, row_of, values_of
from evals.outcome import Gate, Outcome, finish, table
from evals.pages.side_by_side import markdown, write_report
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer

ROWS = (
    ("agent_tts", "--peer engine"),
    ("agent_tts, in its own process", "--peer engine --over-socket"),
    ("agent_tts, no lead limit", "--peer engine --lead-ms 600000"),
    ("a sine", "--peer tone"),
    ("hibari", "--peer hibari"),
    ("espeak-ng", "--peer espeak"),
    ("Piper", "--peer piper"),
    ("Kokoro-82M", "--peer kokoro"),
)
OURS = ("engine", "tone")
"""Peers whose faults fail the run: ours, and the control. A fault of another TTS is a finding."""
CLIP = "voiced"
KINDS = ("interruption", "abort")
QUICK = ("first frame", "steady", "double", "abort in prefill", "abort steady")


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    if options.one:
        return _child(options)
    rows = [_row(text) for text in options.row] if options.row else list(ROWS)
    ran: dict[str, dict[str, Any]] = {}
    not_run: dict[str, str] = {}
    for number, (name, peer) in enumerate(rows, start=1):
        print(f"[{number}/{len(rows)}] {name}: {peer}", flush=True)
        found = _run(peer, options)
        if isinstance(found, str):
            not_run[name] = found
            print(f"  cannot run: {found}")
        else:
            ran[name] = found
    if not ran:
        return 2
    _print(ran)
    outcome = _outcome(options, ran, not_run)
    if options.out is not None:
        write_report(options.out / "side-by-side.html", outcome, __doc__ or "")
        (options.out / "side-by-side.md").write_text(markdown(outcome), encoding="utf-8")
    return finish(outcome, options.out)


def _row(text: str) -> tuple[str, str]:
    """NAME=OPTIONS, or the options alone."""
    name, found, peer = text.partition("=")
    return (name, peer) if found and not name.startswith("-") else (text, text)


def _run(peer: str, options: argparse.Namespace) -> dict[str, Any] | str:
    """One row in a process of its own: its values, or why there are none."""
    passed = ["--reaction", options.reaction, "--seed", str(options.seed), "--repeat", str(options.repeat)]
    passed += ["--cache", str(options.cache), *(["--quick"] if options.quick else [])]
    passed += [] if options.listen else ["--no-listen"]
    command = [sys.executable, "-m", "evals", "side-by-side", "--one", *shlex.split(peer), *passed]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line]
    if done.returncode == 0 and lines:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    return lines[-1] if lines else f"ended with {done.returncode}"


def _child(options: argparse.Namespace) -> int:
    try:
        events, pages, unreached = asyncio.run(_events(options))
    except PeerUnavailableError as error:
        print(error)
        return 2
    listener = _listener(options)
    results = [judge(event) for event in events]
    heard = [_listen(listener, event) for event in events]
    values = {
        event.key: values_of(event, result, text) for event, result, text in zip(events, results, heard, strict=True)
    }
    found = {
        "peer": options.peer,
        "n": len(results),
        "stopped": sum(result.correct for result in results),
        "findings": dict(Counter(name for result in results for name in result.findings)),
        "pages_leaked": pages,
        "unreached": len(unreached),
        "listened": listener is not None,
        "values": values,
        "lacks": list(ABILITIES[options.peer].lacks),
    }
    print(json.dumps(found))
    return 0


async def _events(options: argparse.Namespace) -> tuple[list[EventRecord], int | None, list[str]]:
    scenarios = [item for item in load(FOLDER) if item.kind in KINDS and (not options.quick or item.name in QUICK)]
    # One made clip in place of each scenario's sayings: the VAD must decide alike in every row.
    plans = plan([replace(item, clips=(CLIP,)) for item in scenarios], repeat=options.repeat)
    setting = CallSetting(voice=options.voice, make_reaction=reaction_maker(options.reaction))
    peer = make_peer(options)
    await peer.open()
    try:
        await barge_in.run_all(peer, plans[-1:], setting, seed=options.seed + 9_000)  # warm, and counted out
        events, unreached = await barge_in.run_all(peer, plans, setting, seed=options.seed)
        return events, peer.pages_leaked(), unreached
    finally:
        await peer.close()


def _listener(options: argparse.Namespace) -> FasterWhisper | None:
    """None: nobody listens, or there is nothing to understand."""
    if not options.listen or options.peer == "tone":
        return None
    try:
        return FasterWhisper(options.cache)
    except JudgeUnavailableError:
        return None


def _listen(listener: FasterWhisper | None, event: EventRecord) -> str | None:
    if listener is None:
        return None
    ear = event.ear.of_reply(event.reply.reply_id)
    if not np.any(ear):
        return ""
    return listener.hear(np.asarray(soxr.resample(as_float(ear), event.ear.sample_rate, RATE), np.float32))


def _print(ran: dict[str, dict[str, Any]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for name, found in ran.items():
        spreads = row_of(list(found["values"].values()))
        cells = [_cell(spreads[column.key]) for column in COLUMNS]
        rows.append((name, f"{found['stopped']}/{found['n']}", *cells))
    print("\np50 / worst; a count of events behind each is in the JSON line\n")
    print(table(("TTS", "stopped", *(column.label for column in COLUMNS)), rows), end="\n\n")


def _cell(found: dict[str, Any]) -> str:
    return f"{found['p50']:.0f} / {found['worst']:.0f}" if found["n"] else "-"


def _outcome(options: argparse.Namespace, ran: dict[str, dict[str, Any]], not_run: dict[str, str]) -> Outcome:
    figures: dict[str, Any] = {}
    gates: list[Gate] = []
    for name, found in ran.items():
        kept = {key: value for key, value in found.items() if key not in ("values", "lacks")}
        figures[name] = kept | row_of(list(found["values"].values()))
        if found["peer"] in OURS:
            count = {finding: found["findings"].get(finding, 0) for finding in barge_in.NEVER}
            gates += [Gate(f"{finding.replace('_', ' ')}, {name}", number) for finding, number in count.items()]
            gates.append(Gate(f"pages leaked, {name}", found["pages_leaked"] or 0))
            gates.append(Gate(f"anchors never reached, {name}", found["unreached"]))
    return Outcome(
        evaluation="side-by-side",
        peer="all",
        config={
            "rows": {name: found["peer"] for name, found in ran.items()},
            "reaction": options.reaction,
            "repeat": options.repeat,
            "quick": options.quick,
            "lacks_by_row": {name: found["lacks"] for name, found in ran.items()},
        },
        seed=options.seed,
        figures=figures,
        gates=tuple(gates),
        pairs={f"{name} | {key}": values for name, found in ran.items() for key, values in found["values"].items()},
        not_measured=tuple(f"{name}: {reason}" for name, reason in not_run.items()),
    )


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals side-by-side", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument(
        "--row",
        action="append",
        help='in place of the usual rows, repeatable: "NAME=--peer openai --url http://127.0.0.1:8000/v1"',
    )
    parser.add_argument("--reaction", choices=REACTIONS, default="energy", help="who decides to stop, in every row")
    parser.add_argument("--quick", action="store_true", help="the ten events that tell most")
    parser.add_argument("--repeat", type=int, default=1, help="how often each event runs")
    parser.add_argument("--no-listen", dest="listen", action="store_false", help="no speech recogniser at the ear")
    parser.add_argument("--cache", type=Path, default=Path(".cache/models"), help="where its model is put together")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file, the report and the page")
    return parser
