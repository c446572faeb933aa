"""Peers over HTTP: any server with OpenAI's speech API, Fish's, or one that answers text with chunked audio.

Text goes out sentence by sentence (`chunking="sentence"`, as agents do with such servers) or whole. Audio is taken from
the socket as it comes, never in blocks of a fixed size. abort() closes the connection; whether the server stops then
cannot be seen from here, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from evals.peers.base import Abilities, PeerUnavailableError, Piece, QuietReply, heard_of
from evals.peers.cutting import SentenceCutter
from evals.peers.wav_stream import PcmStream

Chunking = Literal["sentence", "whole"]

EXTRAS = ("stream",)
"""Fields that many servers want for streaming, and a few refuse."""
REFUSED = (400, 422)
NOT_PCM = ("audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/aac", "audio/flac", "application/json")

BY_WIRE = Abilities(
    text="sentences",
    audio="frames",
    abort="connection",
    lacks=(
        "no text after a request was sent: text goes sentence by sentence",
        "abort() closes the connection; whether the server stops computing is not known",
        "no word times: heard text is an estimate",
        "no playout position: the server computes as far as it likes",
    ),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One POST: where to, with which headers and JSON body."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def openai_request(url: str, key: str | None, model: str, voice: str, text: str) -> Request:
    """POST {url}/audio/speech; response_format pcm is 24 kHz int16 mono. A voice must be named; alloy is the first."""
    body = {
        "model": model,
        "voice": "alloy" if voice == "default" else voice,
        "input": text,
        "response_format": "pcm",
        "stream": True,
    }
    return Request(f"{url.rstrip('/')}/audio/speech", body, _bearer(key))


def fish_request(url: str, key: str | None, model: str, voice: str, text: str) -> Request:
    """POST {url}/v1/tts, Fish cloud and self-hosted servers."""
    body: dict[str, Any] = {"text": text, "format": "wav", "streaming": True, "latency": "balanced", "normalize": True}
    if voice != "default":
        body["reference_id"] = voice
    return Request(f"{url.rstrip('/')}/v1/tts", body, _bearer(key) | ({"model": model} if model else {}))


def plain_request(url: str, key: str | None, model: str, voice: str, text: str) -> Request:
    """POST {url} with {"text", "voice", "model"}; the answer is chunked WAV or raw int16."""
    body = {"text": text, "voice": voice} | ({"model": model} if model else {})
    return Request(url, body, _bearer(key))


MAKERS: dict[str, Callable[[str, str | None, str, str, str], Request]] = {
    "openai": openai_request,
    "fish": fish_request,
    "http": plain_request,
}


class WirePeer:
    """A TTS server.

    Args:
        kind: "openai", "fish" or "http": how a request is put.
        url: Address of the API.
        voice: The one that open() tries out.
        sample_rate: Hz of raw audio; a WAV header in the answer overrides it, and must not change afterwards.
    """

    abilities = BY_WIRE

    def __init__(
        self,
        kind: str,
        url: str,
        *,
        key: str | None = None,
        model: str = "",
        voice: str = "default",
        sample_rate: int = 24_000,
        chunking: Chunking = "sentence",
    ) -> None:
        if kind not in MAKERS:
            raise ValueError(f"kind is {kind!r}; allowed: {', '.join(MAKERS)}")
        self.name = kind
        self.sample_rate = sample_rate
        self.chunking = chunking
        self._place = (url, key, model)
        self._voice = voice
        self._with_extras = True
        self._session: Any = None

    async def open(self) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise PeerUnavailableError("Servers are reached with aiohttp: pip install aiohttp") from error
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60))
        try:
            await self._try_out()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            await self._session.close()
            why = f"HTTP {error.status}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
            raise PeerUnavailableError(f"no speech from {self._place[0]}: {why or type(error).__name__}") from error

    async def _try_out(self) -> None:
        """One word, which also tells whether the server knows every field; some refuse what OpenAI does not have."""
        import aiohttp

        try:
            async for _ in self.audio(self._voice, "One."):
                pass
        except aiohttp.ClientResponseError as error:
            if error.status not in REFUSED or not self._with_extras:
                raise
            self._with_extras = False
            async for _ in self.audio(self._voice, "One."):
                pass

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def reply(self, *, voice: str = "default") -> WireReply:
        return WireReply(self, voice)

    def pages_leaked(self) -> int | None:
        return None

    async def audio(self, voice: str, text: str) -> AsyncIterator[np.ndarray]:
        """The audio of one request, as it comes from the socket."""
        url, key, model = self._place
        request = MAKERS[self.name](url, key, model, voice, text)
        body = request.body if self._with_extras else {k: v for k, v in request.body.items() if k not in EXTRAS}
        stream = PcmStream()
        async with self._session.post(request.url, json=body, headers=request.headers) as answer:
            answer.raise_for_status()
            if answer.content_type in NOT_PCM:
                raise ValueError(f"the server answers {answer.content_type}; allowed: raw 16-bit PCM or WAV")
            async for data in answer.content.iter_any():
                pcm = stream.push(data)
                if stream.sample_rate:
                    self.sample_rate = stream.sample_rate
                if len(pcm):
                    yield pcm


class WireReply(QuietReply):
    """One turn: requests one after the other, audio as it comes."""

    def __init__(self, peer: WirePeer, voice: str) -> None:
        super().__init__()
        self._peer = peer
        self._voice = voice
        self._cutter = SentenceCutter(peer.chunking)
        self._requests: asyncio.Queue[str | None] = asyncio.Queue()
        self._aborted = asyncio.Event()
        self._closed = asyncio.Event()
        self._made: list[tuple[str, float]] = []

    def push_text(self, text: str) -> None:
        self.text += text
        for sentence in self._cutter.push(text):
            self._requests.put_nowait(sentence)

    def end_text(self) -> None:
        for sentence in self._cutter.rest():
            self._requests.put_nowait(sentence)
        self._requests.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        try:
            while not self._aborted.is_set() and (text := await self._requests.get()) is not None:
                self._made.append((text, 0.0))
                async for pcm in self._peer.audio(self._voice, text):
                    if self._aborted.is_set():
                        return
                    came_ms = 1000 * len(pcm) / self._peer.sample_rate
                    self.generated_ms += came_ms
                    self._made[-1] = (text, self._made[-1][1] + came_ms)
                    yield Piece(pcm)
        finally:
            self._closed.set()

    def abort(self) -> None:
        self._aborted.set()
        self._requests.put_nowait(None)

    def heard_text(self, played_ms: float) -> str:
        """By the length of each request's audio; of the one that is coming, by what has come."""
        return heard_of(self._made, played_ms)

    async def released(self) -> None:
        """The connection is closed; what the server still does is unknown."""
        await self._closed.wait()


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
