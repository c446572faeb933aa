"""Soak: thousands of interruptions at every moment of a reply; is anything left behind?

    python -m evals soak                          # 10,000 in virtual time, over both kinds of model, minutes
    python -m evals soak --real-time -n 200       # the bundled voice in real time, in process and over the socket

Virtual time: the engine's real loop, scheduler, page allocator, prefix tree, pins, slots, codec state and hand-over
around small random models, stepped by hand; after **every** interruption and around every step all books must balance
(`check_invariants()`: free + held + cached = total, no slot twice, no page without an owner). Real time: the engine's
own thread, and its own process behind a socket; the books are read whenever all callers are between two replies.

Counted, all 0: stale frames (a chunk after abort() returned), chunks lost, repeated or of another utterance, replies
that fail, get stuck or are not released, audio computed beyond the lead limit, and control replies that changed (the
same text, voice and seed now and then: whoever had that slot and those pages before must not be heard in it). Memory:
RSS of this process, its slope over the last two thirds of the run by least squares; flat = below 1 KiB for each
interruption (one forgotten utterance alone is more than that). Report and gates; times are not gated.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent_tts import Engine, EngineConfig
from evals import virtual_time
from evals.metrics.stats import spread
from evals.outcome import Gate, Outcome, finish, table
from evals.serving import SERVE, served
from evals.soak.caller import WRONG, Caller, Moment, Tally
from evals.soak.stepped import stepped_engine

CONFIG = EngineConfig(max_slots=6, max_waiting=32, num_pages=256)
LEAD_MS = 320.0
CALLERS = 8
ROUND = 10
"""Interruptions of each caller between two control replies and a look at the memory."""
KEPT = ("Utterance", "Request", "AudioStream")
"""Of what belongs to one utterance nothing may be left at the end."""
MAX_SLOPE = 1_024
LEAST_FOR_SLOPE = 3_000
"""With fewer interruptions the slope is what allocators do."""


@dataclass(slots=True)
class Soak:
    """One engine under one soak."""

    name: str
    tally: Tally = field(default_factory=Tally)
    rss: list[tuple[int, int]] = field(default_factory=list)
    """(Interruptions so far, bytes of RSS)."""
    engine_rss: list[tuple[int, int]] = field(default_factory=list)
    stats: Any = None
    leaked_pages: int = 0
    objects_left: int = 0
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    began_s = time.monotonic()
    soaks = _real(options) if options.real_time else _virtual(options)
    _print(soaks)
    print(f"{time.monotonic() - began_s:.0f} s\n")
    return finish(outcome_of(soaks, options), options.out)


# -- the runs ---------------------------------------------------------------------------------------------------------


def _virtual(options: argparse.Namespace) -> list[Soak]:
    from evals.soak.tiny_models import RUNNERS

    names = options.models or list(RUNNERS)
    soaks = []
    for name in names:
        soak = Soak(f"{name}, virtual time")
        virtual_time.run(soak_virtually(soak, RUNNERS[name](CONFIG), options.n // len(names), options.seed))
        soak.objects_left = count_left()
        soaks.append(soak)
    return soaks


async def soak_virtually(soak: Soak, runner: Any, num_interruptions: int, seed: int) -> None:
    """So many interruptions of an engine around `runner` on the virtual clock of the running event loop."""
    async with stepped_engine(runner, CONFIG) as (engine, loop):
        await soak_engine(soak, engine, num_interruptions, seed, check=loop.check_invariants)


def _real(options: argparse.Namespace) -> list[Soak]:
    in_process, over_socket = Soak(f"{options.model}, in process"), Soak(f"{options.model}, over the socket")
    share = options.n // 2
    asyncio.run(_soak_in_process(in_process, options.model, share, options.seed))
    in_process.objects_left = count_left()
    asyncio.run(_soak_over_socket(over_socket, options.model, share, options.seed))
    over_socket.objects_left = count_left()
    return [in_process, over_socket]


async def _soak_in_process(soak: Soak, model: str, num_interruptions: int, seed: int) -> None:
    async with await Engine.load(model) as engine:
        await soak_engine(soak, engine, num_interruptions, seed, callers=2)


async def _soak_over_socket(soak: Soak, model: str, num_interruptions: int, seed: int) -> None:
    async with served([*SERVE, "--model", model]) as (engine, pid):
        await soak_engine(soak, engine, num_interruptions, seed, callers=2, engine_pid=pid)


async def soak_engine(
    soak: Soak,
    engine: Engine,
    num_interruptions: int,
    seed: int,
    *,
    callers: int = CALLERS,
    check: Callable[[], None] = lambda: None,
    engine_pid: int | None = None,
) -> None:
    """Round after round: every caller interrupts a few replies, then one reply must be what it always was."""
    began_s, tally, expected = time.monotonic(), soak.tally, None
    crowd = [Caller(engine, tally, random.Random(f"{seed}/{number}"), LEAD_MS, check) for number in range(callers)]
    left = iter(_moments(num_interruptions, seed))
    while tally.num_interruptions < num_interruptions:
        expected = await crowd[0].control(expected) if expected is None else expected
        done = tally.num_interruptions
        await asyncio.gather(*(_round(caller, left) for caller in crowd), crowd[0].control(expected))
        check()
        stats = engine.stats()
        tally.wrong["something is still held"] += stats.open + stats.running + stats.total_slots - stats.free_slots
        soak.rss.append((tally.num_interruptions, rss_bytes()))
        if engine_pid is not None:
            soak.engine_rss.append((tally.num_interruptions, rss_bytes(engine_pid)))
        if tally.num_interruptions // 500 > done // 500 or num_interruptions < 500:
            _say(soak, num_interruptions, began_s)
    soak.stats = engine.stats()
    soak.leaked_pages = soak.stats.total_pages - soak.stats.free_pages - soak.stats.cached_pages
    soak.seconds = time.monotonic() - began_s


async def _round(caller: Caller, left: Any) -> None:
    for moment in itertools.islice(left, ROUND):
        await caller.interrupt(moment)


def _moments(count: int, seed: int) -> list[Moment]:
    """Every moment equally often, in random order."""
    numbers, moments = random.Random(seed), list(Moment)
    drawn = [moments[index % len(moments)] for index in range(count)]
    numbers.shuffle(drawn)
    return drawn


# -- memory -----------------------------------------------------------------------------------------------------------


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def slope(samples: Sequence[tuple[int, int]]) -> float | None:
    """Bytes for each interruption over the last two thirds, by least squares; None of too few."""
    if not samples or samples[-1][0] < LEAST_FOR_SLOPE:
        return None
    kept = [(count, rss) for count, rss in samples if count > samples[-1][0] / 3]
    return float(np.polyfit([count for count, _ in kept], [rss for _, rss in kept], 1)[0])


def count_left() -> int:
    """Objects of single utterances that something still refers to."""
    gc.collect()
    return sum(
        type(item).__name__ in KEPT and type(item).__module__.startswith("agent_tts") for item in gc.get_objects()
    )


# -- the report -------------------------------------------------------------------------------------------------------


def outcome_of(soaks: Sequence[Soak], options: argparse.Namespace) -> Outcome:
    gates = [Gate(name, sum(soak.tally.wrong[name] for soak in soaks)) for name in WRONG]
    gates.append(Gate("pages leaked", sum(soak.leaked_pages for soak in soaks)))
    gates.append(Gate("objects of utterances left", sum(soak.objects_left for soak in soaks)))
    slopes = {soak.name: value for soak in soaks if (value := slope(soak.rss)) is not None}
    gates += [
        Gate(f"bytes of RSS for each interruption ({name})", max(0, round(v)), MAX_SLOPE) for name, v in slopes.items()
    ]
    missing = [f"slope of RSS ({soak.name}: too few interruptions)" for soak in soaks if soak.name not in slopes]
    return Outcome(
        evaluation="soak",
        peer="engine",
        config={"n": options.n, "real_time": options.real_time, "lead_ms": LEAD_MS, "model": options.model},
        seed=options.seed,
        figures={soak.name: _figures(soak) for soak in soaks},
        gates=tuple(gates),
        pairs={},
        not_measured=tuple(missing),
    )


def _figures(soak: Soak) -> dict[str, Any]:
    tally = soak.tally
    return {
        "n": tally.num_interruptions,
        "moments": {moment.value: tally.interruptions[moment] for moment in Moment},
        "completed_before": tally.completed,
        "pauses_resumed": tally.resumed,
        "control_replies": tally.controls,
        "frames_wasted": spread(tally.frames_wasted).as_dict(),
        "abort_to_release_ms": spread(tally.release_ms).as_dict(),
        "rss_mib_first_third_last": [round(rss / 2**20, 1) for rss in _ends(soak.rss)],
        "rss_slope_bytes": slope(soak.rss),
        "engine_rss_mib_first_third_last": [round(rss / 2**20, 1) for rss in _ends(soak.engine_rss)],
        "steps": soak.stats.steps,
        "prompt_tokens_cached_evicted": [
            soak.stats.prompt_tokens,
            soak.stats.cached_tokens,
            soak.stats.evicted_tokens,
        ],
        "seconds": round(soak.seconds),
    }


def _ends(samples: Sequence[tuple[int, int]]) -> list[int]:
    return [samples[index][1] for index in (0, len(samples) // 3, -1)] if samples else []


def _say(soak: Soak, total: int, began_s: float) -> None:
    tally, spent_s = soak.tally, time.monotonic() - began_s
    left_s = spent_s / tally.num_interruptions * (total - tally.num_interruptions)
    wrong = {name: count for name, count in tally.wrong.items() if count}
    print(
        f"{soak.name}: {tally.num_interruptions}/{total}, {spent_s:.0f} s, about {left_s:.0f} s to go, "
        f"RSS {soak.rss[-1][1] / 2**20:.1f} MiB, wrong: {wrong or 'nothing'}",
        flush=True,
    )


def _print(soaks: Sequence[Soak]) -> None:
    rows: list[tuple[Any, ...]] = [
        (moment.value, *(soak.tally.interruptions[moment] for soak in soaks)) for moment in Moment
    ]
    rows.append(("all", *(soak.tally.num_interruptions for soak in soaks)))
    facts = [_figures(soak) for soak in soaks]
    plain = ("completed_before", "pauses_resumed", "control_replies", "steps")
    rows += [(name.replace("_", " "), *(fact[name] for fact in facts)) for name in plain]
    rows.append(("codec frames wasted, p50 / worst", *(_two(fact["frames_wasted"]) for fact in facts)))
    rows.append(("abort -> release, ms, p50 / worst", *(_two(fact["abort_to_release_ms"]) for fact in facts)))
    rows.append(("RSS, MiB, first / third / last", *(_list(f["rss_mib_first_third_last"]) for f in facts)))
    rows.append(("the engine's process", *(_list(f["engine_rss_mib_first_third_last"]) for f in facts)))
    rows.append(("RSS, bytes for each interruption", *(fact["rss_slope_bytes"] for fact in facts)))
    rows.append(("prompt tokens / cached / evicted", *(_list(f["prompt_tokens_cached_evicted"]) for f in facts)))
    print("\n" + table(("interrupted", *(soak.name for soak in soaks)), rows), end="\n\n")


def _two(values: dict[str, Any]) -> str:
    return "-" if not values["n"] else f"{values['p50']:.3g} / {values['worst']:.3g}"


def _list(values: Sequence[float]) -> str:
    return " / ".join(f"{value:g}" for value in values) or "-"


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", type=int, default=10_000, help="interruptions in all (default: 10,000)")
    parser.add_argument("--real-time", action="store_true", help="the bundled voice, in process and over the socket")
    parser.add_argument("--model", default="bundled", help="with --real-time")
    parser.add_argument("--models", action="append", choices=("aligned", "prompt"), help="only this kind; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    return parser
