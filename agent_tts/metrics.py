"""The barge-in ledger: when each stage of an interruption happened, on one clock. Knows times and no audio.

One row per event. Its moments are seconds of one monotonic clock; a moment of None was not observed. A row refuses an
order that cannot have happened, because then the measurement is wrong, whatever its numbers look like.

    onset ─▶ suspicion ─▶ duck
      ├────▶ VAD                       not before the decision where our own onset test decides
      ├────▶ decision ─▶ abort ─▶ released
      │         └──────▶ cleared
      └────▶ silence at the ear ─▶ next audio
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

STAGES = (
    ("suspicion_s", "suspicion"),
    ("duck_s", "ducked at the ear"),
    ("vad_s", "VAD start of speech"),
    ("decision_s", "decision to interrupt"),
    ("abort_s", "abort() called"),
    ("released_s", "engine released"),
    ("last_frame_s", "last frame to transport"),
    ("cleared_s", "transport cleared"),
    ("silence_s", "silence at the ear"),
)
"""The moments of a row after its onset, and what they are called in a table."""

_ORDERS = (
    ("onset_s", "suspicion_s", "duck_s"),
    ("onset_s", "vad_s"),
    ("onset_s", "decision_s", "abort_s", "released_s"),
    ("decision_s", "cleared_s"),
    ("onset_s", "silence_s", "next_audio_s"),
)


@dataclass(frozen=True, slots=True)
class BargeInRow:
    """One interruption, or one event that should not have been one.

    Attributes:
        utterance_id: The utterance that was spoken over.
        kind: What happened at the caller's end: interruption, backchannel, noise, cough, side_talk, echo.
        onset_s: First audible sample of the caller, from a clean recording of the caller.
        suspicion_s: Our own onset test fired.
        duck_s: The agent was quieter at the caller's ear.
        vad_s: The framework's VAD reported the start of speech.
        decision_s: The framework or our policy decided to interrupt.
        abort_s: abort() was called on the utterance.
        released_s: The engine had given back pages, slot and codec state.
        last_frame_s: The last frame of the utterance had been handed to the transport.
        cleared_s: The transport had dropped what it still held.
        silence_s: End of the last audible sample of the utterance at the caller's ear.
        next_audio_s: First audible sample of the next reply at the caller's ear.
        generated_ms: Audio the engine had computed when it was aborted.
        delivered_ms: Audio it had handed over.
        heard_ms: Audio of the utterance that reached the ear, the silences it has in it included.
        frames_wasted: Codec frames computed and never handed over.
        stale_frames: Frames of the utterance handed on after abort() had returned. Must be 0.
        stale_ms: Audible audio at the ear between `silence_s` and the next reply. Must be 0.
        next_ttfa_ms: First text of the next reply -> its first playable chunk.
        leaked_ms: Audible audio at the ear after each stage, by the name of its field.
    """

    utterance_id: str
    kind: str = "interruption"
    onset_s: float | None = None
    suspicion_s: float | None = None
    duck_s: float | None = None
    vad_s: float | None = None
    decision_s: float | None = None
    abort_s: float | None = None
    released_s: float | None = None
    last_frame_s: float | None = None
    cleared_s: float | None = None
    silence_s: float | None = None
    next_audio_s: float | None = None
    generated_ms: float | None = None
    delivered_ms: float | None = None
    heard_ms: float | None = None
    frames_wasted: int = 0
    stale_frames: int = 0
    stale_ms: float = 0.0
    next_ttfa_ms: float | None = None
    leaked_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for order in _ORDERS:
            seen = [(name, getattr(self, name)) for name in order if getattr(self, name) is not None]
            for (earlier, first), (later, second) in itertools.pairwise(seen):
                if second < first:
                    raise ValueError(
                        f"{later} is {1000 * (first - second):.1f} ms before {earlier}: cannot have happened."
                    )

    def since_onset_ms(self, stage: str) -> float | None:
        """Milliseconds from the caller's first sound to a stage, None when one of them was not observed."""
        return _between_ms(self.onset_s, getattr(self, stage))

    @property
    def ahead_ms(self) -> float | None:
        """Audio computed but never heard: what the interruption cost, and what the lead limit bounds."""
        if self.generated_ms is None or self.heard_ms is None:
            return None
        return self.generated_ms - self.heard_ms


class Ledger:
    """Rows in the order they happened, as a table for people and as JSON for scripts."""

    def __init__(self, rows: Iterable[BargeInRow] = ()) -> None:
        self.rows: list[BargeInRow] = list(rows)

    def add(self, row: BargeInRow) -> None:
        self.rows.append(row)

    def spread(self, stage: str) -> dict[str, float | int | None]:
        """n, p50, p95, p99 and worst of one stage, in ms since the onset."""
        values = [value for row in self.rows if (value := row.since_onset_ms(stage)) is not None]
        return {
            "n": len(values),
            "p50": percentile(values, 0.50),
            "p95": percentile(values, 0.95),
            "p99": percentile(values, 0.99),
            "worst": max(values, default=None),
        }

    def table(self) -> str:
        """One block per row: ms since the onset, ms since the stage before, audio leaked after the stage."""
        return "\n\n".join(_block(row) for row in self.rows) or "no interruption"

    def to_json(self) -> str:
        """All rows and the spread of every stage that was observed."""
        stages = {name: spread for name, _ in STAGES if (spread := self.spread(name))["n"]}
        return json.dumps(
            {"rows": [asdict(row) | {"ahead_ms": row.ahead_ms} for row in self.rows], "stages_ms": stages}
        )


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile, None of nothing. `share` is between 0 and 1."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(1, -int(-len(ordered) * share // 1))
    return ordered[min(len(ordered), rank) - 1]


def _between_ms(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else 1000 * (end_s - start_s)


def _block(row: BargeInRow) -> str:
    lines = [f"{row.kind} of {row.utterance_id}", f"  {'stage':<26}{'since onset':>13}{'step':>11}{'leaked after':>15}"]
    before = row.onset_s
    moments = [(name, label, getattr(row, name)) for name, label in STAGES if getattr(row, name) is not None]
    for name, label, moment in sorted(moments, key=lambda item: item[2]):
        lines.append(
            f"  {label:<26}{_ms(row.since_onset_ms(name)):>13}{_ms(_between_ms(before, moment)):>11}"
            f"{_ms(row.leaked_ms.get(name)):>15}"
        )
        before = moment
    lines.append(
        f"  generated {_ms(row.generated_ms)}, heard {_ms(row.heard_ms)}, ahead {_ms(row.ahead_ms)}, "
        f"codec frames wasted {row.frames_wasted}"
    )
    lines.append(
        f"  stale frames {row.stale_frames}, stale audio {_ms(row.stale_ms)}, next reply's TTFA {_ms(row.next_ttfa_ms)}"
    )
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms" if abs(value) >= 10 else f"{value:.1f} ms"
