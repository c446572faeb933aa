"""Does an engine in its own process leave the agent's event loop alone, and what does the socket cost?

    python -m evals isolation                       # starts `agent-tts serve` with the bundled voice beside it
    python -m evals isolation --address unix:///run/agent-tts.sock
    python -m evals isolation --in-process          # the same, with the engine in this process, to compare

Definitions. **Loop lag**: a timer of this process's event loop is due every 5 ms; lag = when it ran - when it was due.
First with nothing to do (idle), then while N utterances stream (streaming): only the difference is ours, the rest is
the machine's. **Chunk lateness** is not measured here; evals.latency does that. **Cancellation**: abort() called ->
released, once as the client saw it, once as the engine's process did; the difference is the socket. Half of the
replies are aborted after a second. **CPU for a second of audio**: this process's CPU time while streaming, less what
the idle phase took in as long, over the audio that was delivered; with the engine in this process, its own work too.
**Wake-ups for a second of audio**: how often a thread of this process was waiting and was woken (voluntary context
switches), less those of the idle phase; a codec frame of 40 ms is 25 frames a second. Report only: no gate is a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from agent_tts import Engine, EngineConfig, TtsMetrics
from agent_tts.host import describe_run
from agent_tts.metrics import percentile
from evals.serving import SERVE, served

T = TypeVar("T")

PERIOD_S = 0.005
TEXT = "The engine speaks in a process of its own, and the agent has the time to listen, whatever it says. " * 4


async def loop_lags_ms(stop: asyncio.Event) -> list[float]:
    """One lag for each turn of the timer, until `stop` is set."""
    loop = asyncio.get_running_loop()
    lags, due_s = [], loop.time() + PERIOD_S
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        now_s = loop.time()
        lags.append(1000 * (now_s - due_s))
        due_s = max(due_s + PERIOD_S, now_s)  # one long stop is one lag, not a hundred
    return lags


async def stream_one(engine: Engine, duration_s: float, number: int) -> list[TtsMetrics]:
    """Reply after reply for so long; every other one is aborted after a second of it."""
    loop, metrics = asyncio.get_running_loop(), []
    end_s = loop.time() + duration_s
    while loop.time() < end_s:
        utterance = engine.utterance()
        utterance.push_text(TEXT)
        utterance.end_text()
        first_s = None
        async for chunk in utterance:
            first_s = first_s or loop.time()
            await asyncio.sleep(max(0.0, first_s + chunk.start_ms / 1000 - loop.time()))  # a player takes them in time
            if loop.time() > end_s or ((len(metrics) + number) % 2 and chunk.start_ms >= 1000):
                break
        metrics.append(await utterance.abort().released())
    return metrics


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase took of this process."""

    lags_ms: list[float]
    seconds: float
    cpu_s: float
    wake_ups: int


async def watched(work: Coroutine[Any, Any, T]) -> tuple[T, Phase]:
    """Do `work` beside the timer; what came of it, and what it took."""
    stop = asyncio.Event()
    began_s, busy_s, woken = time.monotonic(), time.process_time(), wake_ups()
    timing = asyncio.create_task(loop_lags_ms(stop))
    done = await work
    stop.set()
    lags_ms = await timing
    return done, Phase(lags_ms, time.monotonic() - began_s, time.process_time() - busy_s, wake_ups() - woken)


async def measure(engine: Engine, streams: int, duration_s: float) -> dict[str, object]:
    _, idle = await watched(asyncio.sleep(min(5.0, duration_s)))
    replies, busy = await watched(_all_streams(engine, streams, duration_s))
    metrics = [one for reply in replies for one in reply]
    audio_s = sum(one.delivered_audio_ms for one in metrics) / 1000
    return {
        "loop_lag_idle_ms": spread(idle.lags_ms),
        "loop_lag_streaming_ms": spread(busy.lags_ms),
        "ttfa_playable_ms": spread([one.ttfa_playable_ms for one in metrics]),
        "chunk_gap_max_ms": spread([one.chunk_gap_max_ms for one in metrics]),
        "cancellation_client_ms": spread([one.cancellation_latency_ms for one in metrics]),
        "cancellation_engine_ms": spread([one.engine_cancellation_ms for one in metrics]),
        "cpu_share_of_this_process": round(busy.cpu_s / busy.seconds, 4),
        "cpu_ms_for_a_second_of_audio": _beyond(1000 * busy.cpu_s, 1000 * idle.cpu_s, busy, idle, audio_s),
        "wake_ups_for_a_second_of_audio": _beyond(busy.wake_ups, idle.wake_ups, busy, idle, audio_s),
        "underruns": sum(one.underruns for one in metrics),
    }


async def _all_streams(engine: Engine, streams: int, duration_s: float) -> list[list[TtsMetrics]]:
    return await asyncio.gather(*(stream_one(engine, duration_s, number) for number in range(streams)))


def _beyond(busy: float, idle: float, phase: Phase, before: Phase, audio_s: float) -> float | None:
    """What streaming took beyond the idle phase's rate, for a second of audio."""
    return round((busy - idle * phase.seconds / before.seconds) / audio_s, 2) if audio_s else None


def wake_ups() -> int:
    """Voluntary context switches of this process so far, all threads."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = [value for value in values if value is not None]
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "worst": 1.0}
    return {"n": len(known)} | {name: _rounded(percentile(known, share)) for name, share in shares.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


async def run(options: argparse.Namespace) -> dict[str, object]:
    if options.address:
        loading = Engine.load(options.address)
    elif options.in_process:
        loading = Engine.load(options.model)
    else:
        command = options.command.split() if options.command else SERVE
        async with served([*command, "--model", options.model]) as (engine, _):
            return await _report(engine, options)
    async with await loading as engine:
        return await _report(engine, options)


async def _report(engine: Engine, options: argparse.Namespace) -> dict[str, object]:
    about = describe_run(EngineConfig(model=options.model), engine.model_name)
    figures = await measure(engine, options.streams, options.seconds)
    door = "in process" if options.in_process else "socket"
    torch_here = "torch" in sys.modules
    return {"eval": "isolation", **about, "door": door, "streams": options.streams, "torch": torch_here, **figures}


def table(report: dict[str, object]) -> str:
    lines = [f"{report['model']} through the {report['door']}, {report['streams']} streams"]
    lines.append(f"  {'':<24}{'n':>7}{'p50':>10}{'p95':>10}{'p99':>10}{'worst':>10}")
    for name, row in report.items():
        if isinstance(row, dict) and "p99" in row:
            values = "".join(f"{'-' if row[key] is None else row[key]:>10}" for key in ("p50", "p95", "p99", "worst"))
            lines.append(f"  {name:<24}{row['n']:>7}{values}")
    lines.append(f"  underruns {report['underruns']}, CPU of this process {report['cpu_share_of_this_process']:.1%}")
    lines.append(
        f"  for a second of audio: {report['cpu_ms_for_a_second_of_audio']} ms of CPU, "
        f"{report['wake_ups_for_a_second_of_audio']} wake-ups"
    )
    lines.append(f"  torch in this process: {report['torch']}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals isolation")
    parser.add_argument("--address", help="an engine that is served already")
    parser.add_argument("--in-process", action="store_true", help="load the engine in this process, to compare")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--command", help="what to start instead of agent-tts serve")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    report = asyncio.run(run(parser.parse_args(argv)))
    print(table(report))
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
