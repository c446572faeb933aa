"""Voices as the engine has them: warmed without a caller, pinned, and counted."""

from __future__ import annotations

import pytest

from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.errors import ConfigError, UnknownVoiceError
from agent_tts.types import TtsMetrics
from tests.fakes import ToneRunner

VOICE = tuple(("alice", index) for index in range(430))
"""About 20 s of reference at 21.5 frames a second."""


def engine_with_alice() -> Engine:
    prompts = {"alice": (*VOICE, *(("text", index) for index in range(20)))}
    return Engine.from_runner(
        ToneRunner(voices=("default", "alice"), prompts=prompts, voice_prefixes={"alice": VOICE}),
        EngineConfig(num_pages=64),
    )


async def speak(engine: Engine, voice: str) -> TtsMetrics:
    async with engine.utterance(voice=voice, lead_ms=60_000) as utterance:
        utterance.push_text("hello there")
        utterance.end_text()
        async for _ in utterance:
            pass
    return await utterance.released()


async def test_a_warmed_voice_is_pinned_and_its_first_caller_finds_it_cached():
    async with engine_with_alice() as engine:
        assert engine.stats().pinned_pages == 0
        await engine.warm(["alice", "default"])
        assert engine.stats().pinned_pages == 27, "the last one in part"
        metrics = await speak(engine, "alice")
    assert metrics.prompt_tokens == 450
    assert metrics.cached_tokens >= 430, "all of the voice"


async def test_warming_up_publishes_no_metrics_and_leaves_nothing_open():
    seen: list[str] = []
    async with engine_with_alice() as engine:
        engine.on_metrics(lambda metrics: seen.append(metrics.voice_id))
        await engine.warm(["alice"])
        assert engine.stats().open == 0
        assert engine.stats().running == 0
        await speak(engine, "alice")
    assert seen == ["alice"]


async def test_warming_up_a_voice_that_is_not_there_names_those_that_are():
    async with engine_with_alice() as engine:
        with pytest.raises(UnknownVoiceError, match="'alice', 'default'"):
            await engine.warm(["bob"])


def test_warm_voices_of_a_config_is_a_list_of_names():
    assert EngineConfig(warm_voices=["alice"]).warm_voices == ("alice",)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a list of names"):
        EngineConfig(warm_voices="alice")  # type: ignore[arg-type]
