"""The other end of a phone call, for tests: answers a SIP call and sends every packet back; or refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from evals.phone.sip import Message

ANSWER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {codec}\r\n"


class AnsweringMachine(asyncio.DatagramProtocol):
    """Says `final` to an INVITE ("" leaves it ringing) once it has missed so many of them."""

    def __init__(self, final: str, *, misses: int, codec: int) -> None:
        self.heard: list[str] = []
        """The methods of the requests that came."""
        self.packets: list[bytes] = []
        self._news = asyncio.Event()
        self._final, self._misses, self._codec = final, misses, codec
        self._transport: asyncio.DatagramTransport
        self._caller: Any = None
        self._invite: Message | None = None
        self._media_port = 0

    @property
    def peer(self) -> tuple[str, int]:
        host, port = self._transport.get_extra_info("sockname")
        return host, port

    async def heard_of(self, method: str) -> None:
        """Wait until such a request has come."""
        while method not in self.heard:
            self._news.clear()
            await self._news.wait()

    def hang_up(self) -> None:
        """BYE, in the caller's dialog."""
        assert self._invite is not None
        lines = [
            "BYE sip:caller@127.0.0.1 SIP/2.0",
            "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKbye",
            f"From: {self._invite.one('to')};tag=machine",
            f"To: {self._invite.one('from')}",
            f"Call-ID: {self._invite.one('call-id')}",
            "CSeq: 1 BYE",
        ]
        self._transport.sendto("\r\n".join([*lines, "", ""]).encode(), self._caller)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message, self._caller = Message.read(data), addr
        if message.status is not None:
            self._hear(f"{message.status} to {message.method}")
            return
        self._hear(message.method)
        if message.method == "INVITE":
            self._invite = message
            if len(self.heard) > self._misses:
                self._answer_invite(message)
        elif message.method != "ACK":
            self._answer(message, "200 OK")
            if message.method == "CANCEL" and self._invite is not None:
                self._answer(self._invite, "487 Request Terminated")

    def _answer_invite(self, invite: Message) -> None:
        self._answer(invite, "180 Ringing")
        if self._final:
            answers = self._final.startswith("200")
            body = ANSWER.format(port=self._media_port, codec=self._codec) if answers else ""
            self._answer(invite, self._final, body)

    def _answer(self, request: Message, status: str, body: str = "") -> None:
        copied = [("Via", "via"), ("From", "from"), ("Call-ID", "call-id"), ("CSeq", "cseq")]
        lines = [f"SIP/2.0 {status}", *(f"{says}: {request.one(name)}" for says, name in copied)]
        host, port = self.peer
        lines += [f"To: {request.one('to').partition(';')[0]};tag=machine", f"Contact: <sip:machine@{host}:{port}>"]
        self._transport.sendto("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode(), self._caller)

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        self._news.set()


class Echo(asyncio.DatagramProtocol):
    """The machine's RTP."""

    def __init__(self, machine: AnsweringMachine) -> None:
        self._machine = machine

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._machine.packets.append(data)
        self._transport.sendto(data, addr)


@asynccontextmanager
async def answering_machine(
    final: str = "200 OK", *, misses: int = 0, codec: int = 0
) -> AsyncIterator[AnsweringMachine]:
    machine, loop = AnsweringMachine(final, misses=misses, codec=codec), asyncio.get_running_loop()
    media, _ = await loop.create_datagram_endpoint(lambda: Echo(machine), local_addr=("127.0.0.1", 0))
    machine._media_port = media.get_extra_info("sockname")[1]
    signals, _ = await loop.create_datagram_endpoint(lambda: machine, local_addr=("127.0.0.1", 0))
    try:
        yield machine
    finally:
        signals.close()
        media.close()
