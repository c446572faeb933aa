"""agents/livekit_agent.py as a worker of a real livekit-server on loopback, with a caller who talks over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import soxr
import yaml

pytest.importorskip("livekit.plugins.silero", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("livekit.plugins.openai", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("faster_whisper", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("pipecat", reason="the demo's analysis needs pip install 'agent-tts[demo]'")

from agent_tts import FinishReason
from agents.demo.chromium import MissingBrowserError, find_browser
from agents.demo_livekit.caller import RATE, Caller, Pcm, caller_in_room
from agents.demo_livekit.record import record_of
from agents.demo_livekit.server import MissingServerError, RoomAccess, find_server, livekit_server, worker
from agents.livekit_agent import CONFIG_FILE
from evals.live.line import CannotCallError, Line, Packets
from evals.live.page import PageLine
from evals.live.room_browser import find_client, page_in_room
from evals.live.tracks import Tracks
from evals.metrics.audio import audible_spans
from tests.e2e.fake_openai import fake_openai
from tests.e2e.livekit_loop import GIVE_UP_S, MOUTH_RATE, Clip, caller_clips

LONG = " ".join(f"word{number}" for number in range(80))
SHORT = "and this is the other answer"
SETTLED_S = 0.3
"""What was under way at a clear has come by then, also on a busy machine."""


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
    first, second = caller_clips()
    async with tone_agent(tmp_path, agent_config) as access:
        token = access.token(room="call", identity="caller")
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


async def test_a_browser_in_a_room_interrupts_and_hears_the_other_answer(tmp_path: Path, agent_config) -> None:
    try:
        find_browser(), find_client()
    except (MissingBrowserError, CannotCallError) as missing:
        pytest.skip(str(missing))
    first, second = caller_clips()
    async with tone_agent(tmp_path, agent_config) as access, asyncio.timeout(GIVE_UP_S), page_in_room(access) as page:
        await page.say(at_room_rate(first))
        await page.hearing.speech(1.0)
        await check_packets(page)
        await page.say(at_room_rate(second))
        await page.hearing.event("assistant", 2)
        await page.hearing.silence(0.5)
        check_recording(await page.tracks(), page)


async def test_the_agents_voice_comes_in_packets_of_20_ms(tmp_path: Path, agent_config) -> None:
    first, _ = caller_clips()
    async with tone_agent(tmp_path, agent_config) as access:
        token = access.token(room="call", identity="caller")
        async with asyncio.timeout(GIVE_UP_S), caller_in_room(access.url, token) as caller:
            await caller.say(at_room_rate(first))
            await caller.hearing.speech(1.0)
            await check_packets(caller)


@asynccontextmanager
async def tone_agent(folder: Path, agent_config) -> AsyncIterator[RoomAccess]:
    """The agent with a tone for a voice, in rooms; skips where there is no server."""
    try:
        find_server()
    except MissingServerError as missing:
        pytest.skip(str(missing))
    async with fake_openai([LONG, SHORT]) as llm_url, livekit_server(folder) as access:
        env = {"AGENT_CONFIG": str(agent_config(llm_url))}
        async with worker("tests.e2e.room_agent", access, folder, env):
            yield access


async def check_packets(line: Line) -> None:
    """While a reply without gaps sounds: packets x 20 ms is the audio that was decoded from them."""
    before = await line.packets()
    await line.hearing.speech(3.0)
    after = await line.packets()
    assert before is not None
    assert after is not None
    counted = Packets(after.received - before.received, after.lost - before.lost, after.samples - before.samples)
    assert counted.samples > RATE
    assert counted.lost == 0
    assert counted.ms_each == pytest.approx(20, rel=0.15)


def check_recording(tracks: Tracks, page: PageLine) -> None:
    """The page's own recording, on our clock: sound, the interruption, silence, the next reply."""
    told = {event["name"]: event["at_s"] for event in page.hearing.told if "at_s" in event}
    spans = audible_spans(tracks.mouth, tracks.rate, bridge_ms=1500)
    assert len(spans) == 2, "the caller spoke twice"
    onset_s = tracks.begin_s + spans[1].start_ms / 1000
    assert onset_s < told["decision"] <= told["abort"] <= told["released"] < told["speaking"]
    during = tracks.ear[tracks.sample(onset_s - 0.5) : tracks.sample(onset_s)]
    after = tracks.ear[tracks.sample(told["cleared"] + SETTLED_S) : tracks.sample(told["speaking"])]
    following = tracks.ear[tracks.sample(told["speaking"]) :]
    assert audible_spans(during, tracks.rate)
    assert not audible_spans(after, tracks.rate)
    assert audible_spans(following, tracks.rate)


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
