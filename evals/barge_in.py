"""Barge-in: a virtual caller talks over an agent; does it stop, how soon, what leaked, and what did it mistake for one?

Clock: each event's own, from the first audible sample of the caller's clean clip. Stops: silence at the ear, recorded
by the player behind the agent's transport. Counted out: nothing; an event whose anchor never came fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals import virtual_time
from evals.calls.call import AnchorError, CallSetting, run_event
from evals.calls.clips import clip
from evals.calls.events import EventRecord
from evals.calls.policies import REACTIONS, SELECTIVE, reaction_maker
from evals.calls.scenario import FOLDER, EventPlan, ScenarioError, load, plan
from evals.calls.stt import STTS, stt_maker
from evals.metrics.barge_in import EventResult, judge
from evals.metrics.ear import stand_stills
from evals.metrics.ledger import LedgerSummary, pairs_of, summarise
from evals.metrics.stats import Spread
from evals.outcome import Gate, Outcome, finish, progress, show, table
from evals.pages.barge_in import write_report
from evals.peers.base import Peer, PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer

NEIGHBOUR_S = 0.5
"""How long after an abort the other callers' cadence is watched."""
NEVER = (
    "missed_interruption",
    "stale_frames",
    "stale_audio",
    "lost_word",
    "lost_audio",
    "repeated_audio",
    "silent_reply",
    "unasked_reply",
    "never_restored",
    "not_released",
    "no_next_reply",
    "failed_reply",
)
ON_VIRTUAL_TIME = ("tone", "talker")
EXACT = ("late_stop", "late_reply", "next_reply_underrun")


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    if options.virtual and options.peer not in ON_VIRTUAL_TIME:
        print(f"cannot run: --virtual is for --peer {' and '.join(ON_VIRTUAL_TIME)}; {options.peer} needs real time")
        return 2
    runner = virtual_time.run if options.virtual else asyncio.run
    try:
        events, leaked_pages, unreached = runner(_run(options))
    except (PeerUnavailableError, ScenarioError) as error:
        print(f"cannot run: {error}")
        return 2
    results = [judge(event) for event in events]
    summary = summarise(results)
    _print(options, summary)
    late = sum(ear.late_frames for ear in {id(event.ear): event.ear for event in events}.values())
    if late:
        print(f"the driver itself was late for {late} frames of 20 ms: this machine's doing, not the peer's\n")
    errors = dict(Counter(event.reply.error for event in events if event.reply.error is not None).most_common())
    for name, count in errors.items():
        print(f"{count} replies failed: {name}")
    for why in unreached:
        print(f"not run: {why}")
    outcome = _outcome(options, summary, results, leaked_pages, unreached, {"late_frames": late, "errors": errors})
    if options.out is not None:
        write_report(
            options.out / f"barge-in-{options.peer}.html", outcome, summary, list(zip(events, results, strict=True))
        )
    return finish(outcome, options.out)


async def _run(options: argparse.Namespace) -> tuple[list[EventRecord], int | None, list[str]]:
    plans = plans_of(options)
    peer = make_peer(options)
    await peer.open()
    try:
        setting = CallSetting(
            transport_ms=options.transport_ms,
            voice=options.voice,
            make_reaction=reaction_maker(options.reaction, stt_maker(options.stt)),
        )
        if options.warm_up and plans:
            await run_event(peer, plans[0], setting, options.seed + 9_000)
        events, unreached = await run_all(peer, plans, setting, streams=options.streams, seed=options.seed)
        return events, peer.pages_leaked(), unreached
    finally:
        await peer.close()


async def run_all(
    peer: Peer, plans: list[EventPlan], setting: CallSetting, *, streams: int = 1, seed: int = 1
) -> tuple[list[EventRecord], list[str]]:
    """Run all events, so many calls at a time; also names the events whose anchor never came."""
    events: list[EventRecord] = []
    unreached: list[str] = []
    left = iter(enumerate(plans))
    done = 0

    async def worker() -> None:
        nonlocal done
        for number, item in left:
            try:
                events.extend(await run_event(peer, item, setting, seed + number))
            except AnchorError as error:
                unreached.append(str(error))
            done += 1
            progress(done, len(plans))

    await asyncio.gather(*(worker() for _ in range(streams)))
    if streams > 1:
        _note_neighbours(events)
    return events, unreached


