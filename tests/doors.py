"""The same engine behind each of its doors, for the contract suite: in process, and over a socket."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_tts import Engine, EngineConfig
from agent_tts.errors import EngineUnavailableError
from agent_tts.remote.address import unix_address
from agent_tts.runtime.step import Runner
from agent_tts.server.engine_server import EngineServer
from agent_tts.server.session import Limits

ROOT = Path(__file__).resolve().parents[1]


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


def tone_command(address: str, *options: str) -> list[str]:
    """A server with a model that sings."""
    return [sys.executable, "-m", "tests.tone_server", "--socket", address.removeprefix("unix://"), *options]


@asynccontextmanager
async def engine_process(address: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """That server as a child; it may be killed, and is in the end. It answers some time later: see connected()."""
    process = await asyncio.create_subprocess_exec(*tone_command(address, *options), cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def connected(address: str) -> Engine:
    """As soon as its process answers."""
    while True:
        try:
            return await Engine.load(address)
        except EngineUnavailableError:
            await asyncio.sleep(0.02)  # a process starts


DOORS = {"in process": in_process, "behind a socket": behind_a_socket}
