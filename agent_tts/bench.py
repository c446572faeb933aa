"""`agent-tts bench`: how soon, how fast, how many and how quickly quiet, on this machine, in this process.

Every clock is time.monotonic(). An engine is warmed up first; lengths are measured in turn, so that a busy minute
hits all of them; n, p50, p95 and worst are reported, never a mean.

ttfa         Clock starts when the whole text of an utterance has been pushed at once (the engine is idle). Stops:
             *first frame* - the engine has decoded the first codec frame; *playable* - the first 20 ms chunk can be
             taken by the caller; *audible* - playable plus the silence in front of the first sample above 1 % of full
             scale. One utterance at a time, aborted after 500 ms of audio.
rtf          One utterance from first text to last chunk, not paced by playout: wall time / audio time; and CPU time of
             this process / audio time, which tells more on a machine that others use too.
concurrent   k utterances start together and play in real time, 1 s of lead allowed. Underruns: times a player that
             started with its first chunk ran dry. k is sustained when no player did.
abort        An utterance is aborted after a random number of chunks. *call* - how long abort() itself took;
             *released* - abort() called until slot, pages and codec state are free; *late chunks* - chunks delivered
             after abort() had returned, which must be 0.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent_tts.engine import Engine, Utterance
from agent_tts.metrics import percentile
from agent_tts.types import SamplingParams, TtsMetrics

SENTENCES = (
    "Thanks for calling, how can I help you today?",
    "Your table is booked for seven on Friday evening.",
    "The train to the coast leaves in twenty minutes.",
    "I have sent the invoice to your address again.",
    "Please keep the receipt in case you want a refund.",
    "We open at nine and close at half past five.",
    "The doctor can see you on Tuesday or on Thursday.",
    "Turn left at the bridge and follow the river.",
    "Let me check whether that size is still in stock.",
    "The forecast says rain in the morning and sun later.",
)
UNPACED_MS = 600_000.0
"""A lead no utterance here reaches."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured and how often. Lengths in words. No more streams than the engine has slots."""

    lengths: tuple[int, ...] = (2, 5, 20, 60, 150, 500)
    repeats: int = 20
    rtf_words: int = 40
    rtf_repeats: int = 5
    streams: tuple[int, ...] = (1, 2, 4, 8, 16, 24, 32)
    stream_words: int = 24
    aborts: int = 40
    seed: int = 1

    @classmethod
    def quick(cls, seed: int = 1) -> BenchPlan:
        """Under a minute on two cores."""
        return cls((2, 5, 500), 5, 16, 2, (1, 2), 10, 10, seed)


@dataclass(frozen=True, slots=True)
class Spread:
    """A list of values as it is reported."""

    n: int
    p50: float | None
    p95: float | None
    worst: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        seen = [round(value, 2) for value in values if value is not None]
        return cls(len(seen), percentile(seen, 0.50), percentile(seen, 0.95), max(seen, default=None))


@dataclass(slots=True)
class BenchReport:
    """What came out, ready for a table and for JSON."""

    ttfa: dict[int, dict[str, Spread]] = field(default_factory=dict)
    rtf: dict[str, Spread] = field(default_factory=dict)
    concurrent: dict[int, dict[str, Any]] = field(default_factory=dict)
    abort: dict[str, Any] = field(default_factory=dict)

    @property
    def sustained(self) -> int:
        """The most concurrent real-time streams without an underrun."""
        return max((streams for streams, row in self.concurrent.items() if row["underruns"] == 0), default=0)

    @property
    def flat(self) -> bool | None:
        """Whether the median of a long text stays within 20 % + 5 ms of that of the shortest one of 5 words or more."""
        medians = [row["playable"].p50 for words, row in sorted(self.ttfa.items()) if words >= 5]
        if len(medians) < 2 or medians[0] is None:
            return None
        return all(median is not None and median <= 1.2 * medians[0] + 5 for median in medians)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"sustained_streams": self.sustained, "ttfa_flat": self.flat}

    def table(self) -> str:
        """For people."""
        lines = [f"{'':<28}{'n':>5}{'p50':>10}{'p95':>10}{'worst':>10}"]
        for words, row in self.ttfa.items():
            lines += [_line(f"TTFA {words} words, {name}", spread, "ms") for name, spread in row.items()]
        lines += [_line(f"RTF, one stream, {name}", spread, "") for name, spread in self.rtf.items()]
        for streams, seen in self.concurrent.items():
            playable = _line(f"{streams} streams, playable", seen["playable_ms"], "ms")
            lines.append(playable + _underruns(seen["underruns"]))
        lines += [_line(f"abort, {name}", self.abort[key], "ms") for name, key in _ABORT_ROWS if key in self.abort]
        if self.abort:
            lines.append(f"chunks delivered after abort() returned: {self.abort['late_chunks']}")
        if self.concurrent:
            lines.append(f"real-time streams without an underrun: {self.sustained}")
        if self.flat is not None:
            lines.append(f"TTFA flat from 5 words on (medians within 20 % + 5 ms): {'yes' if self.flat else 'no'}")
        return "\n".join(lines)


_ABORT_ROWS = (("call", "call_ms"), ("released", "released_ms"))