def _note_neighbours(events: list[EventRecord]) -> None:
    """Stand-stills of all other calls shortly after each abort."""
    ears = {id(event.ear): event.ear for event in events}
    for event in events:
        begin_s = event.reply.abort_s
        if begin_s is None:
            continue
        others = [ear for name, ear in ears.items() if name != id(event.ear)]
        stood = [one for ear in others for one in stand_stills(ear.underruns_s, begin_s, begin_s + NEIGHBOUR_S)]
        event.neighbour_underruns = len(stood)
        event.neighbour_gap_ms = max((one.length_ms for one in stood), default=0.0)


def plans_of(options: argparse.Namespace) -> list[EventPlan]:
    """The events that the options ask for. Raises ScenarioError for none, and for a sound that is not there."""
    known = load(options.scenarios)
    scenarios = known
    if options.only:
        scenarios = [item for item in scenarios if any(word in (item.name, item.kind) for word in options.only)]
    if options.quick:
        scenarios = [
            replace(item, delay_ms=item.delay_ms[:1], clips=item.clips[:2], voices=item.voices[:1])
            for item in scenarios
        ]
    if not scenarios:
        names = ", ".join(sorted({name for item in known for name in (item.kind, item.name)}))
        raise ScenarioError(f"no scenario is called {' or '.join(options.only)}; allowed for --only: {names}")
    plans = plan(scenarios, repeat=options.repeat, clip=options.clips)
    for name in {item.clip for item in plans if not item.clip.startswith("say")}:
        try:
            clip(name)
        except (OSError, ValueError) as error:
            raise ScenarioError(f"clip {name!r}: {error}") from error
    return plans


