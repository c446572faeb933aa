"""When things happened to one utterance, and what follows from it: its TtsMetrics. Knows clocks, no audio."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_tts.metrics import percentile
from agent_tts.types import FinishReason, TtsMetrics


@dataclass(slots=True)
class UtteranceTiming:
    """Moments (seconds of the engine's clock) and sums of one utterance. None = has not happened."""

    first_text_s: float | None = None
    ready_s: float | None = None
    """The text with which the first step became possible was handed over."""
    first_step_s: float | None = None
    first_frame_s: float | None = None
    first_chunk_s: float | None = None
    last_chunk_s: float | None = None
    abort_s: float | None = None
    released_s: float | None = None
    leading_silence_ms: float | None = None
    chunk_gaps_ms: list[float] = field(default_factory=list)
    underruns: int = 0

    def text_pushed(self, now_s: float) -> None:
        if self.first_text_s is None:
            self.first_text_s = now_s

    def step_possible(self, since_s: float) -> None:
        if self.ready_s is None:
            self.ready_s = since_s

    def step_begun(self, now_s: float) -> None:
        if self.first_step_s is None:
            self.first_step_s = now_s

    def frame_decoded(self, now_s: float) -> None:
        if self.first_frame_s is None:
            self.first_frame_s = now_s

    def chunk_available(self, now_s: float) -> None:
        if self.first_chunk_s is None:
            self.first_chunk_s = now_s
        if self.last_chunk_s is not None:
            self.chunk_gaps_ms.append(1000 * (now_s - self.last_chunk_s))
        self.last_chunk_s = now_s

    def since_text_ms(self, moment_s: float | None) -> float | None:
        if moment_s is None or self.first_text_s is None:
            return None
        return 1000 * (moment_s - self.first_text_s)

    def queue_ms(self) -> float | None:
        """How long the engine had other things to do before it began with this utterance."""
        if self.ready_s is None or self.first_step_s is None:
            return None
        return 1000 * (self.first_step_s - self.ready_s)

    def cancellation_latency_ms(self) -> float | None:
        if self.abort_s is None or self.released_s is None:
            return None
        return max(0.0, 1000 * (self.released_s - self.abort_s))  # it may have been released before the abort came


@dataclass(frozen=True, slots=True)
class UtteranceCounts:
    """What was computed and handed over for one utterance."""

    generated_ms: float
    delivered_ms: float
    frame_ms: float
    compute_s: float
    prompt_tokens: int
    cached_tokens: int
    characters: int


def summarise(
    utterance_id: str, voice_id: str, reason: FinishReason, timing: UtteranceTiming, counts: UtteranceCounts
) -> TtsMetrics:
    """The public metrics of an utterance that has ended."""
    playable = timing.since_text_ms(timing.first_chunk_s)
    audible = None
    if playable is not None and timing.leading_silence_ms is not None:
        audible = playable + timing.leading_silence_ms
    wasted_ms = max(0.0, counts.generated_ms - counts.delivered_ms)
    return TtsMetrics(
        utterance_id=utterance_id,
        voice_id=voice_id,
        finish_reason=reason,
        ttfa_first_frame_ms=timing.since_text_ms(timing.first_frame_s),
        ttfa_playable_ms=playable,
        ttfa_audible_ms=audible,
        rtf=1000 * counts.compute_s / counts.generated_ms if counts.generated_ms else None,
        generated_audio_ms=counts.generated_ms,
        delivered_audio_ms=counts.delivered_ms,
        cancellation_latency_ms=timing.cancellation_latency_ms(),
        frames_wasted=int(wasted_ms // counts.frame_ms),
        prompt_tokens=counts.prompt_tokens,
        cached_tokens=counts.cached_tokens,
        underruns=timing.underruns,
        chunk_gap_p50_ms=percentile(timing.chunk_gaps_ms, 0.50),
        chunk_gap_p95_ms=percentile(timing.chunk_gaps_ms, 0.95),
        chunk_gap_max_ms=max(timing.chunk_gaps_ms, default=None),
        characters=counts.characters,
        queue_ms=timing.queue_ms(),
    )
