"""Any agent, from a recording of the call: time to yield, talk-over, leftovers, response time.

Clock: the recording's. Left channel (or --caller): the caller's clean mouth. Right (or --agent): the agent as the
caller hears it. Onset: the caller's first audible sample; silence: the end of the agent's turn, when no sound of it
follows within 400 ms. Whether the agent would have ended by itself cannot be seen, so interrupt it in mid-sentence.

Labels, where not every sound of the caller is an interruption: a text file with `SECONDS interruption` or
`SECONDS other` on each line.
"""

from __future__ import annotations

import argparse
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.metrics.recording import WINDOW_MS, CallSummary, Kind, analyse
from evals.metrics.stats import spread
from evals.outcome import Gate, Outcome, finish, table
from evals.pages.recording import write

Pcm = npt.NDArray[np.int16]
CONVERT = "ffmpeg -i IN -c:a pcm_s16le OUT.wav makes one"
WORDS = {"interruption": Kind.INTERRUPTION, "other": Kind.NOT_FOR_THE_AGENT}


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    try:
        caller, agent, rate = _tracks(options)
        labels = _labels(options.labels) if options.labels else None
    except (OSError, ValueError) as error:
        print(f"cannot run: {error}")
        return 2
    summary = analyse(caller, agent, rate, labels=labels, level=options.level)
    rows: list[tuple[Any, ...]] = [
        (f"{item.onset_ms / 1000:.2f} s", item.kind.value, item.silent_ms, item.talk_over_ms, item.leftover_ms)
        for item in summary.overlaps
    ]
    if not rows:
        print("nobody spoke over the other: interrupt the agent in mid-sentence; left is the caller, right the agent?")
    print(table(("caller at", "meant", "silent after ms", "talk-over ms", "leftover ms"), rows), end="\n\n")
    outcome = _outcome(options, summary)
    if options.out is not None:
        write(options.out / f"recording-{outcome.peer}.html", outcome, summary, caller, agent, rate)
    return finish(outcome, options.out)


def read(path: Path) -> tuple[Pcm, int]:
    """A 16-bit WAV, [samples, channels]. Raises OSError, and ValueError for anything else than that."""
    try:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2:
                raise ValueError(
                    f"{path.name} has {8 * file.getsampwidth()}-bit samples; allowed: 16-bit PCM; {CONVERT}"
                )
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            return samples.reshape(-1, file.getnchannels()), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path.name} is no 16-bit WAV ({str(error) or 'it is cut off'}); {CONVERT}") from error


def _tracks(options: argparse.Namespace) -> tuple[Pcm, Pcm, int]:
    if options.call is not None:
        both, rate = read(options.call)
        if both.shape[1] != 2:
            raise ValueError(
                f"{options.call.name} has {both.shape[1]} channel(s); two are needed: caller left, agent right; "
                "two files of one clock do too: --caller A.wav --agent B.wav"
            )
        return both[:, 0], both[:, 1], rate
    if options.caller is None or options.agent is None:
        raise ValueError("give a stereo WAV (caller left, agent right), or both --caller A.wav and --agent B.wav")
    (caller, rate), (agent, other) = read(options.caller), read(options.agent)
    if rate != other:
        raise ValueError(
            f"--caller is at {rate} Hz, --agent at {other} Hz; they must be equal: ffmpeg -i IN -ar {rate} OUT"
        )
    length = max(len(caller), len(agent))
    first, second = (np.pad(track[:, 0], (0, length - len(track))) for track in (caller, agent))
    return first, second, rate


def _labels(path: Path) -> dict[float, Kind]:
    labels = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        at_s, _, word = line.strip().partition(" ")
        if not at_s:
            continue
        if word.strip() not in WORDS:
            raise ValueError(f"{path.name}, line {number}: {word.strip()!r}; allowed: {', '.join(WORDS)}")
        try:
            labels[float(at_s)] = WORDS[word.strip()]
        except ValueError:
            raise ValueError(
                f"{path.name}, line {number}: {at_s!r} are no seconds; such as 12.3 interruption"
            ) from None
    return labels


def _outcome(options: argparse.Namespace, summary: CallSummary) -> Outcome:
    meant = [item for item in summary.overlaps if item.kind is Kind.INTERRUPTION]
    others = [item for item in summary.overlaps if item.kind is Kind.NOT_FOR_THE_AGENT]
    name = (options.call or options.agent).stem
    return Outcome(
        evaluation="recording",
        peer=name,
        config={"window_ms": WINDOW_MS, "level": options.level, "labelled": options.labels is not None},
        seed=0,
        figures={
            "interruptions": len(meant),
            "silent_ms": spread([item.silent_ms for item in meant]).as_dict(),
            "talk_over_ms": spread([item.talk_over_ms for item in meant]).as_dict(),
            "response_ms": spread(summary.response_ms).as_dict(),
            "not_for_the_agent": len(others),
            "caller_turns": summary.caller_turns,
            "agent_turns": summary.agent_turns,
        },
        gates=(
            Gate("missed interruptions", sum(not item.correct for item in meant)),
            Gate("false stops", sum(not item.correct for item in others), limit=len(others) // 50),
            Gate("leftovers after yielding", sum(item.leftover_ms > 0 for item in meant)),
            Gate("recordings without an agent", int(not summary.agent_turns)),
            Gate("recordings without a caller", int(not summary.caller_turns)),
        ),
        pairs={f"{number}": {"silent_ms": i.silent_ms} for number, i in enumerate(meant) if i.silent_ms is not None},
        not_measured=tuple(_not_measured(summary)),
    )


def _not_measured(summary: CallSummary) -> list[str]:
    missing = ["abort, release, stale frames, heard text: a recording does not show them"]
    if not summary.overlaps:
        missing.append("time to yield: the caller never spoke over the agent, so no gate could fail on it")
    if summary.cut_off:
        missing.append(
            f"{summary.cut_off} overlaps: the recording ends before it can be seen whether the agent yielded"
        )
    return missing


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals recording", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "call", type=Path, nargs="?", help="stereo WAV: left caller, right agent (make demo writes one)"
    )
    parser.add_argument("--caller", type=Path, default=None, help="in place of it: the caller's WAV")
    parser.add_argument("--agent", type=Path, default=None, help="and the agent's, at the same rate, same start")
    parser.add_argument("--labels", type=Path, default=None, help="what the caller's sounds meant")
    parser.add_argument("--level", type=float, default=0.01, help="audible above this share of full scale")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and the report")
    return parser
