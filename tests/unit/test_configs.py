"""Every engine config in configs/ is one the engine takes."""

from pathlib import Path

import pytest

from agent_tts.config import EngineConfig, from_mapping, load_yaml

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["bundled.yaml", "many-calls.yaml", "tiny.yaml"])
def test_config_is_taken_by_the_engine(name: str) -> None:
    assert from_mapping(EngineConfig, load_yaml(CONFIGS / name), where=name).model == "bundled"


def test_bundled_yaml_holds_the_defaults() -> None:
    assert from_mapping(EngineConfig, load_yaml(CONFIGS / "bundled.yaml"), where="bundled.yaml") == EngineConfig()
