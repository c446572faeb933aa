"""What is audible in a recording, and when. Pure functions of int16 mono samples; they know no framework and no engine.

Audible means: the peak of a 1 ms bin is above a threshold in dB below full scale, and so are enough bins near it that
it is not a click. All positions are samples from the start of the recording; an end is one past the last sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent_tts.audio.pcm import AUDIBLE_LEVEL

Samples = npt.NDArray[np.int16]

AUDIBLE_DB = 20 * math.log10(AUDIBLE_LEVEL)
"""The engine's own definition: -40 dBFS."""

_NEAR_BINS = 20
_NEEDED_BINS = 5


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` up to, not including, `end`, in samples."""

    start: int
    end: int

    def ms(self, sample_rate: int) -> float:
        return 1000 * (self.end - self.start) / sample_rate


def speech_onset(pcm: Samples, sample_rate: int, start: int = 0, *, threshold_db: float = AUDIBLE_DB) -> int | None:
    """The first audible sample at or after `start`; None in silence. A lone click shorter than 5 ms is not an onset."""
    audible, bin_size = _audible_bins(pcm[start:], sample_rate, threshold_db, look_back=False)
    if not audible.any():
        return None
    first_bin = int(np.argmax(audible)) * bin_size
    loud = np.abs(pcm[start + first_bin : start + first_bin + bin_size].astype(np.int32)) > _level(threshold_db)
    return start + first_bin + int(np.argmax(loud))


def last_audible(
    pcm: Samples, sample_rate: int, start: int = 0, end: int | None = None, *, threshold_db: float = AUDIBLE_DB
) -> int | None:
    """One past the last audible sample in [start, end); None when all of it is silent. Lone clicks do not count."""
    part = pcm[start:end]
    audible, bin_size = _audible_bins(part, sample_rate, threshold_db, look_back=True)
    if not audible.any():
        return None
    last_bin = (len(audible) - 1 - int(np.argmax(audible[::-1]))) * bin_size
    loud = np.abs(part[last_bin : last_bin + bin_size].astype(np.int32)) > _level(threshold_db)
    return start + last_bin + int(np.flatnonzero(loud)[-1]) + 1


def silences(pcm: Samples, sample_rate: int, *, min_ms: float = 20.0, threshold_db: float = AUDIBLE_DB) -> list[Span]:
    """Every stretch of at least `min_ms` without an audible sample, in order."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > _level(threshold_db))
    edges = np.concatenate(([-1], loud, [len(pcm)]))
    lengths = np.diff(edges) - 1
    needed = max(1, round(min_ms * sample_rate / 1000))
    return [Span(int(edges[at]) + 1, int(edges[at + 1])) for at in np.flatnonzero(lengths >= needed)]


def speech_spans(
    pcm: Samples, sample_rate: int, *, join_ms: float = 400.0, threshold_db: float = AUDIBLE_DB
) -> list[Span]:
    """Stretches of sound; pauses shorter than `join_ms` belong to the sound around them. Lone clicks are left out."""
    quiet = silences(pcm, sample_rate, min_ms=join_ms, threshold_db=threshold_db)
    starts = [0, *(span.end for span in quiet)]
    ends = [*(span.start for span in quiet), len(pcm)]
    spans = [Span(start, end) for start, end in zip(starts, ends, strict=True) if end > start]
    return [
        span for span in spans if audible_ms(pcm, sample_rate, span.start, span.end, threshold_db=threshold_db) >= 5
    ]


def audible_ms(
    pcm: Samples, sample_rate: int, start: int = 0, end: int | None = None, *, threshold_db: float = AUDIBLE_DB
) -> float:
    """How much of [start, end) is audible, counted in bins of 5 ms, which is half a period of the lowest voices."""
    peaks = _peaks(pcm[start:end], max(1, sample_rate // 200))
    return 5.0 * int(np.count_nonzero(peaks > _level(threshold_db)))


def _audible_bins(
    pcm: Samples, sample_rate: int, threshold_db: float, *, look_back: bool
) -> tuple[npt.NDArray[np.bool_], int]:
    """Per 1 ms bin: is it loud, and are enough of the 20 bins from it on (or up to it) loud too?"""
    bin_size = max(1, sample_rate // 1000)
    loud = _peaks(pcm, bin_size) > _level(threshold_db)
    if look_back:
        loud = loud[::-1]
    sums = np.concatenate(([0], np.cumsum(loud)))
    last = np.minimum(np.arange(len(loud)) + _NEAR_BINS, len(loud))
    near = sums[last] - sums[: len(loud)]
    audible = loud & (near >= _NEEDED_BINS)
    return (audible[::-1] if look_back else audible), bin_size


def _peaks(pcm: Samples, bin_size: int) -> npt.NDArray[np.int32]:
    num_bins = -(-len(pcm) // bin_size)
    padded = np.zeros(num_bins * bin_size, np.int32)
    padded[: len(pcm)] = np.abs(pcm.astype(np.int32))
    return padded.reshape(num_bins, bin_size).max(axis=1) if num_bins else np.zeros(0, np.int32)


def _level(threshold_db: float) -> float:
    return float(32768 * 10 ** (threshold_db / 20))
