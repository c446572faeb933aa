"""The demo's call from a real browser: Chromium, headless, with the agent's own page as the caller.

The page speaks, listens and interrupts by what it hears (agents/web/caller.js), records mouth and ear on the browser's
audio clock, and posts the recording here. Needs `chromium` on the PATH (Debian: apt-get install chromium).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from agent_tts import Engine
from agents.demo.analysis import Recording
from agents.demo.chromium import browser_at
from agents.demo.conversation import DemoError, Record, agent_server, watch
from agents.pipecat_agent import AgentConfig


async def hold_browser_call(
    engine: Engine,
    config: AgentConfig,
    speech: list[Path],
    *,
    rounds: int,
    heard_ms: float,
    stage_timeout_s: float,
    narrate: Callable[[str], None],
) -> tuple[Recording, Record]:
    """One call of `rounds` questions that are each answered and interrupted. `speech`: question, interruption."""
    record, progress = Record(), asyncio.Queue[str]()
    recording: asyncio.Future[Recording] = asyncio.get_running_loop().create_future()
    more = _routes(speech, record, progress, recording)
    server = agent_server(engine, config, on_call=lambda call: watch(call, engine, record), more=more)
    async with server as address, browser_at(f"{address}/?rounds={rounds}&heard_ms={heard_ms:.0f}"):
        stage = "starting the browser"
        while not recording.done():
            try:
                stage = await asyncio.wait_for(progress.get(), stage_timeout_s)
            except TimeoutError:
                raise DemoError(f"'{stage}' took more than {stage_timeout_s:.0f} s.") from None
            narrate(stage)
    return recording.result(), record


def _routes(
    speech: list[Path], record: Record, progress: asyncio.Queue[str], recording: asyncio.Future[Recording]
) -> APIRouter:
    router = APIRouter()

    @router.get("/api/speech/{number}")
    async def speech_file(number: int) -> FileResponse:
        return FileResponse(speech[number])

    @router.post("/api/event")
    async def event(body: dict[str, Any]) -> None:
        files = {"asks": str(speech[0]), "interrupts": str(speech[1])}
        record.events.append({"received": time.monotonic(), "file": files.get(body["event"], ""), **body})
        progress.put_nowait(body["event"].replace("_", " "))

    @router.post("/api/recording")
    async def keep(request: Request, start_s: float, first: int, rate: int) -> None:
        samples = np.frombuffer(await request.body(), np.float32).reshape(2, -1)
        mouth, ear = (32767 * samples.clip(-1, 1)).astype(np.int16)
        for event in record.events:
            event["start"] = event.get("frame", first) - first
        recording.set_result(Recording(start_s, rate, mouth, ear))
        progress.put_nowait("recording received")

    return router
