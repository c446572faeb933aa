"""A voice from its recording to its sound: added on the command line, loaded, warmed, pinned and spoken with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from agent_tts import cli
from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.errors import ConsentError, LicenseNotAcceptedError, UnknownVoiceError
from agent_tts.remote.address import unix_address
from agent_tts.server.engine_server import EngineServer
from agent_tts.types import TtsMetrics
from agent_tts.voices.registry import VoiceRegistry, open_registry
from tests.parity import fixtures
from tests.speechlike import speechlike, write_wav

LICENSE = "fish-audio-research-license"
TEXT = "These are the words of it."


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny checkpoint with the tiny codec, and room for a reference of five seconds."""
    monkeypatch.setenv("AGENT_TTS_VOICES", str(tmp_path / "voices"))
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AGENT_TTS_ACCEPT_LICENSE", raising=False)
    target = tmp_path / "model"
    shutil.copytree(fixtures.folder("s2_tiny"), target)
    target.chmod(0o755)
    for name in ("codec.pth", "codec_config.json"):
        shutil.copy(fixtures.folder("codec_tiny") / name, target / name)
    config = json.loads((target / "config.json").read_text())
    config["text_config"]["max_seq_len"] = 1024
    (target / "config.json").chmod(0o644)
    (target / "config.json").write_text(json.dumps(config))
    return target


def add(model: Path, name: str, *more: str, synthetic: bool = True) -> int:
    audio = write_wav(model.parent / "ref.wav", speechlike(5))
    command = ["voices", "add", name, "--model", str(model), "--audio", str(audio), "--text", TEXT]
    return cli.main([*command, *(["--synthetic"] if synthetic else []), *more])


async def speak(engine: Engine, voice: str, text: str) -> TtsMetrics:
    """Three chunks of it are enough to know what its prompt cost."""
    async with engine.utterance(voice=voice) as utterance:
        utterance.push_text(text)
        utterance.end_text()
        chunks = 0
        async for _ in utterance:
            chunks += 1
            if chunks == 3:
                break
    return await utterance.released()


async def test_an_added_voice_is_warmed_at_start_pinned_and_speaks(model: Path):
    assert await asyncio.to_thread(add, model, "alice", "--accept-license", LICENSE) == 0
    stored = open_registry().get("alice")
    assert stored.codes.shape == (8, 108)

    config = EngineConfig(model=str(model), num_pages=64, warm_voices=("alice",))
    async with await Engine.load(config=config) as engine:
        assert engine.voices == ("default", "alice")
        pinned = engine.stats().pinned_pages
        assert pinned * 16 > 108, "the frames of the reference, and the words around them"
        metrics = await speak(engine, "alice", "Something new is said by now.")
        assert (pinned - 1) * 16 < metrics.cached_tokens <= pinned * 16, "the first caller finds all of the voice"
        assert metrics.prompt_tokens - metrics.cached_tokens < 60
        plain = await speak(engine, "default", "Something new is said by now.")
        assert plain.cached_tokens <= 32, "only what both system blocks begin with"
        with pytest.raises(UnknownVoiceError, match="'alice', 'default'"):
            engine.utterance(voice="bob")


async def test_loading_asks_for_the_licence_once(model: Path):
    config = EngineConfig(model=str(model), num_pages=64)
    with pytest.raises(LicenseNotAcceptedError, match=LICENSE):
        await Engine.load(config=config)
    async with await Engine.load(config=EngineConfig(model=str(model), num_pages=64, accept_license=LICENSE)):
        pass
    async with await Engine.load(config=config) as engine:
        assert engine.voices == ("default",)


async def test_a_load_that_cannot_warm_a_voice_ends_its_engine(model: Path):
    with pytest.raises(UnknownVoiceError, match="bob"):
        await Engine.load(
            config=EngineConfig(model=str(model), num_pages=64, accept_license=LICENSE, warm_voices=("bob",))
        )
    assert "agent-tts-engine" not in [thread.name for thread in threading.enumerate()]


async def test_an_engine_refuses_a_voice_whose_consent_is_over_wherever_it_is_asked_for(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    until = ["--consent-from", "Alice", "--consent-for", "tests", "--consent-until", "2099-12-31"]
    assert await asyncio.to_thread(add, model, "alice", *until, "--accept-license", LICENSE, synthetic=False) == 0
    config = EngineConfig(model=str(model), num_pages=64)
    async with await Engine.load(config=config) as engine, serving(engine, tmp_path / "s") as address:
        async with await Engine.load(address) as client:
            assert (await speak(client, "alice", "Hello.")).generated_audio_ms > 0
            monkeypatch.setattr(VoiceRegistry, "today", date(2100, 1, 1))
            with pytest.raises(ConsentError, match="'alice' ended on 2099-12-31"):
                engine.utterance(voice="alice")
            with pytest.raises(ConsentError, match="'alice' ended on 2099-12-31"):
                await speak(client, "alice", "Hello.")
            assert (await speak(client, "default", "Hello.")).generated_audio_ms > 0
        with pytest.raises(ConsentError, match="2099-12-31"):
            await Engine.load(config=replace(config, warm_voices=("alice",)))


@contextlib.asynccontextmanager
async def serving(engine: Engine, path: Path) -> AsyncIterator[str]:
    server = EngineServer(engine)
    await server.start([unix_address(str(path))])
    try:
        yield str(server.addresses[0])
    finally:
        await server.close()
