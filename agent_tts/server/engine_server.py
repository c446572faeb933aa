"""The engine behind sockets: accepts clients, tells them how the engine is, and ends with it. Knows no message."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence

from agent_tts.engine import Engine
from agent_tts.remote.address import Address
from agent_tts.remote.values import stats_to_json
from agent_tts.remote.wire import Kind, pack_json
from agent_tts.server.listening import ListeningSocket, listen_on
from agent_tts.server.session import Limits, Session

logger = logging.getLogger("agent_tts.server")


class EngineServer:
    """Serves one engine, which stays its owner's, to many clients. All methods on one event loop."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self._engine = engine
        self._limits = limits or Limits()
        self._listening: list[ListeningSocket] = []
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._names = itertools.count(1)
        self._heart: asyncio.Task[None] | None = None
        self._engine_ended = asyncio.Event()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens; the port of a TCP address that asked for port 0 is the one it got."""
        return tuple(listening.address for listening in self._listening)

    @property
    def num_clients(self) -> int:
        return len(self._sessions)

    async def start(self, addresses: Sequence[Address], *, trust_network: bool = False) -> None:
        """Listen on every address. Raises ConfigError, and then listens on none."""
        try:
            for address in addresses:
                self._listening.append(listen_on(address, trust_network=trust_network))
            for listening in self._listening:
                self._servers.append(await self._serve(listening))
        except BaseException:
            await self.close()
            raise
        self._heart = asyncio.create_task(self._beat(), name="agent_tts.server.heart")

    async def wait_for_engine(self) -> None:
        """Return when the engine has ended by itself or was closed: there is nothing to serve any more."""
        await self._engine_ended.wait()

    async def close(self) -> None:
        """Listen no more, hang up on every client and give back what they held. The engine goes on."""
        for server in self._servers:
            server.close()
        for listening in self._listening:
            listening.remove_file()
            listening.sock.close()
        if self._heart is not None:
            self._heart.cancel()
        for session in self._sessions:
            session.hang_up()
        await asyncio.gather(*self._sessions.values(), return_exceptions=True)

    async def _serve(self, listening: ListeningSocket) -> asyncio.Server:
        has_lease = not listening.address.is_unix

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            session = Session(
                f"client-{next(self._names)}", self._engine, reader, writer, self._limits, has_lease=has_lease
            )
            if len(self._sessions) >= self._limits.max_clients:
                session.refuse(f"{len(self._sessions)} clients are connected already")
                writer.close()
                return
            task = asyncio.create_task(session.run(), name=f"agent_tts.{session.name}")
            self._sessions[session] = task
            task.add_done_callback(lambda _: self._sessions.pop(session))

        return await asyncio.start_server(accept, sock=listening.sock)

    async def _beat(self) -> None:
        while not self._engine.closed:
            state = {"stats": stats_to_json(self._engine.stats()), "voices": self._engine.voices}
            message = pack_json(Kind.STATE, 0, state)
            for session in self._sessions:
                session.send_state(message)
            await asyncio.sleep(self._limits.heartbeat_s)
        self._engine_ended.set()
