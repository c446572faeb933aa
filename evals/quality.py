"""Quality: is what was said understood, by machines that listen, and does streamed text cost anything?

Every sentence is spoken twice by each voice, with its text whole and with the text streamed word by word, and judged
on its own. Counted: word and character errors over all sentences, with bootstrap intervals resampled by sentence; a
guessed opinion score; cosines between speakers, with the floor that other people's voices reach. Judges are never
averaged. Counted out: nothing; a reply that is empty, truncated or runaway fails the run and its words count as lost.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import wave
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
    VoicePrints,
    Wave,
    normaliser,
)
from evals.metrics.audio import as_float
from evals.metrics.latency import errors, failures
from evals.metrics.quality import Heard, QualitySummary, against, compare_texts, summarise
from evals.metrics.stats import Interval, bootstrap
from evals.metrics.stream import ReplyRecord
from evals.outcome import Gate, Outcome, existing, finish, progress, table
from evals.pages.quality import write_report
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer
from evals.recording import read
from evals.speakers import against_all, other_people, pairwise, same_voice
from evals.speaking import Manner, speak
from evals.texts import SENTENCES, at_once, llm_pace, sentences

HARD = SENTENCES.with_name("hard_cases.txt")
UNPACED_MS = 600_000.0
QUICK = 8
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
    options = options_parser().parse_args(argv)
    options.lead_ms = options.lead_ms or UNPACED_MS
    options.patient = True
    options.voices = options.voices or [options.voice]
    options.n = min(options.n, QUICK) if options.quick else options.n
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
    texts = texts_of(options)
    ways: dict[str, Callable[[str], Any]] = {
        "whole": at_once,
        "streamed": lambda text: llm_pace(text, options.seed, tokens_per_s=STREAM_TOKENS_PER_S),
    }
    peer = make_peer(options)
    await peer.open()
    try:
        return {
            way(options, mode, voice): [await speak(peer, text, Manner(ways[mode], voice), load=mode) for text in texts]
            for voice in options.voices
            for mode in options.modes
        }
    finally:
        await peer.close()


def texts_of(options: argparse.Namespace) -> list[str]:
    """The sentences that the options ask for."""
    return sentences(options.sentences_file or (HARD if options.hard else SENTENCES))[: options.n]


def way(options: argparse.Namespace, mode: str, voice: str) -> str:
    """Name of one way of speaking: the voice is in it where there are several."""
    return mode if len(options.voices) == 1 else f"{mode}, {voice}"


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
    _score(judged, options)
    return judged


def _listen(listener: Listener, records: list[ReplyRecord], normalise: Callable[[str], str]) -> list[Heard]:
    heard = []
    for number, record in enumerate(records, start=1):
        text = listener.hear(_resampled(record)) if len(record.pcm) else ""
        heard.append(compare_texts(record.text, text, normalise))
        progress(number, len(records))
    return heard


def _score(judged: Judged, options: argparse.Namespace) -> None:
    """DistillMOS of each way of speaking; whose voice it is."""
    for score in (_opinions, _voices):
        try:
            found = score(judged.records, options)
            # A judge that answers NaN, of a sentence without a sound, has not judged it; n says so.
            judged.scores |= {name: [one for one in values if not math.isnan(one)] for name, values in found.items()}
        except JudgeUnavailableError as error:
            judged.not_measured.append(str(error))


def _opinions(records: dict[str, list[ReplyRecord]], options: argparse.Namespace) -> dict[str, list[float]]:
    mos = DistillMos()
    return {
        f"DistillMOS, {name}": [mos.score(_resampled(item)) for item in spoken if len(item.pcm)]
        for name, spoken in records.items()
    }


def _voices(records: dict[str, list[ReplyRecord]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Similarity of each way of speaking to itself, to whole text, to a reference, and to other people."""
    prints = VoicePrints()
    strangers = [prints.embed(_recording(path)) for path in other_people(options.others)]
    target = [prints.embed(_recording(options.reference))] if options.reference else []
    embedded = {
        name: [prints.embed(_resampled(item)) if len(item.pcm) else None for item in spoken]
        for name, spoken in records.items()
    }
    found: dict[str, list[float]] = {}
    for name, every in embedded.items():
        heard = [one for one in every if one is not None]
        found[f"similarity, {name}: same voice"] = same_voice(heard)
        found[f"similarity, {name}: to the reference"] = against_all(heard, target)
        found[f"similarity, {name}: floor, other people ({len(strangers)})"] = against_all(heard, strangers)
    for voice in options.voices:
        whole, streamed = (way(options, mode, voice) for mode in MODES)
        if whole in embedded and streamed in embedded:
            found[f"similarity, {whole}: to streamed"] = pairwise(embedded[whole], embedded[streamed])
    return {name: values for name, values in found.items() if values}


def _recording(path: Path) -> Wave:
    """A WAV file as judges want it; channels are mixed."""
    import soxr

    try:
        samples, rate = read(path)
    except (OSError, ValueError, wave.Error) as error:
        raise JudgeUnavailableError(f"recording {path.name}: {error}") from error
    return np.asarray(soxr.resample(as_float(samples).mean(axis=1), rate, RATE), np.float32)


def _resampled(record: ReplyRecord) -> Wave:
    import soxr

    return np.asarray(soxr.resample(as_float(record.pcm), record.sample_rate, RATE), np.float32)


def _print(options: argparse.Namespace, summaries: list[QualitySummary], judged: Judged) -> None:
    print(f"\n{options.peer}, voice {', '.join(options.voices)}\n")
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
    for judge in dict.fromkeys(name for name, _ in judged.heard):
        for voice in options.voices:
            whole, streamed = (judged.heard.get((judge, way(options, mode, voice))) for mode in MODES)
            found = against(whole, streamed) if whole and streamed else None
            if found is not None:
                name = f"{judge} word errors a sentence, streamed - whole"
                figures[name if len(options.voices) == 1 else f"{name}, {voice}"] = _interval(found.change)
    figures |= {name: _interval(bootstrap(values)) for name, values in judged.scores.items()}
    spoken = [record for records in judged.records.values() for record in records]
    bad = failures(spoken)
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
            "voices": options.voices,
            "n": summaries[0].n,
            "hard": options.hard,
            "model": options.model,
            "lacks": list(ABILITIES[options.peer].lacks),
            "errors": errors(spoken),
        },
        seed=options.seed,
        figures=figures,
        gates=(*(Gate(f"{n} replies", c) for n, c in bad.items()), Gate("sentences half wrong", half_wrong, limit)),
        pairs=pairs,
        not_measured=tuple(judged.not_measured),
    )


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals quality", description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("-n", type=int, default=40, help="sentences (default 40; 150 or more for claims below 1 %%)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} sentences: does it run, not how good is it")
    parser.add_argument("--voices", nargs="+", default=None, help="several voices, each judged on its own")
    parser.add_argument("--reference", type=existing, default=None, help="WAV of the person who was cloned")
    parser.add_argument("--others", type=existing, default=None, help="folder of WAVs of other people: the floor")
    parser.add_argument("--hard", action="store_true", help="numbers, dates, initialisms, names, tongue twisters")
    parser.add_argument("--sentences-file", type=existing, default=None, help="your own sentences, one a line")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/models"), help="where the judge's model is put together"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and the report")
    return parser
