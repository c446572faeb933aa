"""The same engine behind each of its doors, for the contract suite: in process, and over a socket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_tts import Engine, EngineConfig
from agent_tts.remote.address import unix_address
from agent_tts.runtime.step import Runner
from agent_tts.server.engine_server import EngineServer
from agent_tts.server.session import Limits


@asynccontextmanager
async def in_process(runner: Runner, config: EngineConfig | None = None) -> AsyncIterator[Engine]:
    async with Engine.from_runner(runner, config) as engine:
        yield engine


@asynccontextmanager
async def serving(
    runner: Runner, config: EngineConfig | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[Engine, EngineServer]]:
    """An engine and its server on a unix socket, on this event loop; every book must balance when it is left."""
    folder = tempfile.mkdtemp(prefix="agent-tts-")  # pytest's own folders are too long for a socket's path
    try:
        async with Engine.from_runner(runner, config) as engine:
            server = EngineServer(engine, limits)
            await server.start([unix_address(str(Path(folder) / "engine.sock"))])
            try:
                yield engine, server
            finally:
                await server.close()
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def behind_a_socket(runner: Runner, config: EngineConfig | None = None) -> AsyncIterator[Engine]:
    async with serving(runner, config) as (_, server), await Engine.load(str(server.addresses[0])) as engine:
        yield engine


DOORS = {"in process": in_process, "behind a socket": behind_a_socket}
