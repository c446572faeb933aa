"""Live: a caller talks over the agent in a real call; every stage from the mouth's onset to silence at the ear.

Clock: time.monotonic() of this machine for the caller, the agent and (compared by exchange) a browser's page. Starts:
the first audible sample of the caller's clean recording. Stops: at the ear, as recorded at the caller's end of the
line. Counted out: warm-up events. The LLM is scripted (long replies at an LLM's pace); VAD, STT and voice are real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.demo.processes import ProgramEndedError
from evals.barge_in import gates_of
from evals.calls.clips import save
from evals.calls.policies import SELECTIVE
from evals.calls.scenario import EventPlan, Scenario, load, plan
from evals.live.call import Attempt, Script, can_be_made, hold
from evals.live.figures import SPREADS, live_figures
from evals.live.line import WHERES, CannotCallError, Packets, Setting, opener_of
from evals.live.llm import Answer, steady_llm
from evals.live.records import records
from evals.live.tracks import Tracks
from evals.live.voices import people
from evals.metrics.barge_in import EventResult, judge
from evals.metrics.ledger import LedgerSummary, pairs_of, summarise
from evals.outcome import Outcome, finish, table
from evals.pages.barge_in import write_report

REMARKS = (
    "say:No, I meant the other one.",
    "say:Wait, what was the price again?",
    "say:Actually, can we talk about tomorrow?",
    "say:Sorry, could you say that again?",
    "say:Hold on a second, please.",
    "say:Excuse me, I have another question.",
    "say:Okay, stop there, that is enough.",
)
METHOD = """
A real call on one machine: server, engine, worker and caller. A caller speaks a clip at a moment of a reply that it
hears; onset is the first audible sample of the clean clip. Ducked at the ear: the silence that the agent's pause made
begins (end of the last audible sample, not before the pause itself). Silent: end of the last audible sample of the
reply that was spoken over. Stale: anything of it more than 300 ms after the agent's output was cleared. Never restored:
a reply that should have gone on and was not heard again, whatever the agent said of it. Over SIP a sound of the mouth
is in the packet sent up to 20 ms later, and the ear is what a phone with a jitter buffer of 40 ms plays.
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A call that was made, as it was recorded."""

    tracks: Tracks
    told: list[dict[str, Any]]
    answers: list[Answer]
    attempts: list[Attempt]
    unreached: list[str]
    left_out: list[str]
    packets: Packets | None


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    try:
        held = asyncio.run(_hold(options))
    except (CannotCallError, ProgramEndedError) as error:
        print(f"cannot run: {error}")
        return 2
    if options.out is not None:
        _keep(options.out, held)
    made = records(held.tracks, held.told, [it for it in held.attempts if it.number >= options.warm_up], held.answers)
    results = [judge(item.record) for item in made]
    summary, figures = summarise(results), live_figures(made, results, held.packets)
    _print(options, summary, figures)
    outcome = _outcome(options, held, summary, figures, results)
    if options.out is not None:
        events = [(item.record, result) for item, result in zip(made, results, strict=True)]
        write_report(options.out / f"live-{outcome.peer}.html", outcome, summary, events, method=METHOD)
    return finish(outcome, options.out)


async def _hold(options: argparse.Namespace) -> Held:
    plans, left_out = plans_of(options)
    start_s = time.monotonic()

    def narrate(stage: str) -> None:
        print(f"{time.monotonic() - start_s:6.1f} s  {stage}", file=sys.stderr, flush=True)

    narrate("making what the caller says")
    script = Script.of(plans)
    with tempfile.TemporaryDirectory(prefix="agent_tts_live_", ignore_cleanup_errors=True) as folder:
        async with steady_llm(seed=options.seed) as llm:
            setting = Setting(options.preset, llm.url, (options.logs or Path(folder)).resolve(), narrate)
            setting.folder.mkdir(parents=True, exist_ok=True)
            async with opener_of(options.where)(setting) as line:
                attempts, unreached = await hold(
                    line, script, seed=options.seed, told=lambda done: narrate(f"event {done} of {len(plans)}")
                )
                tracks, packets = await line.tracks(), await line.packets()
    return Held(tracks, line.hearing.told, llm.answers, attempts, unreached, left_out, packets)


def plans_of(options: argparse.Namespace) -> tuple[list[EventPlan], list[str]]:
    """The events of a call, warm-up first; and which scenarios no caller on a line can make."""
    remarks = people(options.people) if options.people else REMARKS
    steady = Scenario("steady", "interruption", "yield", delay_ms=(300.0, 1000.0, 1700.0), clips=remarks)
    [first, *_] = plan([steady])
    cycle = [
        EventPlan(steady, steady.delay_ms[number % 3], remarks[number % len(remarks)], number)
        for number in range(options.n)
    ]
    plans = [replace(first, number=-1 - number) for number in range(options.warm_up)] + cycle
    asked = plan(load(options.scenarios), repeat=options.repeat) if options.scenarios else []
    left_out = sorted({item.scenario.name for item in asked if not can_be_made(item)})
    return plans + [item for item in asked if can_be_made(item)], left_out


def _keep(out: Path, held: Held) -> None:
    """The call itself: what a later question needs."""
    out.mkdir(parents=True, exist_ok=True)
    both = np.stack([held.tracks.mouth, held.tracks.ear], axis=1)
    save(out / "call.wav", both, held.tracks.rate, channels=2)
    told = {"begin_s": held.tracks.begin_s, "told": held.told}
    (out / "told.json").write_text(json.dumps(told, indent=0, default=str), encoding="utf-8")


def _print(options: argparse.Namespace, summary: LedgerSummary, figures: dict[str, Any]) -> None:
    print(f"\nlive, {options.where}, {options.preset}, {summary.n} events\n")
    stages: list[tuple[Any, ...]] = [(f"onset -> {name}", *_columns(found)) for name, found in summary.stages.items()]
    stages += [(says, *_columns(figures[name])) for name, says in SPREADS.items() if figures[name].n]
    stages.append(("abort() -> engine released", *_columns(summary.release_ms)))
    stages.append(("next reply's TTFA at the ear", *_columns(summary.next_ttfa_ms)))
    print(table(("ms", "n", "p50", "p95", "worst"), stages), end="\n\n")
    kinds = [(kind.kind, kind.n, kind.correct, str(kind.outcomes), kind.dip_ms.p50) for kind in summary.kinds]
    print(table(("class", "n", "right", "outcomes", "dip p50"), kinds), end="\n\n")
    print(f"pauses that met a gap of the reply: {figures['pauses_that_met_a_gap']}; packets: {figures['packets']}")
    print(f"findings: {summary.findings or 'none'}\n")


def _columns(found: Any) -> tuple[Any, ...]:
    return found.n, found.p50, found.p95, found.worst


def _outcome(
    options: argparse.Namespace,
    held: Held,
    summary: LedgerSummary,
    figures: dict[str, Any],
    results: list[EventResult],
) -> Outcome:
    missing = ["heard-text error, lost and repeated words: a line does not say which word a sound is"]
    if held.left_out:
        missing.append(f"scenarios that a caller cannot time on a line: {', '.join(held.left_out)}")
    lived = {name: value.as_dict() if name in SPREADS else value for name, value in figures.items()}
    return Outcome(
        evaluation="live",
        peer=f"{options.where}-{options.preset}",
        config={
            "where": options.where,
            "reaction": options.preset,
            "warm_up": options.warm_up,
            "scenarios": sorted({result.scenario for result in results}),
            "clips": "recorded people" if options.people else "made speech",
            "unreached": held.unreached,
        },
        seed=options.seed,
        figures=summary.as_dict() | {"live": lived},
        gates=gates_of(summary, selective=options.preset in SELECTIVE, unreached=len(held.unreached)),
        pairs=pairs_of(results),
        not_measured=tuple(missing),
    )


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals live", description=(__doc__ or "").splitlines()[0])
    where = "; ".join(f"{name}: {says}" for name, (_, says) in WHERES.items())
    parser.add_argument("--where", choices=WHERES, default="room", help=where)
    parser.add_argument("--preset", choices=("immediate", "selective", "framework"), default="immediate")
    parser.add_argument("--n", type=int, default=20, help="interruptions")
    parser.add_argument("--scenarios", type=Path, default=None, help="also these: a YAML file or a folder of them")
    parser.add_argument("--repeat", type=int, default=1, help="how often each event of the scenarios runs")
    parser.add_argument("--people", type=Path, default=None, help="interrupt with recordings (WAV) of this folder")
    parser.add_argument("--warm-up", type=int, default=1, help="events at the start that are not counted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file, the report and the recording")
    parser.add_argument("--logs", type=Path, default=None, help="folder that keeps the logs of server, engine, worker")
    return parser
