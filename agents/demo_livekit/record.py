"""From what the caller heard and what the agent told to the recording and the record that the demo analyses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent_tts import FinishReason, TtsMetrics
from agent_tts.metrics import BargeInRow
from agents.demo.analysis import Recording
from agents.demo.conversation import Record, Reply
from agents.demo_livekit.caller import Caller


async def recording_of(caller: Caller) -> Recording:
    """Both ends of the line, as the demo's analysis takes them."""
    tracks = await caller.tracks()
    return Recording(tracks.begin_s, tracks.rate, tracks.mouth, tracks.ear)


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
            heard_ms=after["cleared"].get("played_ms") if "cleared" in after else None,
            frames_wasted=metrics.frames_wasted if metrics else 0,
        )


def _at(events: dict[str, dict[str, Any]], name: str) -> float | None:
    return events[name]["at_s"] if name in events else None


def _metrics(values: dict[str, Any]) -> TtsMetrics:
    return TtsMetrics(**{**values, "finish_reason": FinishReason(values["finish_reason"])})
