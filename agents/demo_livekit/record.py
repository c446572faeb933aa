"""From what the caller heard and what the agent told to the recording and the record that the demo analyses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from agent_tts import FinishReason, TtsMetrics
from agent_tts.metrics import BargeInRow
from agents.demo.analysis import Recording
from agents.demo.conversation import Record, Reply
from agents.demo_livekit.caller import RATE, Caller, Pcm

DRIFT_S = 0.06
"""Frames that arrive a little early or late follow each other; more than this is a gap in the sound."""


def recording_of(caller: Caller) -> Recording:
    """Both ends of the line, sample-synchronous on the caller's clock."""
    start_s = min(caller.said[0][0], caller.heard[0].at_s)
    mouth = _laid_out(caller.said, start_s)
    ear = _laid_out([(frame.at_s, frame.pcm) for frame in caller.heard], start_s)
    length = max(len(mouth), len(ear))
    return Recording(start_s, RATE, _padded(mouth, length), _padded(ear, length))


def record_of(events: list[dict[str, Any]]) -> Record:
    """What the agent told, in the demo's terms."""
    record = Record()
    metrics = [_metrics(event["metrics"]) for event in events if event["name"] == "metrics"]
    for event in events:
        match event["name"]:
            case "user":
                record.questions.append(event["text"])
            case "assistant":
                record.replies.append(Reply(said=event["text"], heard=event["text"], interrupted=event["interrupted"]))
            case "speaking":
                record.bot_started_s.append(event["at_s"])
    for reply, measured in zip(record.replies, metrics, strict=False):
        reply.metrics = measured
    record.rows = list(_rows(events))
    return record


def _rows(events: list[dict[str, Any]]) -> Iterable[BargeInRow]:
    """One row per decision, with the moments that belong to it."""
    for index, event in enumerate(events):
        if event["name"] != "decision":
            continue
        before = {other["name"]: other["at_s"] for other in events[:index] if "at_s" in other}
        after: dict[str, dict[str, Any]] = {}
        for other in events[index:]:
            if "at_s" in other:
                after.setdefault(other["name"], other)
        released = after.get("released")
        metrics = _metrics(released["metrics"]) if released else None
        yield BargeInRow(
            utterance_id=event["utterance_id"] or "",
            suspicion_s=before.get("suspicion"),
            vad_s=before.get("vad"),
            decision_s=event["at_s"],
            abort_s=_at(after, "abort"),
            released_s=_at(after, "released"),
            last_frame_s=_at(after, "last_frame"),
            cleared_s=_at(after, "cleared"),
            generated_ms=metrics.generated_audio_ms if metrics else None,
            delivered_ms=metrics.delivered_audio_ms if metrics else None,
            frames_wasted=metrics.frames_wasted if metrics else 0,
        )


def _at(events: dict[str, dict[str, Any]], name: str) -> float | None:
    return events[name]["at_s"] if name in events else None


def _metrics(values: dict[str, Any]) -> TtsMetrics:
    return TtsMetrics(**{**values, "finish_reason": FinishReason(values["finish_reason"])})


def _laid_out(frames: list[tuple[float, Pcm]], start_s: float) -> Pcm:
    pieces: list[Pcm] = []
    length = 0
    for at_s, pcm in frames:
        late = round((at_s - start_s) * RATE) - length
        if late > DRIFT_S * RATE:
            pieces.append(np.zeros(late, np.int16))
            length += late
        pieces.append(pcm)
        length += len(pcm)
    return np.concatenate(pieces)


def _padded(pcm: Pcm, length: int) -> Pcm:
    return np.concatenate([pcm, np.zeros(length - len(pcm), np.int16)])
