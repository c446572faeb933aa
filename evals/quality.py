"""Quality: is what was said understood, by machines that listen, and does streamed text cost anything?

Every sentence is spoken twice, with its text whole and with the text streamed word by word, and judged on its own.
Counted: word and character errors over all sentences, with bootstrap intervals resampled by sentence. Judges are never
averaged. Counted out: nothing; a reply that is empty, truncated or runaway fails the run and its words count as lost.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evals.judges import (
    RATE,
    DistillMos,
    FasterWhisper,
    JudgeUnavailableError,
    Listener,
    Moonshine,
    SpeakerSimilarity,
    Wave,
    normaliser,
)
from evals.metrics_audio import as_float
from evals.metrics_latency import failures
from evals.metrics_quality import Heard, QualitySummary, against, compare_texts, summarise
from evals.metrics_stats import bootstrap
from evals.metrics_stream import ReplyRecord
from evals.outcome import Gate, Outcome, finish, progress, table
from evals.page_quality import write_report
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer
from evals.speaking import Manner, speak
from evals.texts import SENTENCES, at_once, llm_pace, sentences

HARD = SENTENCES.with_name("hard_cases.txt")
UNPACED_MS = 600_000.0
STREAM_TOKENS_PER_S = 60.0
MODES = ("whole", "streamed")
MAX_HALF_WRONG = 0.15
"""Share of sentences that may be half wrong before the run fails: a voice that is not one, not a bad one."""


@dataclass(slots=True)
class Judged:
    """What was spoken and what was heard, by judge and mode."""

    records: dict[str, list[ReplyRecord]]
    heard: dict[tuple[str, str], list[Heard]]
    scores: dict[str, list[float]]
    not_measured: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    options.lead_ms = options.lead_ms or UNPACED_MS
    try:
        judged = _judge(asyncio.run(_speak_all(options)), options)
    except (PeerUnavailableError, JudgeUnavailableError) as error:
        print(f"cannot run: {error}")
        return 2
    summaries = [summarise(judge, mode, heard) for (judge, mode), heard in judged.heard.items()]
    _print(options, summaries, judged)
    outcome = _outcome(options, summaries, judged)
    if options.out is not None:
        path = options.out / f"quality-{options.peer}.html"
        write_report(path, outcome, __doc__ or "", summaries, judged.heard, judged.records)
    return finish(outcome, options.out)


async def _speak_all(options: argparse.Namespace) -> dict[str, list[ReplyRecord]]:
    texts = sentences(options.sentences_file or (HARD if options.hard else SENTENCES))[: options.n]
    ways: dict[str, Callable[[str], Any]] = {
        "whole": at_once,
        "streamed": lambda text: llm_pace(text, options.seed, tokens_per_s=STREAM_TOKENS_PER_S),
    }
    peer = make_peer(options)
    await peer.open()
    try:
        return {
            mode: [await speak(peer, text, Manner(ways[mode], options.voice), load=mode) for text in texts]
            for mode in options.modes
        }
    finally:
        await peer.close()


def _judge(records: dict[str, list[ReplyRecord]], options: argparse.Namespace) -> Judged:
    judged = Judged(records, {}, {}, [])
    normalise = normaliser()
    for make in (lambda: FasterWhisper(options.cache), Moonshine):
        try:
            listener: Listener = make()
        except JudgeUnavailableError as error:
            judged.not_measured.append(str(error))
            continue
        for mode, spoken in records.items():
            judged.heard[listener.name, mode] = _listen(listener, spoken, normalise)
    if not judged.heard:
        raise JudgeUnavailableError(f"no judge is installed; {'; '.join(judged.not_measured)}")
    _score(judged)
    return judged


def _listen(listener: Listener, records: list[ReplyRecord], normalise: Callable[[str], str]) -> list[Heard]:
    heard = []
    for number, record in enumerate(records, start=1):
        text = listener.hear(_resampled(record)) if len(record.pcm) else ""
        heard.append(compare_texts(record.text, text, normalise))
        progress(number, len(records))
    return heard


def _score(judged: Judged) -> None:
    """DistillMOS of each mode; similarity of the streamed to the whole text's voice."""
    try:
        mos = DistillMos()
        for mode, records in judged.records.items():
            judged.scores[f"distillmos {mode}"] = [mos.score(_resampled(item)) for item in records if len(item.pcm)]
    except JudgeUnavailableError as error:
        judged.not_measured.append(str(error))
    try:
        voices = SpeakerSimilarity()
        if all(mode in judged.records for mode in MODES):
            pairs = zip(judged.records["whole"], judged.records["streamed"], strict=True)
            judged.scores["similarity whole to streamed"] = [
                voices.similarity(_resampled(a), _resampled(b)) for a, b in pairs if len(a.pcm) and len(b.pcm)
            ]
    except JudgeUnavailableError as error:
        judged.not_measured.append(str(error))


