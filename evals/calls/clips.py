"""What the caller says or does: clips at 16 kHz, made here from a seed, so that a run needs no recordings.

Speech comes from hibari, in several VOICES; `voiced` is a buzz with the envelope of syllables that needs nothing.
Recordings (WAV) can take the place of made speech. Levels are RMS of the audible part, dBFS.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.metrics.audio import audible_spans, level_db
from evals.peers.base import PeerUnavailableError
from evals.peers.wav_stream import PcmStream

RATE = 16_000
Wave = npt.NDArray[np.float32]


def clip(kind: str, *, seed: int = 0, level_db: float | None = None, ms: float | None = None) -> Wave:
    """A clip by its name: "say:TEXT", "say@VOICE:TEXT", "file:PATH", or one of SOUNDS.

    Args:
        level_db: RMS of its audible part; None = as made (-23 dBFS).
        ms: Cut or make it so long; None = as long as it is.
    """
    name, _, rest = kind.partition(":")
    name, _, voice = name.partition("@")
    if name == "say":
        made = speech(rest, voice or "middle")
    elif name == "file":
        made = recording(Path(rest))
    elif name in SOUNDS:
        made = SOUNDS[name](np.random.default_rng(seed), ms or 1_000.0)
    else:
        raise ValueError(f"clip {kind!r}; allowed: say:TEXT, file:PATH, {', '.join(sorted(SOUNDS))}")
    if ms is not None:
        made = made[: round(ms * RATE / 1000)]
    return at_level(made, -23.0 if level_db is None else level_db)


def at_level(samples: Wave, target_db: float) -> Wave:
    """The same clip with its audible part at a level; never clipped."""
    spans = audible_spans(samples / max(1e-9, float(np.abs(samples).max(initial=0.0))), RATE)
    loud = samples  # clicks are too short to be a run
    if spans:
        loud = samples[int(spans[0].start_ms * RATE / 1000) : int(spans[-1].end_ms * RATE / 1000)]
    if not loud.any():
        return samples
    scaled = samples * 10 ** ((target_db - level_db(loud)) / 20)
    return np.asarray(np.clip(scaled, -0.99, 0.99), np.float32)


@dataclass(frozen=True, slots=True)
class Speaker:
    """One of the callers: hibari's voice, played faster or slower.

    Attributes:
        size: Pitch and formants relative to hibari's: below 1 a larger person.
        pace: Words per time relative to hibari's.
        kokoro: A voice of Kokoro instead, where its packages are installed.
    """

    size: float = 1.0
    pace: float = 1.0
    kokoro: str = ""


VOICES = {
    "middle": Speaker(),
    "low": Speaker(0.8),
    "deep": Speaker(0.72, 0.95),
    "high": Speaker(1.18, 1.05),
    "slow": Speaker(0.92, 0.82),
    "fast": Speaker(1.06, 1.25),
    **{name: Speaker(kokoro=name) for name in ("am_fenrir", "am_michael", "af_bella", "bf_emma", "bm_george")},
    **{name: Speaker(kokoro=name) for name in ("am_adam", "am_liam", "af_sarah", "bf_isabella", "bm_lewis")},
}


@cache
def speech(text: str, voice: str = "middle") -> Wave:
    """A person saying `text`."""
    import soxr

    if voice not in VOICES:
        raise ValueError(f"voice {voice!r}; allowed: {', '.join(VOICES)}")
    speaker = VOICES[voice]
    if speaker.kokoro:
        peer = _kokoro()
        samples, rate = peer.speak(text, speaker.kokoro).astype(np.float32) / 32767, float(peer.sample_rate)
    else:
        hibari = _voice()
        samples = np.asarray(hibari(text, speed=speaker.pace / speaker.size, seed=0), np.float32)
        rate = hibari.sample_rate * speaker.size
    return np.asarray(soxr.resample(samples, rate, RATE), np.float32)


def passage(sample_rate: int) -> Wave:
    """Half a minute of made speech at -20 dBFS: an agent that talks and talks."""
    import soxr

    text = (
        "The train to the coast leaves at half past nine from platform four, and it stops twice on the way. "
        "If you would rather go by bus, there is one every hour, which takes a little longer but costs less. "
        "I can book either of them for you now, with a seat at the window, and send the ticket to your phone. "
        "Please remember that dogs are welcome on the train, but they need a ticket of their own in the summer."
    )
    made = at_level(speech(text), -20.0)
    return np.asarray(soxr.resample(made, RATE, sample_rate), np.float32)


def recording(path: Path) -> Wave:
    """A mono 16-bit WAV at any rate."""
    import soxr

    stream = PcmStream()
    samples = stream.push(path.read_bytes()).astype(np.float32) / 32767
    if stream.sample_rate is None:
        raise ValueError(f"{path.name} is no WAV; allowed: 16-bit PCM mono")
    return np.asarray(soxr.resample(samples, stream.sample_rate, RATE), np.float32)


def save(path: Path, samples: npt.NDArray[np.int16], sample_rate: int, *, channels: int = 1) -> None:
    """Write 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())


