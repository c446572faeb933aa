"""One call of the demo: start the agent, let the caller call, collect what both sides saw. Judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter
from pipecat.frames.frames import BotStartedSpeakingFrame
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.processors.frame_processor import FrameDirection

from agent_tts import Engine, TtsMetrics
from agent_tts.metrics import BargeInRow
from agents.demo.caller import Plan
from agents.demo.loopback import LOOPBACK
from agents.pipecat_agent import AgentConfig, Call, make_app

ROOT = Path(__file__).resolve().parents[2]


class DemoError(RuntimeError):
    """The call could not be carried through; the message names the stage."""


@dataclass(slots=True)
class Reply:
    """One turn of the agent: what it meant to say, and what of it was heard."""

    said: str = ""
    heard: str | None = None
    interrupted: bool = False
    metrics: TtsMetrics | None = None


@dataclass(slots=True)
class Record:
    """What the agent's process saw of the call. Times are time.monotonic()."""

    questions: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    bot_started_s: list[float] = field(default_factory=list)
    rows: list[BargeInRow] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def event(self, name: str) -> dict[str, Any] | None:
        """The last thing of that name that the caller did."""
        return next((event for event in reversed(self.events) if event["event"] == name), None)


class SpeechStarts(BaseObserver):
    """When the agent began to speak, at its transport."""

    def __init__(self, record: Record) -> None:
        super().__init__(observe_every_push=False)
        self._record = record

    async def on_push_frame(self, data: FramePushed) -> None:
        if isinstance(data.frame, BotStartedSpeakingFrame) and data.direction is FrameDirection.DOWNSTREAM:
            self._record.bot_started_s.append(time.monotonic())


def watch(call: Call, engine: Engine, record: Record) -> None:
    """Write down what is said, what is heard of it, and how interruptions go."""
    replies: dict[str, Reply] = {}

    @call.user.event_handler("on_user_turn_stopped")
    async def asked(aggregator: Any, strategy: Any, message: Any) -> None:
        record.questions.append((message.content or "").strip())

    @call.tts.event_handler("on_tts_request")
    async def speaks(service: Any, context_id: str, text: str) -> None:
        if context_id not in replies:
            replies[context_id] = Reply()
            record.replies.append(replies[context_id])
        replies[context_id].said += text

    @call.assistant.event_handler("on_assistant_turn_stopped")
    async def heard(aggregator: Any, message: Any) -> None:
        reply = next((reply for reply in record.replies if reply.heard is None), None)
        if reply is not None:
            reply.heard, reply.interrupted = message.content, message.interrupted

    @call.observer.event_handler("on_interruption")
    async def interrupted(observer: Any, row: BargeInRow) -> None:
        record.rows.append(row)

    def spoken(metrics: TtsMetrics) -> None:
        reply = next((reply for reply in record.replies if reply.metrics is None), None)
        if reply is not None:
            reply.metrics = metrics

    engine.on_metrics(spoken)
    call.worker.add_observer(SpeechStarts(record))


@asynccontextmanager
async def agent_server(
    engine: Engine,
    config: AgentConfig,
    *,
    port: int = 0,
    on_call: Callable[[Call], None] = lambda call: None,
    more: APIRouter | None = None,
) -> AsyncIterator[str]:
    """The agent on a port of 127.0.0.1 (0: a free one). Yields its address."""
    app = make_app(engine, config, on_call, more)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
    listening = socket.create_server((LOOPBACK, port))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield "http://{}:{}".format(*listening.getsockname()[:2])
    finally:
        server.should_exit = True
        await serving


async def hold_call(
    engine: Engine, config: AgentConfig, plan: Plan, *, stage_timeout_s: float, narrate: Callable[[str], None]
) -> Record:
    """Carry one call through. Raises DemoError that names the stage that hung or the way the caller ended."""
    record = Record()
    async with agent_server(engine, config, on_call=lambda call: watch(call, engine, record)) as address:
        command = json.dumps(asdict(plan) | {"url": f"{address}/api/offer"})
        caller = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agents.demo.caller", command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        try:
            await _follow(caller, record, stage_timeout_s, narrate)
        finally:
            with contextlib.suppress(ProcessLookupError):
                caller.kill()
            await caller.wait()
    return record


async def _follow(
    caller: asyncio.subprocess.Process, record: Record, stage_timeout_s: float, narrate: Callable[[str], None]
) -> None:
    assert caller.stdout is not None
    stage = "starting the caller"
    while True:
        try:
            line = await asyncio.wait_for(caller.stdout.readline(), stage_timeout_s)
        except TimeoutError:
            raise DemoError(f"'{stage}' took more than {stage_timeout_s:.0f} s.") from None
        if not line:
            break
        event = json.loads(line)
        record.events.append(event)
        stage = event["event"].replace("_", " ")
        narrate(stage)
    if await caller.wait() != 0:
        raise DemoError(f"the caller ended with code {caller.returncode} during '{stage}'.")
