"""One client of the engine server: its messages in, its utterances (speaking.py), and its lease. Knows no other client.

    read ─▶ OPEN ─▶ engine.utterance() ─▶ Speaking.speak()                           one task per utterance
         ─▶ TEXT, ABORT, ... ─▶ Speaking.handle(), at once, also while this client does not read what we send

The lease is the connection: when it ends, for whatever reason, every utterance of it is aborted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass
from functools import partial

from agent_tts.engine import Engine, Utterance
from agent_tts.errors import AgentTTSError, ConfigError
from agent_tts.remote.values import (
    Welcome,
    order_from_json,
    welcome_to_json,
)
from agent_tts.remote.wire import (
    PROTOCOL,
    Kind,
    Message,
    ProtocolError,
    pack_json,
    read_json,
    read_message,
)
from agent_tts.server.speaking import OF_AN_UTTERANCE, Speaking, ended, released

logger = logging.getLogger("agent_tts.server")

MAX_HELLO = 1_024
MAX_REQUEST = 32_768
"""Bytes of one message of a client."""
SEND_BUFFER = 65_536
"""Bytes that wait for a client who does not read; then only this client's utterances wait."""
MAX_UNREAD = 1_048_576
"""Bytes of answers to a client who asks on and on and reads none; then it is hung up on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the server is.

    Attributes:
        heartbeat_s: Every client is told the engine's state so often.
        hello_s: A connection that has not said HELLO by then is closed.
        lease_s: A TCP client that was silent for so long is gone. A unix socket tells by itself.
        stall_s: A client that has read nothing for so long is gone.
        max_clients: Connections at once.
    """

    heartbeat_s: float = 0.5
    hello_s: float = 5.0
    lease_s: float = 5.0
    stall_s: float = 10.0
    max_clients: int = 256


class Session:
    """Serves one connection from HELLO to its end."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        *,
        has_lease: bool,
    ) -> None:
        self.name = name
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._lease_s = limits.lease_s if has_lease else None
        self._speaking: dict[int, Speaking] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeted = False
        writer.transport.set_write_buffer_limits(high=SEND_BUFFER)

    async def run(self) -> None:
        """Until the client leaves, misbehaves, falls silent or stops reading. Its utterances end with it."""
        try:
            await self._greet()
            while True:
                async with asyncio.timeout(self._lease_s):
                    message = await read_message(self._reader, MAX_REQUEST)
                if message is None:
                    break
                self._handle(message)
                if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
                    raise ProtocolError("it asks and does not read the answers")
        except ProtocolError as error:
            self.refuse(str(error))
        except TimeoutError:
            self.refuse("it was silent for too long")
        except OSError as error:
            logger.info("a connection broke: %s", error, extra={"client": self.name})
        finally:
            await self._end()

    def refuse(self, reason: str) -> None:
        """Say why in one message (to one that never said HELLO: one line of text); nothing is sent after it."""
        logger.warning("refused a client: %s", reason, extra={"client": self.name})
        if self._greeted:
            self._send(pack_json(Kind.REFUSED, 0, {"reason": reason}))
        else:
            self._send(f"agent-tts refuses this connection: {reason}\n".encode())

    def send_state(self, state: bytes) -> None:
        """Tell how the engine is; left out for a client who does not read."""
        if self._greeted and self._writer.transport.get_write_buffer_size() < SEND_BUFFER:
            self._send(state)

    def hang_up(self) -> None:
        """End the connection without a word; run() sees it and cleans up."""
        self._writer.transport.abort()

    # -- messages -----------------------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        async with asyncio.timeout(self._limits.hello_s):
            hello = await read_message(self._reader, MAX_HELLO)
        if hello is None:
            raise ConnectionResetError(0, "it left before it said HELLO")
        if hello.kind is not Kind.HELLO:
            raise ProtocolError(f"{hello.kind.name} where HELLO was due")
        version = read_json(hello).get("agent_tts")
        self._greeted = True
        if version != PROTOCOL:
            raise ProtocolError(f"this server speaks protocol {PROTOCOL}, the client another one; use equal versions")
        engine = self._engine
        heartbeat_s = min(self._limits.heartbeat_s, (self._lease_s or math.inf) / 4)
        welcome = Welcome(
            sample_rate=engine.sample_rate,
            frame_ms=engine.frame_ms,
            model_name=engine.model_name,
            voices=engine.voices,
            max_waiting=engine.max_waiting,
            heartbeat_s=heartbeat_s,
            stats=engine.stats(),
        )
        self._send(pack_json(Kind.WELCOME, 0, welcome_to_json(welcome)))

    def _handle(self, message: Message) -> None:
        if message.kind is Kind.PING:
            return
        if message.kind is Kind.OPEN:
            self._open(message)
            return
        if message.kind not in OF_AN_UTTERANCE:
            raise ProtocolError(f"{message.kind.name} is not for a client to send")
        if (speaking := self._speaking.get(message.number)) is not None:  # else late: it has ended
            speaking.handle(message)

    def _open(self, message: Message) -> None:
        number = message.number
        if number == 0 or number in self._speaking:
            raise ProtocolError(f"OPEN with the number {number}, which is taken")
        try:
            utterance = self._new_utterance(message)
        except AgentTTSError as error:
            self._send(ended(number, error))
            self._send(released(number, self._engine, None))
            return
        self._speaking[number] = Speaking(number, utterance)
        task = asyncio.create_task(self._speak(self._speaking[number]), name=f"agent_tts.{self.name}.{number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _new_utterance(self, message: Message) -> Utterance:
        order = order_from_json(read_json(message))
        open_as = partial(self._engine.utterance, voice=order.voice, sampling=order.sampling, lead_ms=order.lead_ms)
        try:
            return open_as(utterance_id=order.utterance_id)
        except ConfigError:
            # Another client may have an utterance of that name open: names are the clients' own business.
            return open_as(utterance_id=f"{order.utterance_id}/{self.name}/{message.number}")

    # -- speech -------------------------------------------------------------------------------------------------------

    async def _speak(self, speaking: Speaking) -> None:
        async with contextlib.aclosing(speaking.speak(self._engine)) as messages:
            async for message in messages:
                self._send(message)
                await self._drain()
        self._speaking.pop(speaking.number, None)
        self._send(released(speaking.number, self._engine, speaking.utterance.metrics))

    def _send(self, data: bytes) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(data)

    async def _drain(self) -> None:
        """Wait for a client who does not read; only its own utterances wait, and not for ever."""
        try:
            async with asyncio.timeout(self._limits.stall_s):
                await self._writer.drain()
        except TimeoutError:
            logger.warning("a client reads nothing; hung up", extra={"client": self.name})
            self.hang_up()
        except OSError:
            return  # the reader sees the end of the connection and cleans up

    async def _end(self) -> None:
        """The end of the lease: everything this client holds comes back."""
        for speaking in self._speaking.values():
            speaking.utterance.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        self.hang_up()
