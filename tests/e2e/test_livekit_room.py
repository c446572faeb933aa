"""agents/livekit_agent.py as a worker of a real livekit-server on loopback, with a caller who talks over it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import soxr
import yaml

pytest.importorskip("livekit.plugins.silero", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("livekit.plugins.openai", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("faster_whisper", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("pipecat", reason="the demo's analysis needs pip install 'agent-tts[demo]'")

from agent_tts import FinishReason
from agents.demo_livekit.caller import RATE, Caller, Pcm, caller_in_room
from agents.demo_livekit.record import record_of
from agents.demo_livekit.server import MissingServerError, find_server, livekit_server, worker
from agents.livekit_agent import CONFIG_FILE
from tests.e2e.fake_openai import fake_openai
from tests.e2e.livekit_loop import GIVE_UP_S, MOUTH_RATE, Clip, caller_clips

LONG = " ".join(f"word{number}" for number in range(80))
SHORT = "and this is the other answer"


@pytest.fixture
def agent_config(tmp_path: Path):
    """The agent's own config file, with another LLM, without a greeting."""

    def write(llm_url: str, **changes: object) -> Path:
        values = yaml.safe_load(CONFIG_FILE.read_text())
        values |= {"greeting": "", "aec_warmup_s": None, "publish_events": True, **changes}
        values["llm"] |= {"base_url": llm_url}
        values["worker"] |= {"load_threshold": None, "engine_process": False}
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


async def test_a_caller_in_a_room_interrupts_and_gets_the_other_answer(tmp_path: Path, agent_config) -> None:
    try:
        find_server()
    except MissingServerError as missing:
        pytest.skip(str(missing))
    first, second = caller_clips()
    async with (
        fake_openai([LONG, SHORT]) as llm_url,
        livekit_server(tmp_path) as access,
        worker("tests.e2e.room_agent", access, tmp_path, {"AGENT_CONFIG": str(agent_config(llm_url))}),
    ):
        token = access.token(room="call", identity="caller", agent_name="tts-agent")
        async with asyncio.timeout(GIVE_UP_S), caller_in_room(access.url, token) as caller:
            await caller.say(at_room_rate(first))
            await caller.hearing.speech(1.5)
            interrupted_s = await caller.say(at_room_rate(second))
            await caller.hearing.speech(0.5)
            await caller.hearing.event("assistant", 2)
            await caller.hearing.event("metrics", 2)
            first_reply, second_reply = bursts(caller)
            assert first_reply[0] < interrupted_s < first_reply[1] < second_reply[0]
            timed = [event for event in caller.hearing.told if event.get("at_s", 0.0) > interrupted_s]
            told = {event["name"]: event["at_s"] for event in timed}
            assert told["decision"] <= told["abort"] <= told["released"]
            record = record_of(caller.hearing.told)
            assert [(reply.interrupted, reply.metrics.finish_reason) for reply in record.replies if reply.metrics] == [
                (True, FinishReason.ABORTED),
                (False, FinishReason.COMPLETED),
            ]
            assert record.replies[1].heard == SHORT
            assert LONG.startswith(record.replies[0].heard or "?")
            assert len(record.rows) == 1


def at_room_rate(clip: Clip) -> Pcm:
    return soxr.resample(clip.pcm, MOUTH_RATE, RATE)


def bursts(caller: Caller) -> list[tuple[float, float]]:
    """First and last moment of each stretch of audible audio; stretches are half a second or more apart."""
    found: list[tuple[float, float]] = []
    for at in (frame.at_s for frame in caller.hearing.heard if frame.loud):
        if found and at - found[-1][1] < 0.5:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found