@cache
def _voice() -> Any:
    try:
        from hibari import Hibari
    except ImportError as error:
        raise PeerUnavailableError("made speech needs hibari: pip install hibari-tts, or --clips voiced") from error
    return Hibari(threads=1)


@cache
def _kokoro() -> Any:
    from evals.peers.kokoro import KokoroPeer

    peer = KokoroPeer()
    peer.load()
    return peer


# ---------------------------------------------------------------------------------------------------------------------
# Sounds


def _voiced(rng: np.random.Generator, ms: float) -> Wave:
    """A buzz at a speaker's pitch with four syllables a second; begins at once."""
    times = np.arange(round(ms * RATE / 1000)) / RATE
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * times))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = np.sum([np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12)], axis=0)
    return np.asarray(buzz * (0.6 + 0.4 * np.cos(2 * np.pi * 4 * times)), np.float32)


def _cough(rng: np.random.Generator, ms: float) -> Wave:
    """Two bursts of noise, 120 and 200 ms, sharp at the front."""
    length = round(max(ms, 500.0) * RATE / 1000)
    made = np.zeros(length, np.float32)
    for start_ms, burst_ms, loud in ((0, 120, 1.0), (260, 200, 0.7)):
        size = round(burst_ms * RATE / 1000)
        burst = _low_pass(rng.normal(size=size), 0.35) * np.exp(-np.linspace(0, 5, size)) * loud
        start = round(start_ms * RATE / 1000)
        made[start : start + size] += burst[: length - start].astype(np.float32)
    return made


def _hack(rng: np.random.Generator, ms: float) -> Wave:
    """A chesty cough: a burst, then a voiced tail that falls, as most people's coughs have; once to three times."""
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        burst_ms, tail_ms = rng.uniform(40, 90), rng.uniform(60, 180)
        size, tail = round(burst_ms * RATE / 1000), round(tail_ms * RATE / 1000)
        burst = _low_pass(rng.normal(size=size), 0.5) * np.exp(-np.linspace(0, 2, size))
        pitch = rng.uniform(110, 320) * np.linspace(1, 0.7, tail)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        voiced = np.sum([np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9)], axis=0)
        noisy = (0.5 * voiced + 0.5 * _low_pass(rng.normal(size=tail), 0.4)) * np.exp(-np.linspace(0, 4, tail))
        parts += [burst, noisy, np.zeros(round(rng.uniform(120, 350) * RATE / 1000))]
    return np.concatenate(parts).astype(np.float32)


def _throat(rng: np.random.Generator, ms: float) -> Wave:
    """Clearing one's throat: a creak of slow pulses through a low resonance, 300 to 500 ms."""
    made = np.zeros(round(rng.uniform(300, 500) * RATE / 1000), np.float32)
    pulse = np.exp(-np.arange(160) / 30) * np.sin(2 * np.pi * rng.uniform(400, 900) * np.arange(160) / RATE)
    at = 0.0
    while at < len(made) - 160:
        made[int(at) : int(at) + 160] += (pulse * rng.uniform(0.5, 1)).astype(np.float32)
        at += RATE / rng.uniform(35, 70)
    return made + (0.1 * _low_pass(rng.normal(size=len(made)), 0.3)).astype(np.float32)


