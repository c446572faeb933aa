"""Your TTS, whole: latency, barge-in and quality of one peer, one after the other; one page, results.md, one JSON line.

First the peer is opened and says a sentence: what is wrong with a server, a key or a voice is said before anything is
asked for. Then what will be asked for is said: replies, characters, minutes. Ends with 2 when it could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals import asked, barge_in, latency, quality
from evals.asked import Asked
from evals.calls.policies import silero_model
from evals.everything import run_set
from evals.metrics.reply import defect
from evals.metrics.stream import ReplyRecord
from evals.outcome import table
from evals.peers.answers import shown
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, KEYS, add_options, as_arguments, key_of, make_peer
from evals.speaking import Manner, speak

PARTS = ("latency", "barge-in", "quality")
SENTENCE = "This is one sentence of usual length, to see how long a reply takes."
TRIES = 3
EXTRAS = "pip install -e '.[judge,pipecat,eval-peers]'"
WHOLE = {
    "latency": "",
    "barge-in": "--only interruption --only abort",
    "quality": "-n 40",
}
QUICK = {
    "latency": "--seeds 1 --warm-up 1 --load closed:1:4 --load burst:3:1:5",
    "barge-in": "--quick --only steady --only 'abort steady'",
    "quality": "-n 8",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One evaluation of the three, and what it asks for."""

    command: str
    asks: Asked


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    try:
        said, rate = asyncio.run(_hear(options))
    except PeerUnavailableError as error:
        print(f"cannot run: {error}")
        return 2
    where = f" at {shown(options.url)}" if options.url else ""
    print(f"{options.peer}{where}{_with_key(options)}: {rate}; {_took(said)}")
    parts, left_out = _parts(options, _seconds(said))
    for reason in left_out:
        print(reason)
    if not parts:
        print(f"cannot run: nothing is left to do: {EXTRAS}")
        return 2
    _announce(parts, quick=options.quick)
    line = {"eval": "yours", "peer": options.peer, "quick": options.quick}
    total = _total(parts)
    line |= {"asked": {"replies": total.replies, "characters": total.characters}}
    return run_set([part.command for part in parts], options.out, f"Evaluation of {_named(options)}{where}", line)


async def _hear(options: argparse.Namespace) -> tuple[ReplyRecord, str]:
    """Open the peer and hear one sentence; a server that fails now and then gets a few chances."""
    print(f"asking {options.peer} for a sentence ...", file=sys.stderr, flush=True)
    peer = make_peer(options)
    await peer.open()
    try:
        for _ in range(TRIES):
            record = await speak(peer, SENTENCE, Manner(voice=_voices(options)[0]))
            if defect(record) is None:
                known_by = getattr(peer, "rate_known_by", "")
                return record, f"{peer.sample_rate} Hz" + (f" ({known_by})" if known_by else "")
    finally:
        await peer.close()
    wrong = defect(record)
    assert wrong is not None
    raise PeerUnavailableError(f"{TRIES} sentences in a row were {wrong.value} ({record.error or 'no error was said'})")


def _parts(options: argparse.Namespace, reply_s: float) -> tuple[list[Part], list[str]]:
    """What is run, and why something is not, or otherwise than it should."""
    sizes, parts, notes = QUICK if options.quick else WHOLE, [], []
    for name in options.only or PARTS:
        words = [*as_arguments(options), *shlex.split(sizes[name])]
        if name == "latency":
            asks = asked.asked_by_latency(latency.options_parser().parse_args(words), reply_s)
        elif name == "barge-in":
            words += _reaction(notes)
            asks = asked.asked_by_barge_in(barge_in.options_parser().parse_args(words))
        else:
            if not _listeners():
                notes.append(f"quality is left out, nobody can listen: {EXTRAS}")
                continue
            words += _manner(options)
            asks = asked.asked_by_quality(quality.options_parser().parse_args(words), reply_s)
        parts.append(Part(shlex.join([name, *words]), asks))
    return parts, notes


def _reaction(notes: list[str]) -> list[str]:
    """Who decides to stop, and what the caller's voice is: what is installed."""
    words = ["--reaction", "immediate"]
    try:
        silero_model()
    except PeerUnavailableError:
        notes.append(f"barge-in with a plain energy VAD, for Silero is missing: {EXTRAS}")
        words = ["--reaction", "energy"]
    if importlib.util.find_spec("hibari") is None:
        notes.append(f"barge-in with a made sound for a caller, for hibari is missing: {EXTRAS}")
        words += ["--clips", "voiced"]
    return words


def _manner(options: argparse.Namespace) -> list[str]:
    """A peer that takes whole sentences is asked once: its sentence streamed word by word is the same request."""
    whole = [] if ABILITIES[options.peer].text == "stream" else ["--modes", "whole"]
    return whole + (["--voices", *options.voices] if options.voices else [])


def _listeners() -> bool:
    return any(importlib.util.find_spec(name) for name in ("faster_whisper", "moonshine_voice"))


def _announce(parts: Sequence[Part], *, quick: bool) -> None:
    total = _total(parts)
    rows = [(shlex.split(part.command)[0], *_row(part.asks)) for part in parts] + [("all", *_row(total))]
    print(table(("will ask for", "replies", "characters, at most", "about"), rows))
    print("" if quick else "less of each: --quick", flush=True)


def _row(asks: Asked) -> tuple[int, int, str]:
    return asks.replies, asks.characters, f"{max(1, round(asks.seconds / 60))} min"


def _total(parts: Sequence[Part]) -> Asked:
    total = parts[0].asks
    for part in parts[1:]:
        total += part.asks
    return total


def _seconds(said: ReplyRecord) -> float:
    """From the first text to the last audio."""
    return said.arrivals[-1].at_s - said.first_text_s


def _took(said: ReplyRecord) -> str:
    return f"{said.audio_ms / 1000:.1f} s of audio for a sentence came within {_seconds(said):.1f} s"


def _with_key(options: argparse.Namespace) -> str:
    if options.peer not in KEYS and options.peer != "http":
        return ""
    name, key = key_of(options)
    return f", with the key in {name}" if key else ", without a key"


def _named(options: argparse.Namespace) -> str:
    """The peer, its model and its voice, as far as they were named."""
    voices = [voice for voice in _voices(options) if voice != "default"]
    return ", ".join([options.peer, *([options.model] if options.model else []), *voices])


def _voices(options: argparse.Namespace) -> list[str]:
    return options.voices or [options.voice]


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals yours", description=__doc__)
    add_options(parser)
    parser.set_defaults(peer="openai")
    parser.add_argument(
        "--voices", nargs="+", default=None, help="quality of several voices; the first speaks the rest"
    )
    parser.add_argument("--quick", action="store_true", help="a sixth of it: does it run, not how good is it")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="not all three")
    parser.add_argument("--out", type=Path, default=Path("out/mine"), help="folder for everything written")
    return parser
