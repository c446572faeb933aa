"""16-bit mono WAV files: written as the samples come, read at once."""

from __future__ import annotations

import wave
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from agent_tts.errors import AgentTTSError
from agent_tts.types import Pcm


class AudioFileError(AgentTTSError):
    """A file that cannot be read or written as 16-bit audio."""


class WavWriter:
    """Writes samples to a file as they come; the header is completed by close()."""

    def __init__(self, path: str | Path, sample_rate: int) -> None:
        """Create the file. Raises AudioFileError when that is not possible."""
        self.num_samples = 0
        self.sample_rate = sample_rate
        try:
            self._bytes = open(path, "wb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise AudioFileError(f"Cannot write {str(path)!r}: {error.strerror}.") from error
        self._file = wave.open(self._bytes, "wb")  # noqa: SIM115
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(sample_rate)

    def write(self, pcm: Pcm) -> None:
        """Append samples."""
        self._file.writeframesraw(pcm.astype("<i2").tobytes())
        self.num_samples += len(pcm)

    def close(self) -> None:
        """Complete the header. Harmless when repeated."""
        self._file.close()
        self._bytes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_wav(path: str | Path) -> tuple[Pcm, int]:
    """All samples of a 16-bit file and its rate; several channels are averaged. Raises AudioFileError."""
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except OSError as error:
        raise AudioFileError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    except (wave.Error, EOFError) as error:
        raise AudioFileError(f"{str(path)!r} is not a WAV file: {error or 'it is cut short'}.") from error
    if width != 2:
        raise AudioFileError(f"{str(path)!r} has {8 * width} bits per sample; 16 are needed.")
    samples = np.frombuffer(data, "<i2").astype(np.int16)
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1).round().astype(np.int16)
    return samples, rate
