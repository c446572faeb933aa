"""What the LiveKit demo makes of the caller's frames and the agent's events, before the shared analysis looks at it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")
pytest.importorskip("pipecat", reason="the demo's analysis needs pip install 'agent-tts[demo]'")

from agent_tts import FinishReason, TtsMetrics
from agents.demo_livekit import server
from agents.demo_livekit.caller import MOUTH_FRAME, RATE, Caller
from agents.demo_livekit.record import record_of, recording_of
from agents.livekit_agent import read_config

METRICS = {
    **asdict(
        TtsMetrics(
            utterance_id="u1",
            voice_id="default",
            finish_reason=FinishReason.ABORTED,
            ttfa_first_frame_ms=10.0,
            ttfa_playable_ms=12.0,
            ttfa_audible_ms=20.0,
            rtf=0.2,
            generated_audio_ms=3000.0,
            delivered_audio_ms=2900.0,
            cancellation_latency_ms=1.0,
            frames_wasted=2,
            prompt_tokens=0,
            cached_tokens=0,
            underruns=0,
            chunk_gap_p50_ms=None,
            chunk_gap_p95_ms=None,
            chunk_gap_max_ms=None,
        )
    ),
    "finish_reason": "aborted",
}


def quiet_caller() -> Caller:
    """Said one frame a 20 ms, heard one a 10 ms, with a second of nothing in between."""
    caller = Caller()
    for index in range(100):
        caller.hearing.add_said(100.0 + 0.02 * index, np.full(MOUTH_FRAME, 1, np.int16))
    for begin_s, value in ((100.5, 2), (101.6, 3)):
        for index in range(10):
            caller.hearing.add_heard(begin_s + 0.01 * index, np.full(RATE // 100, value, np.int16))
    return caller


async def test_both_ends_of_the_line_are_laid_on_one_clock() -> None:
    recording = await recording_of(quiet_caller())
    assert recording.start_s == 100.0
    assert len(recording.mouth) == len(recording.ear) == 2 * RATE
    first, second = np.flatnonzero(recording.ear == 2), np.flatnonzero(recording.ear == 3)
    assert (first[0], second[0]) == (pytest.approx(0.5 * RATE, abs=2), pytest.approx(1.6 * RATE, abs=2))
    assert len(first) == len(second) == RATE // 10


def test_a_row_takes_the_moments_around_its_decision_and_no_others() -> None:
    def moment(name: str, at_s: float, **more: object) -> dict[str, object]:
        return {"name": name, "at_s": at_s, "utterance_id": "u1", "metrics": None, **more}

    record = record_of(
        [
            {"name": "user", "text": "A question", "interrupted": False},
            moment("speaking", 1.0),
            moment("suspicion", 2.0),
            moment("vad", 2.1),
            moment("decision", 2.2),
            moment("abort", 2.21),
            moment("released", 2.22, metrics=METRICS),
            moment("cleared", 2.23),
            {"name": "metrics", "metrics": METRICS},
            {"name": "assistant", "text": "What was", "interrupted": True},
            moment("suspicion", 9.0),
        ]
    )
    (row,) = record.rows
    assert (row.suspicion_s, row.vad_s, row.decision_s, row.abort_s) == (2.0, 2.1, 2.2, 2.21)
    assert (row.released_s, row.cleared_s, row.generated_ms, row.frames_wasted) == (2.22, 2.23, 3000.0, 2)
    (reply,) = record.replies
    assert (reply.heard, reply.interrupted) == ("What was", True)
    assert reply.metrics is not None
    assert reply.metrics.finish_reason is FinishReason.ABORTED
    assert (record.questions, record.bot_started_s) == (["A question"], [1.0])


def test_a_machine_without_a_server_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server, "BUILT", tmp_path / "none")
    with pytest.raises(server.MissingServerError, match="make livekit-server"):
        server.find_server()


def test_the_demos_agent_speaks_with_the_engine_that_runs_already(tmp_path: Path) -> None:
    """An engine that the worker starts made it count as full at times, and nobody came to the call."""
    config = read_config(
        server.write_config(tmp_path, {"barge_in": "immediate", "llm": {"base_url": "http://here/v1"}})
    )
    assert (config.engine, config.worker.engine_process, config.worker.load_threshold) == ("", False, None)
    assert (config.barge_in, config.llm.base_url, config.llm.model) == ("immediate", "http://here/v1", "local")
