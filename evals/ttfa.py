"""python -m evals ttfa: time to first audio of the engine in this process against the length of the text.

The clock starts when the whole text of an utterance has been pushed at once into an idle engine, and stops at the
first decoded frame, at the first 20 ms a caller can take, and at the first audible sample. Two utterances warm up;
lengths take turns. An eye on one question: does a long text wait longer? Load, peers and streamed text: `latency`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from dataclasses import replace

from agent_tts import Engine, EngineConfig
from agent_tts.bench import BenchPlan, BenchReport, measure_ttfa
from agent_tts.host import describe_run


def main(argv: list[str]) -> int:
    """Measure, print a table and one JSON line."""
    options = _options().parse_args(argv)
    report, about = asyncio.run(_measure(options))
    print(report.table())
    print(json.dumps({"eval": "ttfa", **about, "seed": options.seed, **report.as_dict()}))
    return 0


async def _measure(options: argparse.Namespace) -> tuple[BenchReport, dict[str, object]]:
    config = replace(EngineConfig(), model=options.model)
    plan = BenchPlan(lengths=tuple(options.words), repeats=options.repeats, seed=options.seed)
    async with await Engine.load(config=config) as engine:
        seen = await measure_ttfa(engine, plan, options.voice, random.Random(plan.seed))
        return BenchReport(ttfa=seen), describe_run(config, engine.model_name)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals ttfa", description="TTFA against text length.")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--voice", default="default")
    parser.add_argument("--words", type=int, nargs="+", default=[2, 5, 20, 60, 150, 500], metavar="N")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    return parser