def gates_of(
    summary: LedgerSummary,
    *,
    selective: bool = False,
    exact: bool = False,
    leaked_pages: int | None = None,
    unreached: int = 0,
) -> tuple[Gate, ...]:
    """Counts that must be 0, and a few that may be small.

    Args:
        selective: The reaction promises to know an interruption from a backchannel: false stops count.
        exact: On a virtual clock no machine is to blame: late stops, late replies and underruns count.
    """
    found = summary.findings
    gates = [Gate(name.replace("_", " "), found.get(name, 0)) for name in NEVER]
    if exact:
        gates += [Gate(name.replace("_", " "), found.get(name, 0)) for name in EXACT]
    if selective:
        gates.append(Gate("false stops", found.get("false_stop", 0), limit=summary.absent // 50))
    if leaked_pages is not None:
        gates.append(Gate("pages leaked", leaked_pages))
    gates.append(Gate("anchors never reached", unreached))
    gates.append(Gate("heard text wrong", found.get("heard_text_wrong", 0), limit=summary.n // 20))
    gates.append(
        Gate("events with an underrun", found.get("underrun", 0), limit=0 if exact else max(1, summary.n // 10))
    )
    return tuple(gates)


def _print(options: argparse.Namespace, summary: LedgerSummary) -> None:
    print(f"\n{options.peer}, reaction {options.reaction}, {options.streams} streams, {summary.n} events\n")
    stages: list[tuple[Any, ...]] = [(f"onset -> {name}", *_columns(found)) for name, found in summary.stages.items()]
    extra = {
        "abort -> silence at the ear": summary.after_abort_ms,
        "abort -> engine released": summary.release_ms,
        "leaked after the onset": summary.leaks["onset"],
        "leaked after the decision": summary.leaks["decision"],
        "leaked after the abort": summary.leaks["abort"],
        "next reply's TTFA at the ear": summary.next_ttfa_ms,
        "caller's end -> next reply at the ear": summary.response_ms,
        "codec frames wasted": summary.frames_wasted,
        "heard-text error, words": summary.heard_text_error,
        "neighbours' underruns": summary.neighbour_underruns,
        "neighbours' worst gap": summary.neighbour_gap_ms,
    }
    stages += [(name, *_columns(found)) for name, found in extra.items() if found.n]
    print(table(("ms where nothing else is said", "n", "p50", "p95", "worst"), stages), end="\n\n")
    rows = [
        (
            kind.kind,
            kind.n,
            kind.correct,
            ", ".join(f"{n} {name}" for name, n in kind.outcomes.items()),
            kind.dip_ms.n,
            kind.dip_ms.p50,
            kind.dip_ms.p95,
            kind.dip_ms.worst,
        )
        for kind in summary.kinds
    ]
    print(table(("class", "n", "right", "outcomes", "dips", "p50", "p95", "worst"), rows), end="\n\n")
    interval = summary.penalty_ms
    if interval is not None:
        print(f"yield rate {show(summary.yield_rate)}, selectivity {show(summary.selectivity)}, average penalty time ")
        print(f"{interval.value:.0f} ms (95 %: {interval.low:.0f} to {interval.high:.0f})")
    print(f"findings: {summary.findings or 'none'}\n")


def _columns(found: Spread) -> tuple[int, float | None, float | None, float | None]:
    return found.n, found.p50, found.p95, found.worst


def _outcome(
    options: argparse.Namespace,
    summary: LedgerSummary,
    results: list[EventResult],
    leaked_pages: int | None,
    unreached: list[str],
    faults: Mapping[str, Any],
) -> Outcome:
    missing = ["VAD, suspicion: this reaction has none"] if options.reaction in ("energy", "never") else []
    if not any(result.heard_text_error is not None for result in results):
        missing.append(f"heard-text error ({options.peer} times no words)")
    if leaked_pages is None:
        missing.append(f"pages leaked ({options.peer} has no pages, or something was still open)")
    selective = options.reaction in SELECTIVE
    return Outcome(
        evaluation="barge-in",
        peer=options.peer,
        config={
            "reaction": options.reaction,
            "stt": options.stt,
            "streams": options.streams,
            "transport_ms": options.transport_ms,
            "scenarios": sorted({result.scenario for result in results}),
            "clips": options.clips or "made speech",
            "virtual": options.virtual,
            "model": options.model,
            "over_socket": options.over_socket,
            "lacks": list(ABILITIES[options.peer].lacks),
            "errors": faults["errors"],
            "unreached": unreached,
            "driver_late_frames": faults["late_frames"],
        },
        seed=options.seed,
        figures=summary.as_dict(),
        gates=gates_of(
            summary,
            selective=selective,
            exact=options.virtual,
            leaked_pages=leaked_pages,
            unreached=len(unreached),
        ),
        pairs=pairs_of(results),
        not_measured=tuple(missing),
    )


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals barge-in", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--reaction", choices=REACTIONS, default="selective", help="who decides to stop")
    parser.add_argument("--stt", choices=STTS, default="none", help="whose words the reaction is told")
    parser.add_argument("--scenarios", type=Path, default=FOLDER, help="a YAML file or a folder of them")
    parser.add_argument("--only", action="append", help="a scenario's name or kind; repeatable")
    parser.add_argument("--quick", action="store_true", help="the first delay and voice, and two clips of each")
    parser.add_argument("--repeat", type=int, default=1, help="how often each event runs")
    parser.add_argument("--streams", type=int, default=1, help="calls at a time: each is the others' neighbour")
    parser.add_argument("--transport-ms", type=float, default=60.0, help="audio the transport may hold")
    parser.add_argument("--clips", default=None, help="in place of made speech: voiced, or file:PATH.wav")
    parser.add_argument("--virtual", action="store_true", help="on a virtual clock; only for --peer tone and talker")
    parser.add_argument("--warm-up", type=int, default=1, help="0 = the first event counts too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and the report")
    return parser