def _resampled(record: ReplyRecord) -> Wave:
    import soxr

    return np.asarray(soxr.resample(as_float(record.pcm), record.sample_rate, RATE), np.float32)


def _print(options: argparse.Namespace, summaries: list[QualitySummary], judged: Judged) -> None:
    print(f"\n{options.peer}, voice {options.voice}\n")
    rows = [
        (item.judge, item.mode, item.n, item.exact, *_percent(item.wer), *_percent(item.cer), item.half_wrong)
        for item in summaries
    ]
    header = ("judge", "text", "n", "exact", "WER %", "95 %", "CER %", "95 %", "half wrong")
    print(table(header, rows), end="\n\n")
    for name, values in judged.scores.items():
        if (interval := bootstrap(values)) is not None:
            print(f"{name}: {interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}), n {len(values)}")
    for (judge, mode), heard in judged.heard.items():
        for item in sorted(heard, key=lambda one: -one.wer)[:3]:
            if item.word_errors:
                print(f"  {judge}, {mode}: {item.text!r} was heard as {item.heard!r}")
    print()


def _percent(interval: Any) -> tuple[float | None, str]:
    if interval is None:
        return None, "-"
    return 100 * interval.value, f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _outcome(options: argparse.Namespace, summaries: list[QualitySummary], judged: Judged) -> Outcome:
    figures: dict[str, Any] = {f"{item.judge} {item.mode}": item.as_dict() for item in summaries}
    for judge in {name for name, _ in judged.heard}:
        if all((judge, mode) in judged.heard for mode in MODES):
            found = against(judged.heard[judge, "whole"], judged.heard[judge, "streamed"])
            if found is not None:
                change = found.change
                figures[f"{judge} word errors a sentence, streamed - whole"] = [change.value, change.low, change.high]
    figures |= {name: [*_triple(values)] for name, values in judged.scores.items()}
    bad = failures([record for records in judged.records.values() for record in records])
    half_wrong = max((item.half_wrong for item in summaries if item.judge == summaries[0].judge), default=0)
    limit = int(MAX_HALF_WRONG * summaries[0].n)
    pairs = {
        f"{judge} | {mode} | {item.text}": {"wer": item.wer}
        for (judge, mode), heard in judged.heard.items()
        for item in heard
    }
    return Outcome(
        evaluation="quality",
        peer=options.peer,
        config={
            "voice": options.voice,
            "n": summaries[0].n,
            "hard": options.hard,
            "model": options.model,
            "lacks": list(ABILITIES[options.peer].lacks),
        },
        seed=options.seed,
        figures=figures,
        gates=(*(Gate(f"{n} replies", c) for n, c in bad.items()), Gate("sentences half wrong", half_wrong, limit)),
        pairs=pairs,
        not_measured=tuple(judged.not_measured),
    )


def _triple(values: list[float]) -> tuple[float, float, float] | tuple[()]:
    interval = bootstrap(values)
    return () if interval is None else (interval.value, interval.low, interval.high)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals quality", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("-n", type=int, default=40, help="sentences (default 40; 150 or more for claims below 1 %%)")
    parser.add_argument("--hard", action="store_true", help="numbers, dates, initialisms, names, tongue twisters")
    parser.add_argument("--sentences-file", type=Path, default=None, help="your own sentences, one a line")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/models"), help="where the judge's model is put together"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and the report")
    return parser
