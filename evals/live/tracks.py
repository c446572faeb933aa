"""From frames with times of arrival to one recording of a call: mouth and ear, sample by sample. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RATE = 48_000
LOUD = 330
"""A larger sample is audible: 1 % of full scale, as everywhere in these evaluations."""
SETTLE_S = 2.0
"""A frame is late when a later one of so much time was less late: arrival jitters, sound does not."""

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Both ends of the line at the caller; the first sample of both sounded at `begin_s` of time.monotonic()."""

    begin_s: float
    mouth: Pcm
    ear: Pcm
    rate: int = RATE

    def sample(self, at_s: float) -> int:
        """The sample of a moment, within the recording."""
        return min(max(0, round((at_s - self.begin_s) * self.rate)), len(self.ear))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A piece of sound, and when it was given away (mouth) or came (ear)."""

    at_s: float
    pcm: Pcm

    @property
    def loud(self) -> bool:
        """Something in it is audible."""
        return int(np.abs(self.pcm.astype(np.int32)).max(initial=0)) > LOUD


def recording(
    mouth: Sequence[Frame], mouth_s: npt.NDArray[np.float64], ear: Sequence[Frame], ear_s: npt.NDArray[np.float64]
) -> Tracks:
    """Lay both out on one clock, each frame where it began to sound."""
    begin_s = min(float(at_s[0]) for at_s in (mouth_s, ear_s) if len(at_s))
    laid = [_laid_out(mouth, mouth_s - begin_s), _laid_out(ear, ear_s - begin_s)]
    length = max(map(len, laid))
    return Tracks(begin_s, *(np.pad(pcm, (0, length - len(pcm))) for pcm in laid))


def spoken_s(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    """When each frame of the mouth began to sound: when it was given to the microphone, or after the one before it."""
    times, free_s = np.zeros(len(frames)), -np.inf
    for index, frame in enumerate(frames):
        times[index] = max(free_s, frame.at_s)
        free_s = times[index] + len(frame.pcm) / RATE
    return times


def arrived_s(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    """When each frame at the ear began to sound: a steady row, as early as its least late frames say.

    A process that is busy sees frames late and in bunches. Frames that never came shift all that follow for good.
    """
    if not frames:
        return np.zeros(0)
    media_s = np.cumsum([0, *(len(frame.pcm) for frame in frames[:-1])]) / RATE
    lag_s = np.array([frame.at_s for frame in frames]) - media_s
    ends = np.searchsorted(media_s, media_s + SETTLE_S)
    least = np.array([lag_s[index:end].min() for index, end in enumerate(np.maximum(ends, np.arange(len(ends)) + 1))])
    return media_s + least


def _laid_out(frames: Sequence[Frame], begins_s: npt.NDArray[np.float64]) -> Pcm:
    starts = np.round(begins_s * RATE).astype(np.int64)
    length = max((int(start) + len(frame.pcm) for start, frame in zip(starts, frames, strict=True)), default=0)
    made = np.zeros(length, np.int16)
    for start, frame in zip(starts, frames, strict=True):
        made[start : start + len(frame.pcm)] = frame.pcm
    return made
