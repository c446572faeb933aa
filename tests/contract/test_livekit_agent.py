"""The config file of agents/livekit_agent.py."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("livekit.plugins.openai", reason="needs pip install 'agent-tts[demo]'")
pytest.importorskip("livekit.plugins.silero", reason="needs pip install 'agent-tts[demo]'")

from agent_tts.barge_in import policy_of
from agent_tts.errors import ConfigError
from agents.livekit_agent import CONFIG_FILE, AgentConfig, need_sound, read_config


def test_the_shipped_file_is_valid_and_names_a_preset_that_exists() -> None:
    config = read_config(CONFIG_FILE)
    assert config.agent_name == "tts-agent"
    policy_of(config.barge_in)


def test_an_empty_mapping_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("{}")
    assert read_config(path) == AgentConfig()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("barge: framework", "'barge_in'"), ("stt: {modle: base}", "'model'"), ("llm: {base-url: x}", "'base_url'")],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, nearest: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=nearest):
        read_config(path)


def no_library() -> ModuleType:
    raise OSError("PortAudio library not found")


@pytest.mark.parametrize(
    ("sounddevice", "lacks"),
    [(no_library, "PortAudio"), (lambda: SimpleNamespace(query_devices=list), "a microphone and a loudspeaker")],
)
def test_the_console_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, sounddevice, lacks: str) -> None:
    imported = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: sounddevice() if name == "sounddevice" else imported(name, *rest)
    )
    with pytest.raises(SystemExit, match=lacks):
        need_sound()
