"""Peer: Fish's WebSocket API (/v1/tts/live), cloud or self-hosted: text streams in, audio streams out, msgpack frames.

    {event: start, request} · {event: text, text} ... · {event: flush} after a sentence · {event: stop}   ─▶
    ◀─ {event: audio, audio: bytes} ... · {event: finish, reason}

One connection for each reply, opened when the reply is; so its handshake is inside TTFA, as it is after an interruption
in the adapters of today. abort() closes it: the protocol has no message for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from evals.peers.base import Abilities, PeerUnavailableError, Piece, QuietReply
from evals.peers.wav_stream import PcmStream

SENTENCE_ENDS = (".", "!", "?")


class FishLivePeer:
    """A server that speaks Fish's live protocol.

    Args:
        url: Such as ws://127.0.0.1:8000 or wss://api.fish.audio.
        sample_rate: Hz asked for; raw int16 comes back.
    """

    name = "fish-live"
    abilities = Abilities(
        text="stream",
        audio="frames",
        abort="connection",
        lacks=(
            "abort() closes the connection; the protocol has no cancel, whether the server stops is not known",
            "no word times: heard text is an estimate",
            "no playout position: the server computes as far as it likes",
        ),
    )

    def __init__(self, url: str, *, key: str | None = None, model: str = "", sample_rate: int = 44_100) -> None:
        self.sample_rate = sample_rate
        self._url = f"{url.rstrip('/')}/v1/tts/live"
        self._headers = ({"Authorization": f"Bearer {key}"} if key else {}) | ({"model": model} if model else {})
        self._session: Any = None

    async def open(self) -> None:
        try:
            import aiohttp
            import msgpack
        except ImportError as error:
            raise PeerUnavailableError("Fish's live API needs: pip install aiohttp msgpack") from error
        self._pack, self._unpack = msgpack.packb, msgpack.unpackb
        self._session = aiohttp.ClientSession()
        try:
            await (await self.connect()).close()
        except (aiohttp.ClientError, OSError) as error:
            await self._session.close()
            raise PeerUnavailableError(f"no connection to {self._url}: {type(error).__name__}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def reply(self, *, voice: str = "default") -> FishLiveReply:
        request = {"text": "", "format": "pcm", "sample_rate": self.sample_rate, "latency": "balanced"}
        return FishLiveReply(self, request | ({} if voice == "default" else {"reference_id": voice}))

    def pages_leaked(self) -> int | None:
        return None

    async def connect(self) -> Any:
        """A new WebSocket."""
        return await self._session.ws_connect(self._url, headers=self._headers, max_msg_size=0)

    async def send(self, socket: Any, event: str, **values: object) -> None:
        await socket.send_bytes(self._pack({"event": event, **values}))

    def read(self, data: bytes) -> dict[str, Any]:
        message: dict[str, Any] = self._unpack(data)
        return message


class FishLiveReply(QuietReply):
    """One turn over one connection."""

    def __init__(self, peer: FishLivePeer, request: dict[str, object]) -> None:
        super().__init__()
        self._peer = peer
        self._request = request
        self._text: asyncio.Queue[str | None] = asyncio.Queue()
        self._aborted = asyncio.Event()
        self._closed = asyncio.Event()
        self._connect_ms: float | None = None

    def push_text(self, text: str) -> None:
        self.text += text
        self._text.put_nowait(text)

    def end_text(self) -> None:
        self._text.put_nowait(None)

    def abort(self) -> None:
        self._aborted.set()
        self._text.put_nowait(None)

    def facts(self) -> dict[str, float | int | None]:
        return super().facts() | {"connect_ms": self._connect_ms}

    async def released(self) -> None:
        """The connection is closed; what the server still does is unknown."""
        await self._closed.wait()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        started = time.perf_counter()
        socket = await self._peer.connect()
        self._connect_ms = 1000 * (time.perf_counter() - started)
        sending = asyncio.create_task(self._send(socket))
        closing = asyncio.create_task(self._close_on_abort(socket))
        stream = PcmStream()
        try:
            async for frame in socket:
                message = self._peer.read(frame.data)
                if self._aborted.is_set() or message["event"] == "finish":
                    _check(message)
                    return
                if message["event"] == "audio" and len(pcm := stream.push(message["audio"])):
                    self.generated_ms += 1000 * len(pcm) / self._peer.sample_rate
                    yield Piece(pcm)
            if not self._aborted.is_set():
                raise ConnectionError("the server closed the connection before it had finished")
        finally:
            sending.cancel()
            closing.cancel()
            await socket.close()
            self._closed.set()

    async def _send(self, socket: Any) -> None:
        await self._peer.send(socket, "start", request=self._request)
        while not self._aborted.is_set() and (text := await self._text.get()) is not None:
            await self._peer.send(socket, "text", text=text)
            if text.rstrip().endswith(SENTENCE_ENDS):
                await self._peer.send(socket, "flush")
        if not self._aborted.is_set():
            await self._peer.send(socket, "stop")

    async def _close_on_abort(self, socket: Any) -> None:
        await self._aborted.wait()
        await socket.close()


def _check(message: dict[str, Any]) -> None:
    if message["event"] == "finish" and message.get("reason") == "error":
        raise ConnectionError("the server finished with reason 'error'")
