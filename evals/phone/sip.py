"""A phone's signalling: one outgoing SIP call over UDP on loopback, dialled, answered, and ended by either side.

As much of RFC 3261 as a call to an honest counterpart takes: INVITE (repeated until something is heard), ACK, CANCEL,
BYE, PCMU and nothing else in the offer. No registration, authentication, proxies, re-INVITE or TLS. Our own instead of
a library: aiosipua, the one at hand for Python, needs a patch of its insides on 3.11, and its RTP half (aiortp) tells
neither when a packet was sent nor when one came, which is what this phone is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import Any

T1_S = 0.5
"""First wait before a request is repeated; doubles each time."""
GIVE_UP_S = 32.0
"""Without any response."""
RING_S = 60.0
BYE_S = 2.0
SHORT_NAMES = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}


class CallRefusedError(RuntimeError):
    """There is no call: nobody answered, or the other end said no. The message has its status and its words."""


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message. Names of headers are in lower case and long."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def read(cls, data: bytes) -> Message:
        head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        first, *lines = head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        named = ((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return cls(first, tuple((SHORT_NAMES.get(name, name), value) for name, value in named), body)

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header == name]

    def one(self, name: str) -> str:
        """The first of a name; empty when there is none."""
        return next(iter(self.all(name)), "")

    @property
    def status(self) -> int | None:
        """Of a response; None for a request."""
        version, _, rest = self.first.partition(" ")
        return int(rest[:3]) if version == "SIP/2.0" and rest[:3].isdigit() else None

    @property
    def method(self) -> str:
        """What it asks, or what it answers."""
        return self.one("cseq").split()[-1] if self.one("cseq") else ""


class Call(asyncio.DatagramProtocol):
    """One call to `number` at a peer of 127.0.0.1; `open()`, `dial()`, and `hang_up()` in the end."""

    def __init__(self, peer: tuple[str, int], number: str, caller: str = "+15550199") -> None:
        self.ended = asyncio.Event()
        """The other end has hung up."""
        self._peer = peer
        self._number, self._caller = number, caller
        self._id, self._tag = secrets.token_hex(12), secrets.token_hex(6)
        self._remote = f"<sip:{number}@{peer[0]}:{peer[1]}>"
        self._target = self._remote.strip("<>")
        self._routes: list[str] = []
        self._sequence = 0
        self._up = False
        self._ack = b""
        self._responses: dict[str, asyncio.Queue[Message | OSError]] = {
            "INVITE": asyncio.Queue(),
            "BYE": asyncio.Queue(),
        }
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0), remote_addr=self._peer
        )

    async def dial(self, offer: str) -> str:
        """Ring until the other end answers; returns its SDP. CallRefusedError says why there is none."""
        self._sequence += 1
        branch = _branch()
        invite = self._request("INVITE", branch, offer)
        final: Message | None = None
        try:
            async with asyncio.timeout(RING_S):
                final = await self._exchange("INVITE", invite)
        except TimeoutError:
            raise CallRefusedError(f"nobody answered {self._number} within {RING_S:.0f} s") from None
        finally:
            if final is None:
                self._send(self._request("CANCEL", branch))
        assert final.status is not None, "a response has a status"
        self._remote = final.one("to") or self._remote
        if final.status >= 300:
            self._send(self._request("ACK", branch))
            raise CallRefusedError(f"the call to {self._number} was refused: {final.first.partition(' ')[2]}")
        self._target = _address(final.one("contact")) or self._target
        self._routes = list(reversed(final.all("record-route")))
        self._ack = self._request("ACK", _branch())
        self._send(self._ack)
        self._up = True
        return final.body

    async def hang_up(self) -> None:
        """End the call, if it is up, and the socket. Harmless when the other end was quicker."""
        if self._up and not self.ended.is_set():
            self._up = False
            self._sequence += 1
            with contextlib.suppress(TimeoutError, CallRefusedError):
                async with asyncio.timeout(BYE_S):
                    await self._exchange("BYE", self._request("BYE", _branch()))
        if self._transport is not None:
            self._transport.close()

    # -- what comes ---------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = Message.read(data)
        if message.one("call-id") != self._id:
            return
        if message.status is None:
            self._answer(message)
        elif message.method == "INVITE" and self._up and 200 <= message.status < 300:
            self._send(self._ack)  # the answer again: our ACK was lost
        elif message.method in self._responses:
            self._responses[message.method].put_nowait(message)

    def error_received(self, exc: Exception) -> None:
        assert isinstance(exc, OSError), "asyncio reports nothing else here"
        for responses in self._responses.values():
            responses.put_nowait(exc)

    def _answer(self, request: Message) -> None:
        """To the other end's requests within the call."""
        match request.method:
            case "ACK":
                return
            case "BYE":
                self.ended.set()
                status = "200 OK"
            case "OPTIONS" | "INFO":
                status = "200 OK"
            case "INVITE" | "UPDATE":
                status = "488 Not Acceptable Here"  # the call stays as it was
            case _:
                status = "501 Not Implemented"
        copied = [("via", "Via"), ("from", "From"), ("to", "To"), ("call-id", "Call-ID"), ("cseq", "CSeq")]
        lines = [f"{says}: {value}" for name, says in copied for value in request.all(name)]
        self._send(_written(f"SIP/2.0 {status}", lines, ""))

    # -- what goes ----------------------------------------------------------------------------------------------------

    async def _exchange(self, method: str, request: bytes) -> Message:
        """Send until something is heard, then wait for the final response."""
        wait_s, waited_s, heard = T1_S, 0.0, False
        self._send(request)
        while True:
            try:
                found = await asyncio.wait_for(self._responses[method].get(), None if heard else wait_s)
            except TimeoutError:
                waited_s, wait_s = waited_s + wait_s, 2 * wait_s
                if waited_s >= GIVE_UP_S:
                    raise CallRefusedError(f"{self._peer[0]}:{self._peer[1]} says nothing to {method}") from None
                self._send(request)
                continue
            if isinstance(found, OSError):
                raise CallRefusedError(f"nothing listens for SIP at {self._peer[0]}:{self._peer[1]}") from found
            if found.status is not None and found.status >= 200:
                return found
            heard = True

    def _request(self, method: str, branch: str, body: str = "") -> bytes:
        assert self._transport is not None, "open() comes first"
        host, port = self._transport.get_extra_info("sockname")
        lines = [
            f"Via: SIP/2.0/UDP {host}:{port};branch={branch};rport",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in self._routes),
            f"From: <sip:{self._caller}@{host}:{port}>;tag={self._tag}",
            f"To: {self._remote}",
            f"Call-ID: {self._id}",
            f"CSeq: {self._sequence} {method}",
            f"Contact: <sip:{self._caller}@{host}:{port}>",
            "User-Agent: agent_tts-evals",
        ]
        return _written(f"{method} {self._target} SIP/2.0", lines, body)

    def _send(self, data: bytes) -> None:
        assert self._transport is not None, "open() comes first"
        self._transport.sendto(data)


def offer(port: int) -> str:
    """SDP that asks for PCMU in packets of 20 ms and nothing else."""
    number = secrets.randbelow(1 << 31)
    return (
        f"v=0\r\no=- {number} {number} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )


def answered_at(answer: str) -> tuple[str, int]:
    """Where the other end wants its packets. CallRefusedError when it does not take PCMU."""
    lines = [line.partition("=")[::2] for line in answer.splitlines()]
    audio = next((value.split() for name, value in lines if name == "m" and value.startswith("audio")), [])
    host = next((value.split()[-1] for name, value in reversed(lines) if name == "c"), "")
    if len(audio) < 4 or audio[1] == "0" or "0" not in audio[3:] or not host:
        raise CallRefusedError("the other end answered without PCMU")
    return host, int(audio[1])


def _address(contact: str) -> str:
    """The URI of `"name" <uri>;parameters` or of a bare one."""
    _, opened, rest = contact.partition("<")
    return rest.partition(">")[0] if opened else contact.partition(";")[0]


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


def _written(first: str, lines: list[str], body: str) -> bytes:
    if body:
        lines = [*lines, "Content-Type: application/sdp"]
    return "\r\n".join([first, *lines, f"Content-Length: {len(body.encode())}", "", body]).encode()
