"""The teacher: hibari's acoustic model with its durations and F0 as labels; knows nothing of files.

Its graph computes integer durations in steps of 600 samples; they are made one more output of the
graph. Silence at both ends is cut, so that speech begins within a frame of the first sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLE_RATE = 24_000
FRAME_SAMPLES = 960
F0_HOP = 240
"""Samples between two F0 labels of ours (the teacher's own are 300 apart)."""
DURATIONS_TENSOR = "/Clip_output_0"
DURATION_SAMPLES = 600
TEACHER_F0_HOP = 300
GAIN = 1.6
"""The teacher peaks near .35 of full scale; speech for a call should be louder."""
AUDIBLE = 0.006
"""Amplitude, before the gain, from which a sample counts as speech when silence is cut."""
LEAD_SAMPLES = 360
TAIL_SAMPLES = 1_920
MAX_PHONEMES = 400


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken sentence with its labels."""

    text: str
    ids: NDArray[np.uint8]  # [tokens], first the start token 0, no end token
    ends: NDArray[np.int32]  # [tokens], sample at which each token ends
    audio: NDArray[np.int16]  # [frames * FRAME_SAMPLES]
    f0: NDArray[np.float16]  # [frames * FRAME_SAMPLES / F0_HOP], 0 = unvoiced


class Teacher:
    """Speaks single sentences and says when each phoneme ends."""

    def __init__(self, threads: int = 1) -> None:
        import onnx
        import onnxruntime
        from hibari import Hibari

        self._hibari = Hibari(threads=threads)
        graph: Any = onnx.load(self._hibari.model_path)
        graph.graph.output.append(onnx.helper.make_tensor_value_info(DURATIONS_TENSOR, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph.SerializeToString(), options)

    def phonemes(self, text: str) -> str:
        """The sentence in the teacher's phoneme alphabet; the first sentence only, if there are several."""
        parts = self._hibari.phonemize(text)
        return parts[0] if len(parts) == 1 else ""

    def ids(self, phonemes: str) -> list[int]:
        """Start token and phoneme ids, without the end token."""
        return self._hibari.ids(phonemes)[:-1]

    def speak(self, text: str, rng: np.random.Generator) -> Utterance | None:
        """One sentence; None when the teacher has nothing to say or says it without voice."""
        ids = self.ids(self.phonemes(text))
        if not 2 < len(ids) <= MAX_PHONEMES:
            return None
        wave, durations, f0 = self._synthesise(ids, rng)
        audible = np.flatnonzero(np.abs(wave) > AUDIBLE)
        if audible.size == 0:
            return None
        begin = max(0, int(audible[0]) - LEAD_SAMPLES)
        frames = -(-(int(audible[-1]) + TAIL_SAMPLES - begin) // FRAME_SAMPLES)
        length = frames * FRAME_SAMPLES
        ends = np.cumsum(durations[: len(ids)]) * DURATION_SAMPLES - begin
        cut = np.zeros(length, np.float32)
        piece = wave[begin : begin + length]
        cut[: len(piece)] = piece
        return Utterance(
            text=text,
            ids=np.asarray(ids, np.uint8),
            ends=np.clip(ends, 0, length).astype(np.int32),
            audio=(np.clip(cut * GAIN, -1.0, 1.0) * 32767).astype(np.int16),
            f0=_resample_f0(f0, begin, length),
        )

    def _synthesise(self, ids: list[int], rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], Floats]:
        from hibari import dsp

        feeds = {"ids": np.asarray([[*ids, 0]], np.int64), "speed": np.ones(1, np.float32)}
        *spectra, durations = self._session.run(None, feeds)
        wave = dsp.synth(*(part[0] for part in spectra), rng)
        assert int(durations.sum()) * DURATION_SAMPLES == len(wave), "the teacher's durations no longer fit its audio"
        return wave, durations.astype(np.int64), spectra[-1][0]


def _resample_f0(f0: Floats, begin: int, length: int) -> NDArray[np.float16]:
    """The teacher's F0 at the centres of our hops; a voiced/unvoiced edge is never interpolated."""
    centres = begin + np.arange(length // F0_HOP) * F0_HOP + F0_HOP / 2
    position = np.clip(centres / TEACHER_F0_HOP - 0.5, 0, len(f0) - 1)
    left, right = np.floor(position).astype(int), np.ceil(position).astype(int)
    nearest = np.round(position).astype(int)
    blend = f0[left] + (f0[right] - f0[left]) * (position - left)
    both = (f0[left] > 40) & (f0[right] > 40)
    out = np.where(both, blend, f0[nearest])
    return np.where((out > 40) & (centres < len(f0) * TEACHER_F0_HOP), out, 0).astype(np.float16)
