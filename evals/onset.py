"""The onset test alone: how soon after the mouth a suspicion is raised, and how often by sounds that are no speech.

    python -m evals onset                             # made speech in several voices, made noises
    python -m evals onset --people FOLDER             # recorded people too: its WAV files, and those one folder down

Speech: 0.5 s of digital silence and the clip, at four alignments to the detector's windows; or, at one, after six
seconds of breaths that have made the test wary. Clock: from the first sample of the clip above 1.5 % of full scale (500
of 32767; in recordings that may be a breath) to the end of the 10 ms of audio that raised the suspicion. A suspicion
raised before counts as 0. Transport and the frame size of a microphone come on top. Noises: a minute of
each at four levels while the agent speaks. Counted: suspicions, which pause; NEAR, with which words could end the
reply; TALKING, which ends it in `selective`; and starts of a framework's VAD, which end it in `immediate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agent_tts.audio.onset import HOP, SAMPLE_RATE, Activity, OnsetDetector, Silero
from agent_tts.barge_in import Event
from evals.calls.clips import VOICES, Wave, clip, recording
from evals.calls.policies import Vad, silero_model
from evals.metrics.stats import Spread, spread
from evals.outcome import Gate, Outcome, finish, show, table

ONSET = 500 / 32_767
ALIGNMENTS = (0, 128, 256, 384)
LONGEST_S = 1.5
PHRASES = (
    "No, I meant the other one.",
    "Wait, what was the price again?",
    "Stop.",
    "Hold on.",
    "Sorry, can you go back?",
)
MADE = tuple(name for name, speaker in VOICES.items() if not speaker.kokoro)
NOISES = ("white", "pink", "hum", "clicks", "knocks", "plucks", "breaths")
LEVELS_DB = (-50.0, -40.0, -30.0, -20.0)
NOISE_MS = 60_000.0
FALSE_A_MINUTE = 2


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    model = silero_model()
    sets = {"made voices": [clip(f"say@{voice}:{text}") for voice in MADE for text in PHRASES]}
    for folder in _folders(options.people):
        sets[f"people, {folder.name}"] = [recording(path) for path in sorted(folder.glob("*.wav"))]
    nothing = np.zeros(0, np.float32)
    latencies = {name: _latencies(clips, nothing, ALIGNMENTS, model) for name, clips in sets.items()}
    breaths = clip("breaths", seed=1, level_db=-30.0, ms=6_000.0)
    for name, clips in list(sets.items()):
        latencies[f"{name}, after false starts"] = _latencies(clips, breaths, ALIGNMENTS[:1], model)
    rows = [(name, found.n, missed, found.p50, found.p95, found.worst) for name, (found, missed) in latencies.items()]
    print(table(("ms, onset -> suspicion", "n", "missed", "p50", "p95", "worst"), rows), end="\n\n")
    noises = [(name, level, *_false_starts(name, level, model)) for name in NOISES for level in LEVELS_DB]
    print(table(("a minute of", "dBFS", "suspicions", "NEAR", "TALKING", "VAD starts"), noises), end="\n\n")
    a_minute = sum(row[2] for row in noises) / len(noises)
    print(f"false suspicions a minute, mean of all: {show(a_minute)}\n")
    outcome = Outcome(
        evaluation="onset",
        peer="none",
        config={"people": [folder.name for folder in _folders(options.people)], "model": "silero_vad.onnx"},
        seed=1,
        figures={
            "latency_ms": {name: found.as_dict() | {"missed": missed} for name, (found, missed) in latencies.items()},
            "false_a_minute": a_minute,
            "noises": [list(row) for row in noises],
        },
        gates=(
            Gate("false suspicions a minute", round(a_minute, 2), limit=FALSE_A_MINUTE),
            Gate("minutes of noise taken for a talking caller", sum(row[4] > 0 for row in noises)),
            Gate("speech without a suspicion", sum(missed for _, missed in latencies.values())),
        ),
        pairs={},
    )
    return finish(outcome, options.out)


def _latencies(clips: Sequence[Wave], before: Wave, alignments: Sequence[int], model: Path) -> tuple[Spread, int]:
    """From the mouth to the suspicion, and how often there was none."""
    found: list[float | None] = []
    for samples in clips:
        onset = int(np.argmax(np.abs(samples) > ONSET))
        for shift in alignments:
            heard = np.concatenate([before, np.zeros(SAMPLE_RATE // 2 + shift, np.float32), samples])
            begin_ms = 1000 * (len(heard) - len(samples) + onset) / SAMPLE_RATE
            end = round(begin_ms * SAMPLE_RATE / 1000 + LONGEST_S * SAMPLE_RATE)
            changes = list(_changes(heard[:end], model))
            earlier = [change for at, change in changes if at < begin_ms]
            after = [at - begin_ms for at, change in changes if at >= begin_ms and change is Activity.STARTED]
            already = bool(earlier) and earlier[-1] is not Activity.ENDED
            found.append(0.0 if already else after[0] if after else None)
    return spread(found), found.count(None)


def _false_starts(name: str, level_db: float, model: Path) -> tuple[int, int, int, int]:
    samples = clip(name, seed=3, level_db=level_db, ms=NOISE_MS)
    kinds = [change for _, change in _changes(samples, model)]
    vad = Vad(Silero(model))
    starts = vad.push(samples).count(Event.SPEECH_STARTED)
    return kinds.count(Activity.STARTED), kinds.count(Activity.NEAR), kinds.count(Activity.TALKING), starts


def _changes(samples: Wave, model: Path) -> Iterator[tuple[float, Activity]]:
    """What the detector says, and after how many ms of audio."""
    detector = OnsetDetector(Silero(model))
    detector.agent_speaks = True
    pcm = (np.clip(samples, -1, 1) * 32_767).astype(np.int16)
    for end in range(HOP, len(pcm) + 1, HOP):
        for change in detector.push(pcm[end - HOP : end]):
            yield 1000 * end / SAMPLE_RATE, change


def _folders(people: Path | None) -> list[Path]:
    """The folder itself and those in it, where they hold recordings."""
    if people is None:
        return []
    return [folder for folder in (people, *sorted(people.iterdir())) if folder.is_dir() and any(folder.glob("*.wav"))]


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals onset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=Path, default=None, help="a folder of recordings, or of such folders")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    return parser
