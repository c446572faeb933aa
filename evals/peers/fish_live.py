"""Peer: Fish's WebSocket API (/v1/tts/live), cloud or self-hosted: text streams in, audio streams out, msgpack frames.

    {event: start, request} · {event: text, text} ... · {event: flush} after a sentence · {event: stop}   ─▶
    ◀─ {event: audio, audio: bytes} ... · {event: finish, reason}

One connection for each reply, opened when the reply is; so its handshake is inside TTFA, as it is after an interruption
in the adapters of today. abort() closes it: the protocol has no message for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np

from evals.peers.answers import Asked, RefusedError, check_length, check_sound, check_url, explain, shortened
from evals.peers.base import Abilities, Pcm, PeerUnavailableError, Piece, QuietReply, ReplyFailedError
from evals.peers.wav_stream import PcmStream

SENTENCE_ENDS = (".", "!", "?")
TRIED_OUT = "One, two, three, four, five."


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

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        key_name: str = "",
        model: str = "",
        voice: str = "default",
        sample_rate: int = 44_100,
        timeout_s: float = 50.0,
    ) -> None:
        self.sample_rate = sample_rate
        self.rate_known_by = "as it was asked for"
        self._asked = Asked(url, model, voice, key_name, key is not None, "Fish's form has no path")
        self._key = key
        self._timeout_s = timeout_s
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
            check_url(self._asked.url)
            async with asyncio.timeout(self._timeout_s):
                said = await self._try_out()
            check_sound(said, self.sample_rate)
            check_length(said, self.sample_rate, TRIED_OUT)
        except (aiohttp.ClientError, OSError, ValueError, ReplyFailedError) as error:
            await self._session.close()
            raise PeerUnavailableError(explain(error, self._asked)) from error

    async def _try_out(self) -> Pcm:
        """A few words: a key and a voice that are refused are found here."""
        reply = self.reply(voice=self._asked.voice)
        reply.push_text(TRIED_OUT)
        reply.end_text()
        said = [piece.pcm async for piece in reply]
        return np.concatenate(said) if said else np.zeros(0, np.int16)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def reply(self, *, voice: str = "default") -> FishLiveReply:
        request = {"text": "", "format": "pcm", "sample_rate": self.sample_rate, "latency": "balanced"}
        return FishLiveReply(self, request | ({} if voice == "default" else {"reference_id": voice}))

    def pages_leaked(self) -> int | None:
        return None

    async def connect(self) -> Any:
        """A new WebSocket. Raises RefusedError where the server wants none."""
        import aiohttp

        try:
            address = f"{self._asked.url.rstrip('/')}/v1/tts/live"
            return await self._session.ws_connect(address, headers=self._headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            raise RefusedError(error.status, shortened(error.message, self._key)) from error

    async def send(self, socket: Any, event: str, **values: object) -> None:
        await socket.send_bytes(self._pack({"event": event, **values}))

    def read(self, data: bytes) -> dict[str, Any]:
        """One message. Raises ReplyFailedError for what is none."""
        message = self._unpack(data) if isinstance(data, bytes) else None
        if not isinstance(message, dict):
            raise ReplyFailedError("an answer that is no msgpack map")
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
        try:
            async with await self._peer.connect() as socket:
                self._connect_ms = 1000 * (time.perf_counter() - started)
                async with aclosing(self._pieces(socket)) as pieces:
                    async for piece in pieces:
                        yield piece
        finally:
            self._closed.set()

    async def _pieces(self, socket: Any) -> AsyncGenerator[Piece, None]:
        """Send the text as it comes, and give out the audio that answers it."""
        sending = asyncio.create_task(self._send(socket))
        closing = asyncio.create_task(self._close_on_abort(socket))
        stream = PcmStream()
        try:
            async for frame in socket:
                message = self._peer.read(frame.data)
                if self._aborted.is_set() or message.get("event") == "finish":
                    _check(message)
                    return
                if message.get("event") == "audio" and len(pcm := stream.push(message["audio"])):
                    self.generated_ms += 1000 * len(pcm) / self._peer.sample_rate
                    yield Piece(pcm)
            if not self._aborted.is_set():
                raise ReplyFailedError("connection closed in mid-answer")
        finally:
            sending.cancel()
            closing.cancel()

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
    if message.get("event") == "finish" and message.get("reason") == "error":
        raise ReplyFailedError("finished with reason 'error': does the server know the voice and the model?")
