"""The connection of a client to an engine's process, and the one thread that keeps it up. Knows no utterance.

    connect ─▶ HELLO, WELCOME ─▶ on_up ─▶ messages, pings ─▶ on_down(why) ─▶ wait, longer each time ─▶ connect

The thread has an event loop of its own, so that a connection is read, watched and mended however busy the event loop
of the agent is. Other threads send() and never wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from agent_tts.errors import EngineUnavailableError
from agent_tts.remote.address import Address
from agent_tts.remote.values import Welcome, welcome_from_json
from agent_tts.remote.wire import PROTOCOL, Kind, Message, ProtocolError, pack, pack_json, read_json, read_message

logger = logging.getLogger("agent_tts.remote")

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 2.0
TICK_S = 0.02


class Listener(Protocol):
    """Who is told what happens. All of it on the link's thread."""

    def on_up(self, welcome: Welcome) -> None: ...

    def on_down(self, reason: str) -> None:
        """Nothing of this connection comes after. Called for each attempt that failed, too."""
        ...

    def on_message(self, message: Message) -> None: ...

    def on_tick(self) -> bool:
        """Every 20 ms as long as it returns True; again from the next send() on."""
        ...


class Link:
    """Keeps one connection to `address`, or says why there is none."""

    def __init__(self, address: Address, listener: Listener) -> None:
        self._address = address
        self._listener = listener
        self._first: Future[None] = Future()
        self._outbox: deque[bytes] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ticking = asyncio.Event()
        self._heard_s = 0.0
        self._thread = threading.Thread(target=self._drive, name="agent-tts-client", daemon=True)

    def start(self) -> None:
        """Connect for the first time. Blocks; raises EngineUnavailableError, and then no thread is left."""
        self._thread.start()
        try:
            self._first.result()
        except EngineUnavailableError:
            self._thread.join()
            raise

    def send(self, data: bytes) -> None:
        """Send on the connection there is; dropped when there is none. Never waits; any thread."""
        self._outbox.append(data)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the link is
                self._loop.call_soon_threadsafe(self._flush)

    def close(self) -> None:
        """End the connection and the thread. Blocks until on_down() has been called for it."""
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    # -- the link's thread --------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self._keep_connected())
        finally:  # also when a bug of ours ends the thread: nobody may wait for audio that will never come
            self._listener.on_down("its client's thread has ended")
            if not self._first.done():
                self._first.set_exception(EngineUnavailableError(str(self._address), "its client failed"))

    async def _keep_connected(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        delay_s = FIRST_DELAY_S
        while True:
            reason = await self._connect_and_serve()
            connected = self._heard_s > 0
            self._listener.on_down(reason)
            if not self._first.done():
                self._first.set_exception(EngineUnavailableError(str(self._address), reason))
                return
            delay_s = FIRST_DELAY_S if connected else min(LONGEST_DELAY_S, 2 * delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))

    async def _connect_and_serve(self) -> str:
        """One connection, from the first attempt to its end; why it ended."""
        self._heard_s = 0.0
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._address.timeout_s):
                reader, writer = await self._open()
                welcome = await self._greet(reader, writer)
            return await self._serve(reader, writer, welcome)
        except TimeoutError:
            return f"no answer within {self._address.timeout_s:g} s"
        except ProtocolError as error:
            return f"it does not speak our protocol: {error}"
        except ConnectionError as error:
            return "its process closed the connection" if self._heard_s else error.strerror or type(error).__name__
        except OSError as error:
            return error.strerror or type(error).__name__
        finally:
            self._writer = None
            if writer is not None:
                writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.is_unix:
            return await asyncio.open_unix_connection(self._address.path)
        return await asyncio.open_connection(self._address.host, self._address.port)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Welcome:
        writer.write(pack_json(Kind.HELLO, 0, {"agent_tts": PROTOCOL}))
        answer = await read_message(reader)
        if answer is None:
            raise ConnectionResetError(0, "it closed the connection at once")
        if answer.kind is Kind.REFUSED:
            raise ConnectionRefusedError(0, _refusal(answer))
        if answer.kind is not Kind.WELCOME:
            raise ProtocolError(f"{answer.kind.name} where WELCOME was due")
        return welcome_from_json(read_json(answer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, welcome: Welcome) -> str:
        self._outbox.clear()  # of a connection before this one
        self._writer = writer
        self._heard_s = asyncio.get_running_loop().time()
        self._listener.on_up(welcome)
        if not self._first.done():
            self._first.set_result(None)
        logger.debug("connected to %s", self._address)
        helpers = [asyncio.create_task(self._beat(welcome.heartbeat_s)), asyncio.create_task(self._tick())]
        try:
            return await self._read(reader)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> str:
        loop = asyncio.get_running_loop()
        while (message := await read_message(reader)) is not None:
            self._heard_s = loop.time()
            if message.kind is Kind.REFUSED:
                return _refusal(message)
            self._listener.on_message(message)
        if loop.time() - self._heard_s > self._address.timeout_s:
            return f"it was silent for {self._address.timeout_s:g} s"
        raise ConnectionResetError

    async def _beat(self, interval_s: float) -> None:
        """Say that we live, and end the connection when the other side has not done so for too long."""
        assert self._writer is not None
        while asyncio.get_running_loop().time() - self._heard_s <= self._address.timeout_s:
            self._writer.write(pack(Kind.PING))
            await asyncio.sleep(min(interval_s, self._address.timeout_s / 4))
        self._writer.transport.abort()

    async def _tick(self) -> None:
        while True:
            await self._ticking.wait()
            if not self._listener.on_tick():
                self._ticking.clear()
            await asyncio.sleep(TICK_S)

    def _flush(self) -> None:
        self._ticking.set()
        if self._writer is not None and self._outbox:
            data = b"".join(self._outbox.popleft() for _ in range(len(self._outbox)))
            self._writer.write(data)


def _refusal(message: Message) -> str:
    return str(read_json(message).get("reason", "it refused us"))[:200]
