"""A process that is nothing but an engine and its server: load, listen, and leave cleanly. Knows no message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

from agent_tts.engine import Engine
from agent_tts.errors import EngineClosedError
from agent_tts.remote.address import Address
from agent_tts.server.engine_server import EngineServer
from agent_tts.server.session import Limits

logger = logging.getLogger("agent_tts.server")


async def serve(
    load: Callable[[], Awaitable[Engine]],
    addresses: Sequence[Address],
    *,
    limits: Limits | None = None,
    trust_network: bool = False,
    with_parent: bool = False,
    on_ready: Callable[[EngineServer], None] = lambda server: None,
) -> None:
    """Serve until SIGTERM, SIGINT, or (`with_parent`) the end of standard input; clients are hung up on, then.

    Raises:
        AgentTTSError: The engine cannot be loaded, or an address cannot be had.
        EngineClosedError: The engine ended by itself; start the process anew.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watching = asyncio.create_task(_end_of_input(stopping)) if with_parent else None
    async with await load() as engine:
        server = EngineServer(engine, limits)
        await server.start(addresses, trust_network=trust_network)
        try:
            for address in server.addresses:
                logger.info("%s listens on %s", engine.model_name, address)
            on_ready(server)
            await _first_of(stopping.wait(), server.wait_for_engine())
            if not stopping.is_set():
                raise EngineClosedError("its thread has ended by itself")
        finally:
            await server.close()
            if watching is not None:
                watching.cancel()


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _end_of_input(stopping: asyncio.Event) -> None:
    """Standard input is a pipe our parent holds: it ends when the parent does, however that happens."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                pass
        stopping.set()
    finally:
        transport.close()
