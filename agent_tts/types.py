"""Values that cross the public API: no behaviour, no tensors, nothing imported from the rest of the package."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Mono audio, int16, shape [num_samples]."""


class FinishReason(Enum):
    """Why an utterance ended."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    LENGTH = "length"
    """The limit of frames for one utterance was reached before the model stopped."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What one request wants from the sampler. Defaults of None mean: as the checkpoint recommends.

    Attributes:
        seed: Seed of the noise. The same text, voice and seed give the same codes, whatever else runs.
        temperature, top_p, top_k: For the semantic code (Slow AR).
        fast_temperature, fast_top_p: For the residual codes (Fast AR).
    """

    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    fast_temperature: float | None = None
    fast_top_p: float | None = None


@dataclass(frozen=True, slots=True)
class WordTime:
    """One spoken word: where it stands in the pushed text and when it sounds.

    Attributes:
        text: The word as it was pushed, with its punctuation.
        text_start, text_end: Character positions in all text pushed so far.
        start_ms, end_ms: Media time within the utterance.
    """

    text: str
    text_start: int
    text_end: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """20 ms of speech as handed to a caller.

    Attributes:
        utterance_id: The utterance it belongs to.
        voice_id: The voice that speaks.
        pcm: int16 mono, always exactly 20 ms; the array is the caller's to keep.
        sample_rate: Hz.
        index: 0, 1, 2, ... within the utterance.
        start_ms: Media time of the first sample within the utterance.
        text_end: Number of characters of the pushed text that are spoken when this chunk has been played.
        num_samples: How many samples of `pcm` are speech; fewer than its length only in the last chunk.
        is_final: True for the last chunk of the utterance.
        words: Words whose end became known with this chunk; each word stands in exactly one chunk.
    """

    utterance_id: str
    voice_id: str
    pcm: Pcm
    sample_rate: int
    index: int
    start_ms: float
    text_end: int
    num_samples: int
    is_final: bool
    words: tuple[WordTime, ...] = ()


@dataclass(frozen=True, slots=True)
class TtsMetrics:
    """Timings and counts of one utterance, also of an aborted one. Times in milliseconds; None = did not happen.

    Attributes:
        ttfa_first_frame_ms: First text pushed -> first codec frame decoded in the engine.
        ttfa_playable_ms: First text pushed -> first 20 ms chunk available to the caller.
        ttfa_audible_ms: ttfa_playable_ms + the silence in front of the first audible sample.
        rtf: Compute time spent on this utterance / audio generated. A step's time is shared evenly by its requests.
        generated_audio_ms: Audio the engine computed.
        delivered_audio_ms: Audio handed to the caller.
        cancellation_latency_ms: abort() called -> pages, slot and codec state released.
        engine_cancellation_ms: The same, as the engine's own process measured it; None when it is this process.
        frames_wasted: Codec frames computed and never delivered.
        prompt_tokens, cached_tokens: Positions that a context begins with (voice, turns that are kept, new text), and
            those of them taken from the prefix cache. Text appended to a live context counts in neither.
        underruns: Times the (assumed) player needed a sample that did not exist yet.
        chunk_gap_p50_ms, chunk_gap_p95_ms, chunk_gap_max_ms: Time between chunks becoming available.
        characters: Of the text that was pushed.
        queue_ms: The first text that can be spoken reached the engine -> its first step began: what other utterances,
            a full batch and the step in flight cost. Text that was not yet enough to speak is not counted.
    """

    utterance_id: str
    voice_id: str
    finish_reason: FinishReason
    ttfa_first_frame_ms: float | None
    ttfa_playable_ms: float | None
    ttfa_audible_ms: float | None
    rtf: float | None
    generated_audio_ms: float
    delivered_audio_ms: float
    cancellation_latency_ms: float | None
    frames_wasted: int
    prompt_tokens: int
    cached_tokens: int
    underruns: int
    chunk_gap_p50_ms: float | None
    chunk_gap_p95_ms: float | None
    chunk_gap_max_ms: float | None
    characters: int = 0
    engine_cancellation_ms: float | None = None
    queue_ms: float | None = None


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine at this moment. Counts since it was loaded, except for what is open, running, waiting and free."""

    open: int
    running: int
    waiting: int
    free_slots: int
    total_slots: int
    free_pages: int
    cached_pages: int
    total_pages: int
    steps: int
    frames: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    evicted_tokens: int
    pinned_pages: int = 0
    """Of the cached and held ones: KV of voices that is never evicted."""

    @property
    def hit_rate(self) -> float:
        """Prompt tokens taken from the prefix cache, of all prompt tokens; 0 when there were none."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0
