"""Gates of the bundled voice on sentences it never saw: word errors, sure stop, first audible sample, speed.

Definitions. WER: agent_tts.training.judge over all sentences together. No-stop: the pointer did not
reach the end within six frames per token. Length: frames of ours / frames of the teacher (silence cut).
Audible: first sample above AUDIBLE_LEVEL of full scale, counted from the first decoded sample, pre-roll
included. RTF: one thread, one sentence at a time, codes and decoding, without G2P.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from agent_tts.audio.pcm import AUDIBLE_LEVEL
from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.training.codec import CodecSettings
from agent_tts.training.codes import encode_signal, load_codec
from agent_tts.training.judge import Judge, Verdict
from agent_tts.training.synthesis import Spoken, decode, speak
from agent_tts.training.teacher import FRAME_SAMPLES, SAMPLE_RATE, Teacher, Utterance

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over sentences spoken alone, one thread."""

    rtf: float
    first_chunk_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the model card quotes."""

    verdict: Verdict
    not_stopped: int
    length_ratio: float
    odd_lengths: int
    audible_ms_p50: float
    audible_ms_max: float


def read_sentences(path: Path, count: int | None = None) -> list[str]:
    """Sentences of an evaluation list; the first `count`, spread evenly over the list."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if count is None or count >= len(lines):
        return lines
    return [lines[i * len(lines) // count] for i in range(count)]


def evaluate_model(
    model: AlignedDualAR, decoder: SourceFilterDecoder, sentences: Sequence[str], judge: Judge, seed: int = 0
) -> Report:
    """Speak every sentence once and measure."""
    teacher = Teacher()
    texts = [teacher.ids(teacher.phonemes(text)) for text in sentences]
    spoken = speak(model, decoder, texts, seed)
    verdict = judge.compare(sentences, [judge.hear(s.audio, SAMPLE_RATE) for s in spoken])
    taught = [_teach(teacher, text) for text in sentences]
    ratios = np.array([s.codes.shape[1] * FRAME_SAMPLES / len(t.audio) for s, t in zip(spoken, taught, strict=True)])
    audible = np.array([_audible_ms(s, decoder.delay_samples) for s in spoken])
    return Report(
        verdict=verdict,
        not_stopped=sum(not s.stopped for s in spoken),
        length_ratio=float(ratios.mean()),
        odd_lengths=int(((ratios < 0.8) | (ratios > 1.25)).sum()),
        audible_ms_p50=float(np.median(audible)),
        audible_ms_max=float(audible.max()),
    )


def evaluate_teacher(sentences: Sequence[str], judge: Judge) -> Verdict:
    """The same sentences by the teacher."""
    teacher = Teacher()
    return judge.compare(sentences, [judge.hear(_float(_teach(teacher, text)), SAMPLE_RATE) for text in sentences])


def evaluate_codec(
    work: Path, settings: CodecSettings, decoder: SourceFilterDecoder, sentences: Sequence[str], judge: Judge
) -> Verdict:
    """The teacher's audio through encoder, quantizer and decoder."""
    teacher, codec = Teacher(), load_codec(work, settings)
    heard = []
    for text in sentences:
        codes = torch.from_numpy(encode_signal(codec, _teach(teacher, text).audio)).T
        heard.append(judge.hear(decode(decoder, codes), SAMPLE_RATE))
    return judge.compare(sentences, heard)


def measure_speed(model: AlignedDualAR, decoder: SourceFilterDecoder, sentences: Sequence[str]) -> Speed:
    """Speak sentences alone on one thread."""
    torch.set_num_threads(1)
    teacher, rtfs, firsts = Teacher(), [], []
    for text in sentences:
        ids = teacher.ids(teacher.phonemes(text))
        started = time.perf_counter()
        spoken = speak(model, decoder, [ids])[0]
        rtfs.append((time.perf_counter() - started) / (spoken.codes.shape[1] * FRAME_SAMPLES / SAMPLE_RATE))
        started = time.perf_counter()
        decoder.step(spoken.codes[None, :, :1], decoder.init_state(1))
        first_frame = rtfs[-1] * FRAME_SAMPLES / SAMPLE_RATE
        firsts.append(1000 * (first_frame + time.perf_counter() - started))
    return Speed(float(np.median(rtfs)), float(np.median(firsts)))


def _teach(teacher: Teacher, text: str) -> Utterance:
    utterance = teacher.speak(text, np.random.default_rng(0))
    assert utterance is not None, f"the teacher cannot say {text!r}"
    return utterance


def _float(utterance: Utterance) -> np.ndarray:
    return utterance.audio.astype(np.float32) / 32768.0


def _audible_ms(spoken: Spoken, delay_samples: int) -> float:
    loud = np.flatnonzero(np.abs(spoken.audio) > AUDIBLE_LEVEL)
    first = int(loud[0]) if loud.size else len(spoken.audio)
    return 1000 * (first + delay_samples) / SAMPLE_RATE
