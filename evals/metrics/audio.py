"""What can be heard in a recording: audible runs, onset, silence, leaks. Pure functions of samples; no clock, no agent.

Audible = a sample above 1 % of full scale, in a run of at least 5 ms; gaps below 20 ms do not end a run. Positions are
returned in ms from the first sample of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from agent_tts.audio.pcm import AUDIBLE_LEVEL

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]

LEVEL = AUDIBLE_LEVEL
"""Share of full scale above which a sample is audible: the engine's own definition (-40 dBFS)."""
MIN_RUN_MS = 5.0
BRIDGE_MS = 20.0


@dataclass(frozen=True, slots=True)
class Span:
    """From the first to just after the last audible sample of one run, ms."""

    start_ms: float
    end_ms: float

    @property
    def length_ms(self) -> float:
        return self.end_ms - self.start_ms


def audible_spans(
    samples: Samples,
    sample_rate: int,
    *,
    level: float = LEVEL,
    bridge_ms: float = BRIDGE_MS,
    min_run_ms: float = MIN_RUN_MS,
) -> list[Span]:
    """The audible runs of a recording, in order."""
    loud = np.flatnonzero(np.abs(as_float(samples)) > level)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > bridge_ms * sample_rate / 1000)
    starts = loud[np.concatenate(([0], breaks + 1))]
    ends = loud[np.concatenate((breaks, [len(loud) - 1]))] + 1
    spans = [
        Span(1000 * int(first) / sample_rate, 1000 * int(last) / sample_rate)
        for first, last in zip(starts, ends, strict=True)
    ]
    return [span for span in spans if span.length_ms >= min_run_ms]


def onset_ms(samples: Samples, sample_rate: int, *, level: float = LEVEL) -> float | None:
    """First audible sample; None in silence. Leading silence is the same number."""
    spans = audible_spans(samples, sample_rate, level=level)
    return spans[0].start_ms if spans else None


def silence_ms(samples: Samples, sample_rate: int, *, level: float = LEVEL) -> float | None:
    """End of the last audible sample; None when there is none."""
    spans = audible_spans(samples, sample_rate, level=level)
    return spans[-1].end_ms if spans else None


def audible_ms(spans: list[Span], start_ms: float = -np.inf, end_ms: float = np.inf) -> float:
    """How much of the spans lies between two moments: the leak after a stage, the stale audio before a reply."""
    return sum(max(0.0, min(span.end_ms, end_ms) - max(span.start_ms, start_ms)) for span in spans)


def gaps(spans: list[Span], *, min_ms: float) -> list[Span]:
    """Silences of at least `min_ms` between audible runs."""
    between = [Span(first.end_ms, second.start_ms) for first, second in pairwise(spans)]
    return [gap for gap in between if gap.length_ms >= min_ms]


def level_db(samples: Samples) -> float:
    """RMS level in dBFS; -inf of silence."""
    values = as_float(samples)
    power = float(np.mean(values**2)) if len(values) else 0.0
    return 10 * float(np.log10(power)) if power else -np.inf


def centred(samples: Samples) -> npt.NDArray[np.float32]:
    """Samples without the constant that a sound card, or a broken vocoder, adds to them."""
    values = as_float(samples)
    return values - values.mean() if len(values) else values


def as_float(samples: Samples) -> npt.NDArray[np.float32]:
    """Samples in -1..1, whatever their type was."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32767)
    return samples.astype(np.float32, copy=False)
