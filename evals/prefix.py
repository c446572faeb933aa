"""Prefix cache: how much prefill do voices and turns save, when they are used as in a call centre?

Conversations have several turns and one voice each, drawn by Zipf's law; turns of all conversations interleave and no
text occurs twice. Hit rate = prompt positions taken from the cache / all prompt positions: by the TtsMetrics of each
utterance, and by the engine's own counters, which must agree. Cold = the first use of a voice since the engine was
loaded. Replies are aborted after their first chunk: only prefill is looked at. A model whose text is aligned has no
prompt and nothing to cache; then this says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent_tts import AgentTTSError, Engine, EngineConfig
from evals.made_voices import make_voices
from evals.metrics.prefix import Counted, Prefill, ReuseSummary, Turn, summarise, zipf_turns
from evals.outcome import Gate, Outcome, finish, progress, table
from evals.texts import unique_texts


@dataclass(frozen=True, slots=True)
class Books:
    """What the engine itself says of the turns, and of its pages behind them."""

    counted: Counted
    evicted_tokens: int
    pinned_pages: int
    pages_leaked: int
    voices: int


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            prefills, books = _collect(options, Path(folder))
    except AgentTTSError as error:
        print(f"cannot run: {error}")
        return 2
    found = summarise(prefills)
    rows = [
        (name, s.n, s.prompt_tokens, s.cached_tokens, s.hit_rate, s.ttfa_ms.p50, s.ttfa_ms.p95)
        for name, s in found.items()
    ]
    counted = books.counted
    rows.append(
        ("engine's counters", counted.n, counted.prompt_tokens, counted.cached_tokens, counted.hit_rate, "", "")
    )
    print(table(("turns", "n", "prompt", "cached", "hit rate", "playable p50 ms", "p95"), rows), end="\n\n")
    return finish(_outcome(options, found, books), options.out)


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


def _collect(options: argparse.Namespace, folder: Path) -> tuple[list[Prefill], Books]:
    """Make the voices that are wanted, then take the turns. `folder` is for what is made."""
    config = replace(EngineConfig(**json.loads(options.config)), model=options.model)
    if options.accept_license:
        config = replace(config, accept_license=options.accept_license)
    voices = options.voices
    if options.made_voices:
        config = replace(config, voices_dir=str(folder / "voices"))
        voices = make_voices(config, folder, count=options.made_voices, seconds=options.reference_s, seed=options.seed)
    return asyncio.run(_run(options, config, voices))


async def _run(
    options: argparse.Namespace, config: EngineConfig, voices: Sequence[str] | None
) -> tuple[list[Prefill], Books]:
    engine = await Engine.load(config=config)
    try:
        turns = zipf_turns(
            voices or engine.voices,
            conversations=options.conversations,
            turns=options.turns,
            exponent=options.exponent,
            seed=options.seed,
        )
        before = engine.stats()
        prefills = await run_turns(engine, turns, options.seed)
        after = engine.stats()
        counted = Counted(
            len(prefills), after.prompt_tokens - before.prompt_tokens, after.cached_tokens - before.cached_tokens
        )
        leaked = after.total_pages - after.free_pages - after.cached_pages
        return prefills, Books(counted, after.evicted_tokens, after.pinned_pages, leaked, len(engine.voices))
    finally:
        await engine.close()


def _outcome(options: argparse.Namespace, found: dict[str, ReuseSummary], books: Books) -> Outcome:
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
    counted = books.counted
    figures["engine"] = {
        "n": counted.n,
        "prompt_tokens": counted.prompt_tokens,
        "cached_tokens": counted.cached_tokens,
        "hit_rate": counted.hit_rate,
    }
    disagree = abs(counted.prompt_tokens - everything.prompt_tokens)
    disagree += abs(counted.cached_tokens - everything.cached_tokens)
    totals = {name: getattr(books, name) for name in ("evicted_tokens", "pinned_pages", "pages_leaked", "voices")}
    return Outcome(
        evaluation="prefix",
        peer="engine",
        config={
            "model": options.model,
            "conversations": options.conversations,
            "turns": options.turns,
            "exponent": options.exponent,
            "made_voices": options.made_voices,
            "reference_s": options.reference_s if options.made_voices else None,
        },
        seed=options.seed,
        figures=figures | totals,
        gates=(
            Gate("pages leaked", books.pages_leaked),
            Gate("warm voices without a single hit", int(found["warm"].hit_rate == 0)),
            Gate("positions on which metrics and engine disagree", disagree),
        ),
        pairs={},
        not_measured=tuple(missing),
    )


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals prefix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="bundled", help="bundled, a checkpoint folder, or an address")
    parser.add_argument("--config", default="{}", help="EngineConfig as JSON, e.g. '{\"num_pages\": 64}'")
    parser.add_argument("--accept-license", default=None, metavar="NAME", help="of weights that ask for it")
    parser.add_argument(
        "--made-voices", type=int, default=0, metavar="N", help="make and use so many (a checkpoint folder)"
    )
    parser.add_argument(
        "--reference-s", type=float, default=20.0, help="length of a made voice's recording (default 20)"
    )
    parser.add_argument("--voices", nargs="+", default=None, help="most used first (default: all the engine knows)")
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    return parser
