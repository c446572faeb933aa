"""A recording as it lies on disk: samples of every channel, rate, hash. Reads whole files; judges nothing."""

from __future__ import annotations

import hashlib
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent_tts.errors import ReferenceAudioError

MAX_BYTES = 200 * 2**20
"""A minute of 8 channels in 32 bits at 96 kHz fits; anything longer is refused anyway."""
MAX_WIDTH = 4
"""Bytes of one sample."""

FloatSamples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A file's audio.

    Attributes:
        source: The path, for messages.
        samples: -1..1, shape [num_samples, channels].
        sha256: Of the file, byte for byte.
    """

    source: str
    samples: FloatSamples
    sample_rate: int
    sha256: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def read_recording(path: str | Path) -> Recording:
    """Read a whole file: PCM WAV by ourselves, every other format through soundfile where it is installed.

    Raises:
        ReferenceAudioError: It cannot be read as audio; says what is needed.
    """
    source = str(path)
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise ReferenceAudioError(source, [f"It has {size} bytes; at most {MAX_BYTES} are read."])
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReferenceAudioError(source, [f"It cannot be read: {error.strerror}."]) from error
    samples, sample_rate = _decode(data, source)
    if not samples.size:
        raise ReferenceAudioError(source, ["It holds no samples."])
    if not np.isfinite(samples).all():
        raise ReferenceAudioError(source, ["It holds samples that are no numbers."])
    return Recording(source, samples, sample_rate, hashlib.sha256(data).hexdigest())


def _decode(data: bytes, source: str) -> tuple[FloatSamples, int]:
    try:
        with wave.open(io.BytesIO(data), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            if width <= MAX_WIDTH:
                return _pcm(file.readframes(file.getnframes()), width, channels), rate
    except (wave.Error, EOFError):
        pass  # a format that is not plain PCM
    return _decode_other(data, source)


def _pcm(data: bytes, width: int, channels: int) -> FloatSamples:
    """Little-endian PCM of 8 (unsigned), 16, 24 or 32 bits -> [num_samples, channels]."""
    data = data[: len(data) // (width * channels) * width * channels]
    if width == 1:
        values = np.frombuffer(data, np.uint8).astype(np.float32) - 128.0
    elif width == 3:
        triples = np.frombuffer(data, np.uint8).reshape(-1, 3)
        words = np.zeros((len(triples), 4), np.uint8)
        words[:, 1:] = triples
        values = (words.view("<i4")[:, 0] >> 8).astype(np.float32)
    else:
        values = np.frombuffer(data, f"<i{width}").astype(np.float32)
    return (values / float(1 << (8 * width - 1))).reshape(-1, channels)


def _decode_other(data: bytes, source: str) -> tuple[FloatSamples, int]:
    try:
        import soundfile
    except ImportError as error:
        raise ReferenceAudioError(
            source, ["It is not a plain PCM WAV file. Convert it to one, or: pip install soundfile"]
        ) from error
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ReferenceAudioError(source, [f"It cannot be read as audio ({type(error).__name__})."]) from error
    return np.asarray(samples, np.float32), int(rate)
