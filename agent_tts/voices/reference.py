"""Is a recording fit to make a voice of? Measured with plain arithmetic, said in sentences. Knows no codec, no files.

    20 ms levels ─▶ background (their 5th percentile) ─▶ pause = up to 6 dB over it, or 40 dB under speech
                 └▶ speech     (their 95th percentile)─▶ speech over background = how far the voice stands out

What it does not claim: how many people speak in one channel, whether the text is what is said, and whether there is an
echo. Only pauses let the background be heard: in speech without any, the distance comes out too small, never too large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent_tts.errors import ReferenceAudioError
from agent_tts.voices.audio_file import FloatSamples, Recording

MIN_S, MAX_S = 3.0, 60.0
ADVISED_S = (10.0, 30.0)
MIN_SPEECH_S = 2.0
MAX_PAUSE_SHARE = 0.5
MAX_EDGE_PAUSE_S = 1.0
REFUSED_CLIPPED_SHARE, ADVISED_CLIPPED_SHARE = 0.01, 0.0001
QUIET_DBFS, SILENT_DBFS = -40.0, -60.0
NOISY_DB, REFUSED_NOISY_DB = 24.0, 12.0
"""Loudest speech over background: about 6 dB more than the ratio of their mean powers."""
LOW_RATE = 16_000
CHARACTERS_PER_S = (2.0, 30.0)
"""Outside of this range the text can hardly be that of the recording, in any script."""

_LEVEL_MS = 20
_SILENCE_DB = -120.0
_MIN_ENVELOPE_CORRELATION = 0.2
_SIDE_CHANNEL_DB = 20.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a recording and its text are like.

    Attributes:
        clipped_share: Samples cut off at the loudest level, of all.
        pause_share: 20 ms pieces without speech, of all.
        leading_s, trailing_s: Pause before the first and after the last speech.
        speech_dbfs: Level of the speech.
        speech_over_background_db: Estimate; at least this much where the speaker never pauses.
        channels_differ: Two loud channels rise and fall independently.
        characters: Of the text, without white space.
    """

    duration_s: float
    sample_rate: int
    channels: int
    clipped_share: float
    pause_share: float
    leading_s: float
    trailing_s: float
    speech_dbfs: float
    speech_over_background_db: float
    channels_differ: bool
    characters: int

    @property
    def speech_s(self) -> float:
        return self.duration_s * (1.0 - self.pause_share)


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """What was measured, and what follows from it.

    Attributes:
        refusals: Why it cannot be used; empty = it can.
        advice: What would make the voice better.
    """

    measured: Measurements
    refusals: tuple[str, ...]
    advice: tuple[str, ...]


def check_reference(recording: Recording, text: str) -> ReferenceReport:
    """Measure a recording and say what speaks against it. Never raises for what the audio is like."""
    measured = measure(recording, text)
    return ReferenceReport(measured, tuple(_refusals(measured)), tuple(_advice(measured)))


def require_fit(recording: Recording, text: str) -> ReferenceReport:
    """The report of a recording that can be used. Raises ReferenceAudioError with every reason why not."""
    report = check_reference(recording, text)
    if report.refusals:
        raise ReferenceAudioError(recording.source, report.refusals)
    return report


def to_mono(samples: FloatSamples) -> FloatSamples:
    """The average of all channels, [num_samples]."""
    return np.asarray(samples.mean(axis=1), np.float32)


def to_codec_rate(recording: Recording, sample_rate: int) -> FloatSamples:
    """Mono at the codec's rate, [num_samples]; what the encoder takes."""
    mono = to_mono(recording.samples)
    if recording.sample_rate == sample_rate:
        return mono
    import soxr

    resampled = soxr.resample(mono, recording.sample_rate, sample_rate, quality="VHQ")
    return np.asarray(resampled, np.float32)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure(recording: Recording, text: str) -> Measurements:
    """The recording's figures; plain arithmetic over its levels."""
    levels = _levels_db(to_mono(recording.samples), recording.sample_rate)
    speech_db = float(np.percentile(levels, 95))
    background_db = float(np.percentile(levels, 5))
    speaks = levels > max(speech_db - 40.0, min(background_db + 6.0, speech_db - 6.0))
    lead, trail = _edges(speaks)
    return Measurements(
        duration_s=recording.duration_s,
        sample_rate=recording.sample_rate,
        channels=recording.samples.shape[1],
        clipped_share=max(_clipped_share(channel) for channel in recording.samples.T),
        pause_share=1.0 - float(speaks.mean()),
        leading_s=lead * _LEVEL_MS / 1000,
        trailing_s=trail * _LEVEL_MS / 1000,
        speech_dbfs=speech_db,
        speech_over_background_db=speech_db - background_db,
        channels_differ=_channels_differ(recording.samples, recording.sample_rate),
        characters=len("".join(text.split())),
    )


def _levels_db(mono: FloatSamples, sample_rate: int) -> npt.NDArray[np.float64]:
    """RMS of each 20 ms in dB of full scale; at least one, silence is -120."""
    size = max(1, sample_rate * _LEVEL_MS // 1000)
    whole = max(1, len(mono) // size)
    pieces = np.resize(mono, whole * size).reshape(whole, size).astype(np.float64)
    power = (pieces**2).mean(axis=1)
    levels: npt.NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 10.0 ** (_SILENCE_DB / 10)))
    return levels


