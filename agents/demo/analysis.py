"""From the recording of a call and what the agent saw of it to ledger rows and verdicts. Pure; prints nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent_tts.metrics import STAGES, BargeInRow
from agents.demo.conversation import Record, Reply
from agents.demo.english import foreign_sentences
from evals.metrics.audio import LEVEL, audible_ms, audible_spans, onset_ms, silence_ms

Samples = npt.NDArray[np.int16]
ONSET_LEVEL = 10 ** (-36 / 20)
"""Share of full scale. The caller begins loudly: what is fainter is breath, which no VAD is meant to hear."""
GRACE_S = 0.5
"""What the transport had taken before it was cleared has been sent by then."""
LONGEST_STOP_S = 3.0
SPEAKS_BEFORE_S = 10.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Both ends of the line at the caller, sample-synchronous, from `start_s` of the monotonic clock on."""

    start_s: float
    rate: int
    mouth: Samples
    ear: Samples
    sent: npt.NDArray[np.float64] | None = None
    """Per frame at the ear: when it sounded, when it was sent, its length. None: taken as sent when it sounded."""

    @classmethod
    def load(cls, path: Path) -> Recording:
        with np.load(path) as data:
            return cls(float(data["start_s"]), int(data["rate"]), data["mouth"], data["ear"], data["sent"])

    def sample(self, at_s: float) -> int:
        return min(max(0, round((at_s - self.start_s) * self.rate)), len(self.ear))

    def ms(self, at_s: float) -> float:
        """A moment as metrics of recordings have it: from the first sample."""
        return 1000 * (at_s - self.start_s)

    def first_sound_s(self, track: Samples, at_s: float, level: float = LEVEL) -> float | None:
        """When a track is audible first, at or after a moment."""
        begin = self.sample(at_s)
        return self._time_s(begin, onset_ms(track[begin:], self.rate, level=level))

    def last_sound_s(self, track: Samples, at_s: float) -> float | None:
        """When a track is audible last; None when it is silent from that moment on."""
        begin = self.sample(at_s)
        return self._time_s(begin, silence_ms(track[begin:], self.rate))

    def heard_of(self, from_s: float, until_s: float) -> Samples:
        """The ear, silent but for what was sent in [from_s, until_s)."""
        part = np.zeros_like(self.ear)
        for at_s, sent_s, length_s in self._frames():
            if from_s <= sent_s < until_s:
                frame = slice(self.sample(at_s), self.sample(at_s + length_s))
                part[frame] = self.ear[frame]
        return part

    def _frames(self) -> npt.NDArray[np.float64]:
        if self.sent is not None:
            return self.sent
        at_s = self.start_s + np.arange(0, len(self.ear), self.rate // 50) / self.rate
        return np.stack([at_s, at_s, np.full(len(at_s), 0.02)], axis=1)

    def _time_s(self, begin: int, after_ms: float | None) -> float | None:
        return None if after_ms is None else self.start_s + begin / self.rate + after_ms / 1000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be true of a call."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Story:
    """The call, analysed. Times are of the monotonic clock.

    Attributes:
        rows: Each time the caller talked over the agent; None when the agent did not take it for an interruption.
        question_ends_s: Ends of the caller's questions.
        reply_starts_s: First sound of each reply at the ear, None when it was not heard.
    """

    rows: list[BargeInRow | None]
    question_ends_s: list[float]
    reply_starts_s: list[float | None]


def analyse(recording: Recording, record: Record, questions: dict[str, int]) -> Story:
    """Lay the recording over what the agent saw.

    Args:
        recording: The caller's mouth and ear.
        record: The agent's side.
        questions: Samples of each of the caller's speech files.
    """
    asked = [event for event in record.events if event["event"] in ("asks", "interrupts")]
    ends = [recording.start_s + (event["start"] + questions[event["file"]]) / recording.rate for event in asked]
    starts = [_first_sound_s(recording, at_s) for at_s in record.bot_started_s]
    rows = [
        _interruption(recording, record, recording.start_s + event["start"] / recording.rate)
        for event in asked
        if event["event"] == "interrupts"
    ]
    return Story(rows, ends, starts)


def checks(story: Story, record: Record) -> list[Check]:
    """What the demo fails on."""
    row, answer = next(iter(story.rows), None), record.event("hears_answer")
    stop_ms = row.since_onset_ms("silence_s") if row else None
    reply = record.replies[-1] if record.replies else Reply()
    foreign = [sentence for each in record.replies for sentence in foreign_sentences(each.said)]
    return [
        Check(
            "the agent stopped when it was talked over",
            stop_ms is not None and stop_ms <= 1000 * LONGEST_STOP_S,
            "it did not" if stop_ms is None else f"silent {stop_ms:.0f} ms after the caller's first sound",
        ),
        Check(
            "its engine was stopped, not only its sound",
            row is not None and row.abort_s is not None,
            "no abort"
            if row is None or row.released_s is None
            else f"released {_released_ms(row):.1f} ms after abort()",
        ),
        Check(
            "nothing stale was handed on or heard afterwards",
            row is not None and not row.stale_frames and row.stale_ms == 0,
            "no interruption" if row is None else f"{row.stale_frames} frames, {row.stale_ms:.0f} ms",
        ),
        Check(
            "the second question was answered",
            answer is not None and len(record.replies) >= 2,
            f"{len(reply.said.split())} words" if answer else "no answer was heard",
        ),
        Check(
            "the agent spoke English",
            not foreign,
            f"not in {' '.join(foreign)!r}" if foreign else f"{len(record.replies)} replies",
        ),
    ]


def _released_ms(row: BargeInRow) -> float:
    return 1000 * ((row.released_s or 0.0) - (row.abort_s or 0.0))


def _interruption(recording: Recording, record: Record, from_s: float) -> BargeInRow | None:
    onset_s = recording.first_sound_s(recording.mouth, from_s, ONSET_LEVEL)
    rows = [
        row for row in record.rows if onset_s is not None and row.decision_s is not None and row.decision_s >= onset_s
    ]
    if onset_s is None or not rows:
        return None
    suspicion_s = rows[0].suspicion_s if (rows[0].suspicion_s or 0.0) >= onset_s else None
    row = replace(rows[0], onset_s=onset_s, suspicion_s=suspicion_s)
    next_start_s = next((at_s for at_s in record.bot_started_s if at_s > (row.decision_s or onset_s)), None)
    said_s = max((at_s for at_s in record.bot_started_s if at_s < onset_s), default=onset_s)
    begin_s = recording.first_sound_s(recording.ear, said_s) or onset_s
    end_s = next_start_s if next_start_s is not None else math.inf
    limit_s = min((row.cleared_s or row.decision_s or onset_s) + GRACE_S, end_s)
    silence_s = max(onset_s, recording.last_sound_s(recording.heard_of(-math.inf, limit_s), said_s) or onset_s)
    answered = _first_sound_s(recording, next_start_s) if next_start_s is not None else None
    return replace(
        row,
        silence_s=silence_s,
        duck_s=silence_s if suspicion_s is not None and silence_s >= suspicion_s else None,
        next_audio_s=answered,
        heard_ms=row.heard_ms if row.heard_ms is not None else _silent_ms(record, row) + 1000 * (silence_s - begin_s),
        stale_ms=audible_ms(audible_spans(recording.heard_of(limit_s, end_s), recording.rate)),
        next_ttfa_ms=_ttfa_after(record, row.utterance_id),
        leaked_ms=_leaked(recording, row, silence_s),
    )


def _leaked(recording: Recording, row: BargeInRow, silence_s: float) -> dict[str, float]:
    sounds, until_ms = audible_spans(recording.ear, recording.rate), recording.ms(silence_s)
    moments = {name: getattr(row, name) for name, _ in STAGES if name != "silence_s"}
    return {
        name: audible_ms(sounds, recording.ms(at_s), until_ms) for name, at_s in moments.items() if at_s is not None
    }


def _silent_ms(record: Record, row: BargeInRow) -> float:
    """The silence that the reply begins with: it is heard too, though the ear can't tell when it began."""
    replies = (item.metrics for item in record.replies if item.metrics is not None)
    metrics = next((item for item in replies if item.utterance_id == row.utterance_id), None)
    if metrics is None or metrics.ttfa_audible_ms is None or metrics.ttfa_playable_ms is None:
        return 0.0
    return metrics.ttfa_audible_ms - metrics.ttfa_playable_ms


def _ttfa_after(record: Record, utterance_id: str) -> float | None:
    """TTFA of the reply that follows an utterance."""
    metrics = [reply.metrics for reply in record.replies if reply.metrics is not None]
    names = [item.utterance_id for item in metrics]
    following = names.index(utterance_id) + 1 if utterance_id in names else len(names)
    return metrics[following].ttfa_playable_ms if following < len(metrics) else None


def _first_sound_s(recording: Recording, at_s: float) -> float | None:
    sound_s = recording.first_sound_s(recording.ear, at_s)
    return sound_s if sound_s is not None and sound_s < at_s + SPEAKS_BEFORE_S else None
