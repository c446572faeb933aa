"""What a caller says in a live call, at the line's rate: made clips in several voices, or recorded people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr

from evals.calls.clips import RATE as CLIP_RATE
from evals.calls.clips import Wave, at_level, clip, recording
from evals.calls.scenario import EventPlan
from evals.live.tracks import RATE, Pcm
from evals.metrics.audio import onset_ms

QUESTION = "say:Could you tell me all about it, please?"
PITCHES = (0.82, 0.91, 1.0, 1.1)
"""One made voice played slower or faster: four callers, one of them as it was made."""
LONGEST_S = 2.5
QUIET_S = 0.1


def spoken(plan: EventPlan, number: int) -> Pcm:
    """The clip of an event, in the voice of the caller whose turn it is."""
    scenario = plan.scenario
    made = clip(plan.clip, seed=number, level_db=scenario.level_db, ms=scenario.clip_ms)
    if plan.clip.startswith("file:"):
        return at_line(at_level(_from_its_onset(made), scenario.level_db))
    return at_line(made, PITCHES[number % len(PITCHES)] if plan.clip.startswith("say:") else 1.0)


def at_line(samples: Wave, pitch: float = 1.0) -> Pcm:
    """16 kHz to the line's rate; above 1 is higher and faster."""
    values = soxr.resample(samples, CLIP_RATE * pitch, RATE)
    return np.asarray(32767 * np.clip(values, -1, 1), np.int16)


def people(folder: Path) -> tuple[str, ...]:
    """Names of the clips in a folder of recordings (WAV); an unfit one, or none, fails at once."""
    found = tuple(f"file:{path}" for path in sorted(folder.glob("*.wav")))
    if not found:
        raise SystemExit(f"no .wav in {folder}; other formats are not read here")
    for name in found:
        recording(Path(name.removeprefix("file:")))
    return found


def _from_its_onset(samples: Wave) -> Wave:
    """A long recording becomes a remark."""
    begin = round((onset_ms(samples, CLIP_RATE) or 0.0) * CLIP_RATE / 1000)
    first = max(0, begin - round(QUIET_S * CLIP_RATE))
    return samples[first : begin + round(LONGEST_S * CLIP_RATE)]