def _plucks(rng: np.random.Generator, ms: float) -> Wave:
    """Plucked strings or a ringing phone: 40 a minute."""
    return _scattered(rng, ms, 1_500.0, _pluck)


def _pluck(rng: np.random.Generator) -> Wave:
    times, pitch = np.arange(RATE) / RATE, rng.uniform(80, 600)
    tones = [np.sin(2 * np.pi * pitch * h * times) / h * np.exp(-times * (3 + h)) for h in range(1, 9)]
    return np.sum(tones, axis=0).astype(np.float32)


def _knocks(rng: np.random.Generator, ms: float) -> Wave:
    """A door, a cup, a step: 30 a minute."""
    return _scattered(rng, ms, 2_000.0, _knock)


def _knock(rng: np.random.Generator) -> Wave:
    times = np.arange(RATE * 3 // 10) / RATE
    body = 2 * np.sin(2 * np.pi * rng.uniform(80, 200) * times) * np.exp(-times * 25)
    return (body + np.exp(-times * 40) * rng.normal(size=len(times))).astype(np.float32)


def _breaths(rng: np.random.Generator, ms: float) -> Wave:
    """Someone breathes into the microphone: 20 a minute."""
    return _scattered(rng, ms, 3_000.0, lambda dice: _breath(dice, dice.uniform(500, 1_200)))


def _scattered(
    rng: np.random.Generator, ms: float, every_ms: float, one: Callable[[np.random.Generator], Wave]
) -> Wave:
    """The same kind of sound again and again, all as loud at their peak."""
    made = np.zeros(round(ms * RATE / 1000), np.float32)
    for start_ms in np.arange(0.0, ms, every_ms):
        start, sound = round((start_ms + rng.uniform(0, 0.4) * every_ms) * RATE / 1000), one(rng)
        room = made[start : start + len(sound)]
        room += (sound / np.abs(sound).max())[: len(room)]
    return made


def _white(rng: np.random.Generator, ms: float) -> Wave:
    return rng.normal(size=round(ms * RATE / 1000)).astype(np.float32)


def _pink(rng: np.random.Generator, ms: float) -> Wave:
    spectrum = np.fft.rfft(rng.normal(size=round(ms * RATE / 1000)))
    shaped = spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return np.fft.irfft(shaped).astype(np.float32)


def _hum(rng: np.random.Generator, ms: float) -> Wave:
    times = np.arange(round(ms * RATE / 1000)) / RATE
    tones = [np.sin(2 * np.pi * 50 * h * times + rng.uniform(0, 6)) / h for h in (1, 2, 3, 5)]
    return np.sum(tones, axis=0).astype(np.float32)


def _clicks(rng: np.random.Generator, ms: float) -> Wave:
    """Keys: eight a second, 4 ms each."""
    made = np.zeros(round(ms * RATE / 1000), np.float32)
    for start in range(0, len(made), RATE // 8):
        size = min(64, len(made) - start)
        made[start : start + size] = rng.normal(size=size) * np.exp(-np.linspace(0, 4, size))
    return made


def _breath(rng: np.random.Generator, ms: float) -> Wave:
    """Soft noise that swells and falls."""
    size = round(ms * RATE / 1000)
    return (_low_pass(rng.normal(size=size), 0.15) * np.sin(np.linspace(0, np.pi, size)) ** 2).astype(np.float32)


def _low_pass(samples: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(samples)
    spectrum[int(len(spectrum) * share) :] = 0
    return np.fft.irfft(spectrum, len(samples))


SOUNDS: dict[str, Callable[[np.random.Generator, float], Wave]] = {
    "voiced": _voiced,
    "cough": _cough,
    "hack": _hack,
    "throat": _throat,
    "white": _white,
    "pink": _pink,
    "hum": _hum,
    "clicks": _clicks,
    "breath": _breath,
    "breaths": _breaths,
    "plucks": _plucks,
    "knocks": _knocks,
}