def _edges(speaks: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Pieces before the first and after the last that speaks; all and none when none does."""
    where = np.flatnonzero(speaks)
    return (int(where[0]), len(speaks) - 1 - int(where[-1])) if len(where) else (len(speaks), 0)


def _clipped_share(channel: FloatSamples) -> float:
    """Samples in flat tops: at least three equal ones in a row at the loudest level, which is where a clipper cuts."""
    peak = float(np.abs(channel).max(initial=0.0))
    if peak < 0.1:
        return 0.0
    at_top = np.abs(channel) >= 0.999 * peak
    flat = at_top[1:] & at_top[:-1] & (np.abs(np.diff(channel)) < 1e-4)
    # A pair inside a longer run has a flat neighbour; two equal samples alone are an ordinary peak.
    neighbour = np.zeros_like(flat)
    neighbour[1:] |= flat[:-1]
    neighbour[:-1] |= flat[1:]
    return float((flat & neighbour).sum()) / max(1, len(channel))


def _channels_differ(samples: FloatSamples, sample_rate: int) -> bool:
    """Whether two loud channels rise and fall independently, as when each holds another person."""
    if samples.shape[1] < 2:
        return False
    levels = [_levels_db(channel, sample_rate) for channel in samples.T]
    loudest = max(float(np.percentile(level, 95)) for level in levels)
    loud = [level for level in levels if np.percentile(level, 95) > loudest - _SIDE_CHANNEL_DB]
    floor = loudest - 40.0
    first = np.maximum(loud[0], floor)
    for other in (np.maximum(level, floor) for level in loud[1:]):
        if first.std() > 0 and other.std() > 0 and np.corrcoef(first, other)[0, 1] < _MIN_ENVELOPE_CORRELATION:
            return True
    return False


# -- words ------------------------------------------------------------------------------------------------------------


def _refusals(measured: Measurements) -> list[str]:
    found = []
    if measured.duration_s < MIN_S:
        found.append(f"It is {measured.duration_s:.2f} s long; at least {MIN_S:.0f} s are needed, 10 to 30 s are best.")
    if measured.duration_s > MAX_S:
        found.append(f"It is {measured.duration_s:.0f} s long; at most {MAX_S:.0f} s are taken, 10 to 30 s are best.")
    if measured.characters == 0:
        found.append("Its text is empty; what is said in it, word for word, is needed.")
    if measured.speech_dbfs < SILENT_DBFS:
        return [*found, f"It is as good as silent ({measured.speech_dbfs:.0f} dBFS)."]
    if measured.duration_s >= MIN_S and measured.speech_s < MIN_SPEECH_S:
        found.append(f"Only {measured.speech_s:.1f} s of it is speech; at least {MIN_SPEECH_S:.0f} s are needed.")
    if measured.clipped_share > REFUSED_CLIPPED_SHARE:
        found.append(f"It is clipped ({measured.clipped_share:.1%} of the samples); record it again at a lower level.")
    if measured.speech_over_background_db < REFUSED_NOISY_DB:
        found.append(
            f"The voice stands only {measured.speech_over_background_db:.0f} dB over the background; "
            f"at least {REFUSED_NOISY_DB:.0f} dB are needed."
        )
    if measured.channels_differ:
        found.append("Its channels hold different sounds, perhaps one speaker each; give one channel only.")
    return found


def _advice(measured: Measurements) -> list[str]:
    found = []
    short = MIN_S <= measured.duration_s < ADVISED_S[0]
    if short or ADVISED_S[1] < measured.duration_s <= MAX_S:
        found.append(f"{measured.duration_s:.1f} s is usable; 10 to 30 s make a better voice.")
    if ADVISED_CLIPPED_SHARE < measured.clipped_share <= REFUSED_CLIPPED_SHARE:
        found.append(f"Some peaks are clipped ({measured.clipped_share:.2%} of the samples); a lower level is better.")
    if SILENT_DBFS <= measured.speech_dbfs < QUIET_DBFS:
        found.append(f"It is very quiet ({measured.speech_dbfs:.0f} dBFS); the voice will be too.")
    if measured.pause_share > MAX_PAUSE_SHARE and measured.speech_over_background_db >= NOISY_DB:
        found.append(f"{measured.pause_share:.0%} of it is pause; the voice will pause as much.")
    if max(measured.leading_s, measured.trailing_s) > MAX_EDGE_PAUSE_S:
        found.append(
            f"Cut the pause at its ends ({measured.leading_s:.1f} s before, {measured.trailing_s:.1f} s after)."
        )
    if REFUSED_NOISY_DB <= measured.speech_over_background_db < NOISY_DB:
        found.append(
            f"The voice stands about {measured.speech_over_background_db:.0f} dB over the background; "
            f"{NOISY_DB:.0f} dB or more sound clean. The background becomes part of the voice."
        )
    if measured.sample_rate < LOW_RATE:
        found.append(f"It was recorded at {measured.sample_rate} Hz; the voice will sound as dull as a phone.")
    if measured.speech_s > 0 and measured.characters:
        pace = measured.characters / measured.speech_s
        if not CHARACTERS_PER_S[0] <= pace <= CHARACTERS_PER_S[1]:
            found.append(f"{pace:.1f} characters a second is unlikely; the text must be what is said, word for word.")
    return found