async def run_bench(engine: Engine, plan: BenchPlan, voice: str = "default") -> BenchReport:
    """Measure everything in the plan. The engine must be otherwise idle."""
    chooser = random.Random(plan.seed)
    report = BenchReport()
    report.ttfa = await measure_ttfa(engine, plan, voice, chooser)
    report.rtf = await _measure_rtf(engine, plan, voice, chooser)
    for streams in plan.streams:
        report.concurrent[streams] = await _measure_streams(engine, plan, voice, chooser, streams)
        if report.concurrent[streams]["underruns"]:
            break
    report.abort = await _measure_abort(engine, plan, voice, chooser)
    return report


def make_text(num_words: int, chooser: random.Random) -> str:
    """Exactly so many words of plain sentences, in an order the chooser picks."""
    words: list[str] = []
    while len(words) < num_words:
        words += chooser.choice(SENTENCES).split()
    text = " ".join(words[:num_words]).rstrip(",.?")
    return text + "."


async def measure_ttfa(
    engine: Engine, plan: BenchPlan, voice: str, chooser: random.Random
) -> dict[int, dict[str, Spread]]:
    """Spread of each stage for each length in words, after a warm-up."""
    for words in (5, 20):
        await _ttfa_once(engine, voice, make_text(words, chooser), plan.seed)
    seen: dict[int, list[TtsMetrics]] = {words: [] for words in plan.lengths}
    for repeat in range(plan.repeats):
        for words in plan.lengths:
            text = make_text(words, chooser)
            seen[words].append(await _ttfa_once(engine, voice, text, plan.seed + repeat))
    return {
        words: {
            "first frame": Spread.of([metrics.ttfa_first_frame_ms for metrics in rows]),
            "playable": Spread.of([metrics.ttfa_playable_ms for metrics in rows]),
            "audible": Spread.of([metrics.ttfa_audible_ms for metrics in rows]),
        }
        for words, rows in seen.items()
    }


async def _ttfa_once(engine: Engine, voice: str, text: str, seed: int) -> TtsMetrics:
    utterance = engine.utterance(voice=voice, sampling=SamplingParams(seed=seed))
    utterance.push_text(text)
    utterance.end_text()
    async for chunk in utterance:
        if chunk.start_ms >= 500:
            break
    return await utterance.abort().released()


async def _measure_rtf(engine: Engine, plan: BenchPlan, voice: str, chooser: random.Random) -> dict[str, Spread]:
    wall: list[float] = []
    cpu: list[float] = []
    for repeat in range(plan.rtf_repeats):
        sampling = SamplingParams(seed=plan.seed + repeat)
        utterance = engine.utterance(voice=voice, sampling=sampling, lead_ms=UNPACED_MS)
        wall_s, cpu_s = time.monotonic(), time.process_time()
        metrics = await _speak(utterance, make_text(plan.rtf_words, chooser))
        wall.append(1000 * (time.monotonic() - wall_s) / metrics.delivered_audio_ms)
        cpu.append(1000 * (time.process_time() - cpu_s) / metrics.delivered_audio_ms)
    return {"wall": Spread.of(wall), "CPU": Spread.of(cpu)}


async def _measure_streams(
    engine: Engine, plan: BenchPlan, voice: str, chooser: random.Random, streams: int
) -> dict[str, Any]:
    texts = [make_text(plan.stream_words, chooser) for _ in range(streams)]
    utterances = [engine.utterance(voice=voice, sampling=SamplingParams(seed=index)) for index in range(streams)]
    rows = await asyncio.gather(*(_speak(*pair) for pair in zip(utterances, texts, strict=True)))
    return {
        "playable_ms": Spread.of([row.ttfa_playable_ms for row in rows]),
        "rtf": Spread.of([row.rtf for row in rows]),
        "underruns": sum(row.underruns for row in rows),
        "chunk_gap_max_ms": max((row.chunk_gap_max_ms or 0.0) for row in rows),
    }


async def _speak(utterance: Utterance, text: str) -> TtsMetrics:
    utterance.push_text(text)
    utterance.end_text()
    async for _ in utterance:
        pass
    return await utterance.abort().released()


async def _measure_abort(engine: Engine, plan: BenchPlan, voice: str, chooser: random.Random) -> dict[str, Any]:
    calls, released, late = [], [], 0
    for repeat in range(plan.aborts):
        utterance = engine.utterance(voice=voice, sampling=SamplingParams(seed=plan.seed + repeat))
        utterance.push_text(make_text(60, chooser))
        stop_after = chooser.randint(1, 40)
        chunks = aiter(utterance)
        for _ in range(stop_after):
            await anext(chunks)
        start = time.monotonic()
        ack = utterance.abort()
        calls.append(1000 * (time.monotonic() - start))
        late += len([chunk async for chunk in chunks])
        released.append((await ack.released()).cancellation_latency_ms)
    return {"call_ms": Spread.of(calls), "released_ms": Spread.of(released), "late_chunks": late}


def _line(name: str, spread: Spread, unit: str) -> str:
    values = "".join(f"{_value(value, unit):>10}" for value in (spread.p50, spread.p95, spread.worst))
    return f"{name:<28}{spread.n:>5}{values}"


def _value(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} ms" if unit else f"{value:.2f}"


def _underruns(count: int) -> str:
    return "  no underrun" if count == 0 else f"  {count} underruns"
