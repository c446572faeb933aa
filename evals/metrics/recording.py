"""A call from its recording alone: who spoke when, who yielded to whom, how long talk-over lasted. Pure functions.

For any agent, behind any transport: two tracks of one clock, the caller's clean mouth and the agent as the caller hears
it. What a recording cannot tell (whether the agent would have ended by itself, what it meant) is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

from evals.metrics.audio import Samples, Span, audible_spans, centred

TURN_GAP_MS = 400.0
"""A pause shorter than this does not end a turn; words are never this far apart in fluent speech."""
STARTED_MS = 100.0
"""An agent that began less than this before the caller was not interrupted: both began at once."""
WINDOW_MS = 2_000.0


class Kind(Enum):
    """What a sound of the caller meant. Without labels every overlap is taken for an interruption."""

    INTERRUPTION = "interruption"
    NOT_FOR_THE_AGENT = "not for the agent"


@dataclass(frozen=True, slots=True)
class Overlap:
    """The caller began to sound while the agent spoke.

    Attributes:
        onset_ms, caller_end_ms: Of the caller's turn, from the start of the recording.
        silent_ms: Onset -> the agent's turn at the ear ends; None = it was still audible when the window ended.
        talk_over_ms: Both audible at once within the window.
        leftover_ms: Audible audio of the agent after it had yielded and before the caller had finished.
    """

    onset_ms: float
    caller_end_ms: float
    kind: Kind
    silent_ms: float | None
    talk_over_ms: float
    leftover_ms: float

    @property
    def correct(self) -> bool:
        """Stopped when it should, or went on when it should."""
        return (self.silent_ms is not None) == (self.kind is Kind.INTERRUPTION)


@dataclass(frozen=True, slots=True)
class CallSummary:
    """Everything a recording tells.

    Attributes:
        response_ms: End of a caller's turn -> the agent's next sound, for turns the agent was silent after.
        cut_off: Overlaps that are not judged because the recording ends before it could be seen who yielded.
    """

    overlaps: tuple[Overlap, ...]
    response_ms: tuple[float, ...]
    caller_turns: int
    agent_turns: int
    cut_off: int


def turns(samples: Samples, sample_rate: int, *, level: float = 0.01) -> list[Span]:
    """Audible runs with their short pauses closed."""
    return audible_spans(samples, sample_rate, level=level, bridge_ms=TURN_GAP_MS)


def analyse(
    caller: Samples,
    agent: Samples,
    sample_rate: int,
    *,
    labels: Mapping[float, Kind] | None = None,
    level: float = 0.01,
) -> CallSummary:
    """Judge a call. A constant offset, as sound cards have it, is taken out first.

    Args:
        labels: What the caller's sounds meant, by the second (from the start) nearest to their onset.
        level: Share of full scale above which a sample is audible; higher for noisy recordings.
    """
    caller, agent = centred(caller), centred(agent)
    ended_ms = 1000 * len(agent) / sample_rate
    mine, theirs = turns(caller, sample_rate, level=level), turns(agent, sample_rate, level=level)
    fine_caller = audible_spans(caller, sample_rate, level=level)
    fine_agent = audible_spans(agent, sample_rate, level=level)
    overlaps, cut_off = [], 0
    for turn in mine:
        spoken_over = next((it for it in theirs if it.start_ms + STARTED_MS <= turn.start_ms < it.end_ms), None)
        if spoken_over is not None and _is_cut_off(turn, spoken_over, ended_ms):
            cut_off += 1
        elif spoken_over is not None:
            overlaps.append(_overlap(turn, spoken_over, _label(turn, labels), fine_caller, fine_agent))
    return CallSummary(tuple(overlaps), tuple(_responses(mine, theirs)), len(mine), len(theirs), cut_off)


def _is_cut_off(turn: Span, spoken_over: Span, ended_ms: float) -> bool:
    """The window is not over, and the agent could still have been speaking when the recording ended."""
    return ended_ms < turn.start_ms + WINDOW_MS and spoken_over.end_ms > ended_ms - TURN_GAP_MS


def _overlap(turn: Span, spoken_over: Span, kind: Kind, caller: Sequence[Span], agent: Sequence[Span]) -> Overlap:
    end_ms = spoken_over.end_ms
    yielded = end_ms <= turn.start_ms + WINDOW_MS
    until_ms = min(end_ms, turn.start_ms + WINDOW_MS)
    later = [it for it in agent if yielded and end_ms < it.start_ms < turn.end_ms]
    return Overlap(
        onset_ms=turn.start_ms,
        caller_end_ms=turn.end_ms,
        kind=kind,
        silent_ms=end_ms - turn.start_ms if yielded else None,
        talk_over_ms=_both(caller, agent, turn.start_ms, until_ms),
        leftover_ms=sum(min(it.end_ms, turn.end_ms) - it.start_ms for it in later),
    )


def _responses(caller: Sequence[Span], agent: Sequence[Span]) -> list[float]:
    found = []
    for turn, following in zip_longest(caller, caller[1:]):
        silent = not any(it.start_ms <= turn.end_ms < it.end_ms for it in agent)
        reply = next((it for it in agent if it.start_ms >= turn.end_ms), None)
        if silent and reply is not None and (following is None or reply.start_ms < following.start_ms):
            found.append(reply.start_ms - turn.end_ms)
    return found


def _both(first: Sequence[Span], second: Sequence[Span], start_ms: float, end_ms: float) -> float:
    return sum(
        max(0.0, min(a.end_ms, b.end_ms, end_ms) - max(a.start_ms, b.start_ms, start_ms)) for a in first for b in second
    )


def _label(turn: Span, labels: Mapping[float, Kind] | None) -> Kind:
    if not labels:
        return Kind.INTERRUPTION
    nearest = min(labels, key=lambda at_s: abs(1000 * at_s - turn.start_ms))
    return labels[nearest] if abs(1000 * nearest - turn.start_ms) <= 1_000 else Kind.INTERRUPTION
