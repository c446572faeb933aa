"""Chromium in a WebRTC call to agents/pipecat_agent.py as the caller: the agent's own page, told what to say.

The agent is a process of its own, and so is its engine: with the model in its process it would hear and answer late.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import yaml

from agents.demo.models import whisper_model
from agents.demo.processes import ROOT, accepts_connections, engine_process, free_port, running
from agents.pipecat_agent import CONFIG_FILE
from evals.live.line import Setting
from evals.live.page import PageLine, page_line, page_server


@asynccontextmanager
async def open_line(setting: Setting) -> AsyncIterator[PageLine]:
    """The page in a call with the agent."""
    line = PageLine()
    setting.narrate("starting the engine and the agent")
    async with (
        engine_process(setting.folder) as engine,
        agent(setting, engine) as address,
        page_server(line, {}) as recorder,
    ):
        setting.narrate("opening the page")
        query = urlencode({"line": f"ws://{recorder}/line"})
        async with page_line(f"{address}/?{query}", line):
            yield line


@asynccontextmanager
async def agent(setting: Setting, engine: str) -> AsyncIterator[str]:
    """The agent as the setting wants it; yields its page's address."""
    port, config = free_port(), agent_config(setting, engine)
    command = [sys.executable, "-m", "agents.pipecat_agent", "--config", str(config), "--port", str(port)]
    quiet = {**os.environ, "LOGURU_LEVEL": "INFO"}  # Pipecat logs every frame of interest, on the event loop
    log = setting.folder / "agent.log"
    async with running(command, log, quiet) as process:
        await accepts_connections(port, process, log)
        yield f"http://127.0.0.1:{port}"


def agent_config(setting: Setting, engine: str) -> Path:
    """The agent's own config file, but for what a measurement wants different."""
    values = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    values |= {"barge_in": setting.preset, "model": engine}
    values["llm"] |= {"base_url": setting.llm_url, "max_tokens": 1000}
    values["stt"]["model"] = whisper_model(values["stt"]["model"], ROOT / ".cache" / "models")
    path = setting.folder / "agent.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
