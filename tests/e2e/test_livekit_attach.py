"""attach(): an engine process beside a LiveKit worker, found by its jobs through the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from livekit.agents import AgentServer, APIConnectionError, APIConnectOptions

from agent_tts import Engine
from agent_tts.engine_ref import EngineRef
from agent_tts.errors import ConfigError
from agent_tts.livekit import TTS
from agent_tts.livekit.attach import ENGINE_VARIABLE, attach
from agent_tts.remote import process
from tests.e2e.test_server_process import SOON_S, engine_process, eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tone_engines(monkeypatch):
    """Engines that attach() starts have a model that sings; and the environment is put back afterwards."""
    monkeypatch.setattr(process, "SERVE", (sys.executable, "-m", "tests.tone_server"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
    yield
    os.environ.pop(ENGINE_VARIABLE, None)


async def test_a_worker_has_an_engine_of_its_own_and_its_load_counts(tone_engines):
    server = AgentServer(load_fnc=lambda: 0.25)
    engine = attach(server)
    assert server.load_fnc(server) == 1.0, "a worker without an engine must take no call"
    server.emit("worker_started")
    await eventually(lambda: server.load_fnc(server) == 0.25)
    ref = EngineRef(None)  # as a TTS() in a job process has it
    client = await asyncio.wait_for(ref.get(), SOON_S)
    utterances = [client.utterance() for _ in range(3)]
    await eventually(lambda: server.load_fnc(server) == 0.75)
    folder = Path(engine.address.removeprefix("unix://")).parent
    for utterance in utterances:
        await utterance.abort().released()
    await ref.aclose()
    await asyncio.to_thread(engine.stop)
    assert not has_anything(folder)


async def test_an_engine_that_is_there_already_is_used_and_left_running(tone_engines, tmp_path):
    address = f"unix://{tmp_path}/engine.sock"
    async with engine_process(address):
        os.environ[ENGINE_VARIABLE] = address
        server = AgentServer(load_fnc=lambda server: 0.0)
        engine = attach(server)
        engine.start()
        await eventually(lambda: engine.load() == 0.0)
        await asyncio.to_thread(engine.stop)
        async with await Engine.load(address) as client:
            assert client.stats().free_slots == 4


def test_a_worker_whose_engine_is_no_address_is_told(tone_engines):
    os.environ[ENGINE_VARIABLE] = "bundled"
    with pytest.raises(ConfigError, match="AGENT_TTS_ENGINE is 'bundled'"):
        attach(AgentServer())


def has_anything(folder: Path) -> bool:
    return folder.exists()


async def test_livekit_speaks_through_the_socket_and_a_killed_engine_is_its_connection_error(tone_engines, tmp_path):
    address = f"unix://{tmp_path}/engine.sock"
    async with engine_process(address) as server:
        speaker = TTS(engine=address)
        async with speaker.synthesize("hello there") as speech:
            spoken = [audio.frame async for audio in speech]
        assert sum(frame.samples_per_channel for frame in spoken) == 8 * 960
        server.kill()
        await server.wait()
        with pytest.raises(APIConnectionError) as caught:
            async with speaker.synthesize("hello again", conn_options=APIConnectOptions(max_retry=0)) as speech:
                _ = [audio async for audio in speech]
        assert address in str(caught.value)
        await speaker.aclose()
