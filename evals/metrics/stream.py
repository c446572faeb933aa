"""Latency of one reply from the times at which its text went in and its audio came out. Pure functions of a record.

The clock of all TTFA names starts at the first text pushed; `planned` names start at the planned arrival. The player
behind every stall figure starts when 20 ms have arrived, plays in real time, stands still when it runs dry and goes on
as soon as a sample exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from evals.metrics.audio import Samples, onset_ms
from evals.metrics.stats import nearest_rank

PLAYABLE_MS = 20.0
EPSILON_MS = 1e-3


@dataclass(frozen=True, slots=True)
class Arrival:
    """A portion of audio that reached the client."""

    at_s: float
    num_samples: int


@dataclass(frozen=True, slots=True)
class ReplyRecord:
    """Everything that was observed of one reply. Moments are seconds of one monotonic clock.

    Attributes:
        planned_s: When the load plan wanted it to start; equal to started_s in a closed loop.
        started_s: When the runner began it.
        engine: What the peer itself says about it (ttfa_first_frame_ms, rtf_compute, queue_ms, ...).
        error: Class of the error that ended it; None when it ended well.
    """

    text: str
    sample_rate: int
    planned_s: float
    started_s: float
    first_text_s: float
    last_text_s: float
    arrivals: tuple[Arrival, ...]
    pcm: Samples
    error: str | None = None
    load: str = ""
    seed: int = 0
    voice: str = "default"
    engine: dict[str, float | int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        moments = [self.started_s, self.first_text_s, *(arrival.at_s for arrival in self.arrivals)]
        moments_in_order = all(later >= earlier for earlier, later in pairwise(moments))
        if not moments_in_order or not self.last_text_s >= self.first_text_s:
            raise ValueError("moments out of order: this cannot have happened, so the measurement is wrong")

    @property
    def audio_ms(self) -> float:
        return 1000 * sum(arrival.num_samples for arrival in self.arrivals) / self.sample_rate


@dataclass(frozen=True, slots=True)
class Stall:
    """The player stood still: from which media time, and for how long."""

    media_ms: float
    length_ms: float


@dataclass(frozen=True, slots=True)
class ReplyLatency:
    """The figures of one reply; None = did not happen, or the peer cannot tell."""

    dispatch_late_ms: float
    ttfa_first_frame_ms: float | None
    ttfa_first_byte_ms: float | None
    ttfa_playable_ms: float | None
    ttfa_audible_ms: float | None
    ttfa_planned_ms: float | None
    leading_silence_ms: float | None
    text_lag_ms: float | None
    e2e_ms: float | None
    connect_ms: float | None
    gap_p50_ms: float | None
    gap_p95_ms: float | None
    gap_max_ms: float | None
    queue_ms: float | None
    rtf_wall: float | None
    rtf_compute: float | None
    audio_ms: float
    underruns: int
    stall_max_ms: float
    stall_total_ms: float


def playable_s(record: ReplyRecord) -> float | None:
    """When 20 ms of audio had arrived, or all of a shorter reply."""
    needed, got = PLAYABLE_MS * record.sample_rate / 1000, 0
    for arrival in record.arrivals:
        got += arrival.num_samples
        if got >= needed:
            return arrival.at_s
    return record.arrivals[-1].at_s if got else None


def stalls(record: ReplyRecord) -> list[Stall]:
    """Each time the player ran dry before the end of the reply."""
    start = playable_s(record)
    if start is None:
        return []
    found, played, delay_s = [], 0, 0.0
    for arrival in record.arrivals:
        media_ms = 1000 * played / record.sample_rate
        late_ms = 1000 * (arrival.at_s - start - delay_s) - media_ms
        if late_ms > EPSILON_MS and arrival.num_samples:
            found.append(Stall(media_ms, late_ms))
            delay_s += late_ms / 1000
        played += arrival.num_samples
    return found


def audible_s(record: ReplyRecord) -> float | None:
    """When the player reaches the first audible sample, its stalls before that included."""
    start, silence = playable_s(record), onset_ms(record.pcm, record.sample_rate)
    if start is None or silence is None:
        return None
    waited = sum(stall.length_ms for stall in stalls(record) if stall.media_ms <= silence)
    return start + (silence + waited) / 1000


def continuity(longest_stalls_ms: list[float], limit_ms: float) -> float | None:
    """Share of replies whose longest stall is at most `limit_ms`: C50, C100, C200. None of nothing."""
    if not longest_stalls_ms:
        return None
    return sum(stall <= limit_ms for stall in longest_stalls_ms) / len(longest_stalls_ms)


def latency(record: ReplyRecord) -> ReplyLatency:
    """All figures of one reply."""
    begin, playable = record.first_text_s, playable_s(record)
    arrivals = [arrival for arrival in record.arrivals if arrival.num_samples]
    gap_ms = [1000 * (second.at_s - first.at_s) for first, second in pairwise(arrivals)]
    stood = [stall.length_ms for stall in stalls(record)]
    last_s = arrivals[-1].at_s if arrivals else None
    return ReplyLatency(
        dispatch_late_ms=1000 * (record.started_s - record.planned_s),
        ttfa_first_frame_ms=record.engine.get("ttfa_first_frame_ms"),
        ttfa_first_byte_ms=_since_ms(begin, arrivals[0].at_s if arrivals else None),
        ttfa_playable_ms=_since_ms(begin, playable),
        ttfa_audible_ms=_since_ms(begin, audible_s(record)),
        ttfa_planned_ms=_since_ms(record.planned_s, playable),
        leading_silence_ms=onset_ms(record.pcm, record.sample_rate),
        text_lag_ms=_since_ms(record.last_text_s, last_s),
        e2e_ms=_since_ms(begin, last_s),
        connect_ms=record.engine.get("connect_ms"),
        gap_p50_ms=nearest_rank(gap_ms, 0.50),
        gap_p95_ms=nearest_rank(gap_ms, 0.95),
        gap_max_ms=max(gap_ms, default=None),
        queue_ms=record.engine.get("queue_ms"),
        rtf_wall=None if last_s is None else 1000 * (last_s - begin) / record.audio_ms,
        rtf_compute=record.engine.get("rtf_compute"),
        audio_ms=record.audio_ms,
        underruns=len(stood),
        stall_max_ms=max(stood, default=0.0),
        stall_total_ms=sum(stood),
    )


def _since_ms(start_s: float, end_s: float | None) -> float | None:
    return None if end_s is None else 1000 * (end_s - start_s)
