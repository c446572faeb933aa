"""Latency under load: how soon a reply is heard, whether it keeps up, and what a full machine does to both.

Clock: starts at the first text pushed (TTFA), at the planned arrival (planned), at the last text pushed (text lag).
Stops: at the client, audio taken as it comes. Counted out: warm-up, and replies that are empty, truncated, runaway or
failed; those fail the run instead. Every seed begins with a freshly opened peer, whose first reply is the row "cold".
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.load import ClosedLoop, Load, burst, closed, poisson, ramp
from evals.metrics.latency import LoadSummary, audio_seconds_per_second, failures, pairs_of, summarise
from evals.metrics.stream import ReplyRecord
from evals.outcome import Gate, Outcome, finish, progress, table
from evals.pages.latency import write_report
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer
from evals.speaking import Feed, Manner, run_load, speak
from evals.texts import at_once, llm_pace, unique_texts

SETS = {
    "quick": ("closed:1:6", "poisson:0.5:20", "burst:4:1:10"),
    "full": ("closed:1:20", "closed:4:32", "poisson:0.5:40", "poisson:1:40", "ramp:0.2:2:60", "burst:8:3:12"),
    "soak": ("poisson:0.5:1800",),
}


@dataclass(frozen=True, slots=True)
class LoadRun:
    """All replies of one load, over all seeds."""

    name: str
    records: tuple[ReplyRecord, ...]
    audio_s_per_s: tuple[float, ...]


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    try:
        runs = asyncio.run(_run(options))
    except PeerUnavailableError as error:
        print(f"peer {options.peer!r} is not available: {error}")
        return 2
    summaries = [summarise(run.name, run.records, run.audio_s_per_s) for run in runs]
    _print(options.peer, summaries)
    outcome = _outcome(options, runs, summaries)
    if options.out is not None:
        records = [record for run in runs for record in run.records]
        write_report(options.out / f"latency-{options.peer}.html", outcome, __doc__ or "", summaries, records)
    return finish(outcome, options.out)


def load_of(text: str, seed: int) -> Load:
    """A load from its short form: closed:IN_FLIGHT:N, poisson:RATE:S, ramp:LOW:HIGH:S, burst:SIZE:TIMES:EVERY_S."""
    kind, *values = text.split(":")
    try:
        numbers = [float(value) for value in values]
        match kind, numbers:
            case "closed", [in_flight, replies]:
                return closed(int(in_flight), int(replies))
            case "poisson", [rate, duration]:
                return poisson(rate, duration, seed)
            case "ramp", [low, high, duration]:
                return ramp(low, high, duration, seed)
            case "burst", [size, times, every]:
                return burst(int(size), int(times), every)
    except ValueError as error:
        raise ValueError(f"load {text!r}: {error}") from error
    raise ValueError(f"load {text!r} is none of closed:N:N, poisson:RATE:S, ramp:LOW:HIGH:S, burst:SIZE:TIMES:EVERY_S")


def _load_name(text: str) -> str:
    """A load's short form, as it is; argparse says what is wrong with another."""
    try:
        load_of(text, 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


async def _run(options: argparse.Namespace) -> list[LoadRun]:
    names = options.load or SETS[options.set]
    collected: dict[str, LoadRun] = {}
    # One for all seeds: a server is not new because it is opened anew, and its cache knows what it has said.
    texts = unique_texts(options.seed, num_sentences=options.sentences)
    for seed in range(options.seed, options.seed + options.seeds):
        peer = make_peer(options)
        await peer.open()
        try:
            manner = Manner(_feed(options, seed), options.voice)
            first = await speak(peer, next(texts), manner, load="cold")
            _collect(collected, "cold", [replace(first, seed=seed)], None)
            for _ in range(options.warm_up):
                await speak(peer, next(texts), manner)
            for name in names:
                load = load_of(name, seed)
                print(f"seed {seed}, {load.name}, {size_of(load)} replies")
                records = await run_load(peer, load, texts, manner, progress)
                records = [replace(record, seed=seed) for record in records]
                _collect(collected, load.name, records, audio_seconds_per_second(records))
        finally:
            await peer.close()
    return list(collected.values())


def _collect(runs: dict[str, LoadRun], name: str, records: list[ReplyRecord], rate: float | None) -> None:
    run = runs.get(name, LoadRun(name, (), ()))
    rates = run.audio_s_per_s if rate is None else (*run.audio_s_per_s, rate)
    runs[name] = LoadRun(name, (*run.records, *records), rates)


def _feed(options: argparse.Namespace, seed: int) -> Feed:
    if options.feed == "once":
        return at_once
    seeds: Iterator[int] = iter(range(seed * 100_000, (seed + 1) * 100_000))
    return lambda text: llm_pace(text, next(seeds), tokens_per_s=options.tokens_per_s)


def size_of(load: Load) -> int:
    """How many replies it asks for."""
    return load.num_replies if isinstance(load, ClosedLoop) else len(load.starts_s)


def _print(peer: str, summaries: list[LoadSummary]) -> None:
    print(f"\n{peer}: ms from the first text, p50 / p95 / worst\n")
    header = (
        "load",
        "n",
        "bad",
        "playable",
        "audible",
        "planned",
        "queue",
        "text lag",
        "gap max",
        "rtf",
        "audio-s/s",
        "stalls",
    )
    rows: list[tuple[Any, ...]] = [
        (
            item.name,
            item.n,
            item.bad,
            item.triple("ttfa_playable_ms"),
            item.triple("ttfa_audible_ms"),
            item.triple("ttfa_planned_ms"),
            item.triple("queue_ms"),
            item.triple("text_lag_ms"),
            item.triple("gap_max_ms"),
            item.spreads["rtf_compute"].p50,
            item.audio_s_per_s,
            f"{item.underruns}, C50 {item.show_continuity(50)}",
        )
        for item in summaries
    ]
    print(table(header, rows), end="\n\n")
    for item in summaries:
        for name, count in item.errors.items():
            print(f"{item.name}: {count} failed: {name}")


def _outcome(options: argparse.Namespace, runs: list[LoadRun], summaries: list[LoadSummary]) -> Outcome:
    counted = failures([record for run in runs for record in run.records])
    missing = [f"{name} ({options.peer} gives none)" for name in _never_seen(summaries)]
    return Outcome(
        evaluation="latency",
        peer=options.peer,
        config={
            "loads": list(options.load or SETS[options.set]),
            "seeds": options.seeds,
            "feed": options.feed,
            "sentences": options.sentences,
            "warm_up": options.warm_up,
            "lead_ms": options.lead_ms,
            "model": options.model,
            "over_socket": options.over_socket,
            "lacks": list(ABILITIES[options.peer].lacks),
        },
        seed=options.seed,
        figures={item.name: item.as_dict() for item in summaries},
        gates=(
            *(Gate(f"{name} replies", count) for name, count in counted.items()),
            Gate("loads without a whole reply", sum(not item.n for item in summaries)),
        ),
        pairs=pairs_of([record for run in runs for record in run.records]),
        not_measured=tuple(missing),
    )


def _never_seen(summaries: list[LoadSummary]) -> list[str]:
    names = summaries[0].spreads if summaries else {}
    return [name for name in names if all(item.spreads[name].n == 0 for item in summaries)]


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals latency", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--set", choices=sorted(SETS), default="quick", help="which loads (default: quick)")
    parser.add_argument(
        "--load", action="append", type=_load_name, help="a load instead of a set, e.g. poisson:2:60; repeatable"
    )
    parser.add_argument("--feed", choices=("llm", "once"), default="once", help="text at an LLM's pace, or all at once")
    parser.add_argument("--tokens-per-s", type=float, default=30.0, help="pace of --feed llm")
    parser.add_argument("--sentences", type=int, default=1, help="sentences in a reply")
    parser.add_argument("--warm-up", type=int, default=3, help="replies before the first load, counted out")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, each with a freshly opened peer")
    parser.add_argument("--seed", type=int, default=1, help="the first of them")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and report.html")
    return parser
