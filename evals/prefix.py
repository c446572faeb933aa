"""Prefix cache: how much prefill do voices and turns save, when they are used as in a call centre?

Conversations have several turns and one voice each, drawn by Zipf's law; turns of all conversations interleave and no
text occurs twice. Hit rate = prompt positions taken from the cache / all prompt positions, as the engine counts them.
Cold = the first use of a voice since the engine was loaded. Replies are aborted after their first chunk: only prefill
is looked at. A model whose text is aligned has no prompt and nothing to cache; then this says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_tts import AgentTTSError, Engine, EngineConfig
from evals.metrics_prefix import Prefill, ReuseSummary, Turn, summarise, zipf_turns
from evals.outcome import Gate, Outcome, finish, progress, table
from evals.texts import unique_texts


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        prefills, stats = asyncio.run(_run(options))
    except AgentTTSError as error:
        print(f"cannot run: {error}")
        return 2
    found = summarise(prefills)
    rows = [
        (name, s.n, s.prompt_tokens, s.cached_tokens, s.hit_rate, s.ttfa_ms.p50, s.ttfa_ms.p95)
        for name, s in found.items()
    ]
    print(table(("turns", "n", "prompt", "cached", "hit rate", "playable p50 ms", "p95"), rows), end="\n\n")
    return finish(_outcome(options, found, stats), options.out)


async def run_turns(engine: Engine, turns: Sequence[Turn], seed: int) -> list[Prefill]:
    """Begin each turn, take its first chunk, abort it, and keep what the engine says of its prompt."""
    texts, prefills = unique_texts(seed), []
    for number, turn in enumerate(turns, start=1):
        utterance = engine.utterance(voice=turn.voice)
        utterance.push_text(next(texts))
        utterance.end_text()
        async for _ in utterance:
            break
        metrics = await utterance.abort().released()
        prefills.append(Prefill(turn, metrics.prompt_tokens, metrics.cached_tokens, metrics.ttfa_playable_ms))
        progress(number, len(turns))
    return prefills


async def _run(options: argparse.Namespace) -> tuple[list[Prefill], dict[str, Any]]:
    config = EngineConfig(**json.loads(options.config)) if options.config else None
    engine = await Engine.load(options.model, config=config)
    try:
        turns = zipf_turns(
            options.voices or engine.voices,
            conversations=options.conversations,
            turns=options.turns,
            exponent=options.exponent,
            seed=options.seed,
        )
        prefills = await run_turns(engine, turns, options.seed)
        stats = engine.stats()
        leaked = stats.total_pages - stats.free_pages - stats.cached_pages
        return prefills, {"pages_leaked": leaked, "evicted_tokens": stats.evicted_tokens, "voices": len(engine.voices)}
    finally:
        await engine.close()


def _outcome(options: argparse.Namespace, found: dict[str, ReuseSummary], stats: dict[str, Any]) -> Outcome:
    everything = found["all"]
    missing = (
        [] if everything.prompt_tokens else ["hit rate: this model takes its text aligned and has no prompt to cache"]
    )
    missing.append("earlier turns as prefix: an utterance has no handle on a conversation; voices only")
    figures = {
        name: {"n": s.n, "prompt_tokens": s.prompt_tokens, "cached_tokens": s.cached_tokens, "hit_rate": s.hit_rate}
        | {"ttfa_playable_ms": s.ttfa_ms.as_dict()}
        for name, s in found.items()
    }
    cold = found["warm"].hit_rate == 0
    return Outcome(
        evaluation="prefix",
        peer="engine",
        config={
            "model": options.model,
            "conversations": options.conversations,
            "turns": options.turns,
            "exponent": options.exponent,
        },
        seed=options.seed,
        figures=figures | stats,
        gates=(
            Gate("pages leaked", stats["pages_leaked"]),
            Gate("warm voices without a single hit", int(cold)),
        ),
        pairs={},
        not_measured=tuple(missing),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals prefix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="bundled", help="bundled, a checkpoint folder, or an address")
    parser.add_argument("--config", default=None, help="EngineConfig as JSON, e.g. '{\"num_pages\": 64}'")
    parser.add_argument("--voices", nargs="+", default=None, help="most used first (default: all the engine knows)")
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    return parser
