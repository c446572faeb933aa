"""The demo's config file: what the agent is, and what the caller does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent_tts.config import from_mapping, load_yaml, unknown_key
from agent_tts.errors import ConfigError
from agents.pipecat_agent import AgentConfig, agent_config


@dataclass(frozen=True, slots=True)
class CallConfig:
    questions: list[str] = field(default_factory=list)
    interruption: str = ""
    interrupt_after_ms: float = 3000.0
    answer_ms: float = 6000.0
    stage_timeout_s: float = 90.0


@dataclass(frozen=True, slots=True)
class DemoConfig:
    agent: AgentConfig
    call: CallConfig

    def with_models(self, *, whisper: str, llm_url: str | None) -> DemoConfig:
        """The same with models that were found or started on this machine."""
        llm = self.agent.llm if llm_url is None else replace(self.agent.llm, base_url=llm_url)
        return replace(self, agent=replace(self.agent, stt=replace(self.agent.stt, model=whisper), llm=llm))


def read_settings(path: str | Path) -> DemoConfig:
    """Raises ConfigError for a key that does not exist."""
    values: dict[str, Any] = load_yaml(path)
    for key in values:
        if key not in ("agent", "call"):
            raise ConfigError(unknown_key(key, ["agent", "call"], where=str(path)))
    return DemoConfig(
        agent=agent_config(values.get("agent") or {}, where=f"{path}: agent"),
        call=from_mapping(CallConfig, values.get("call") or {}, where=f"{path}: call"),
    )
