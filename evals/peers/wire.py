"""Peers over HTTP: any server with OpenAI's speech API, Fish's, or one that answers text with chunked audio.

Text goes out sentence by sentence (`chunking="sentence"`, as agents do with such servers) or whole. Audio is taken from
the socket as it comes, never in blocks of a fixed size. abort() closes the connection; whether the server stops then
cannot be seen from here, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from evals.metrics.reply import longest_ms
from evals.peers.answers import (
    Asked,
    RefusedError,
    check_beginning,
    check_length,
    check_sound,
    check_type,
    check_url,
    explain,
    rate_of,
    shortened,
)
from evals.peers.asking import IMPATIENT, OPENING, PATIENT, Patience, asked
from evals.peers.base import Abilities, PeerUnavailableError, Piece, QuietReply, ReplyFailedError, heard_of
from evals.peers.cutting import SentenceCutter
from evals.peers.rate import SpokenRate
from evals.peers.requests import EXTRAS, FIRST_VOICE, FORMS, MAKERS, Place, Request, check_template
from evals.peers.wav_stream import PcmStream

Chunking = Literal["sentence", "whole"]

UNKNOWN_FIELD = (400, 422)
WAYS = (((), "pcm"), (EXTRAS, "pcm"), ((), "wav"), (EXTRAS, "wav"))
"""How OpenAI's form is tried: which fields are left out, and the format; the first that gives audio is kept."""
RATES = {"openai": 24_000, "fish": 44_100, "http": 24_000}
TRIED_OUT = "One, two, three, four, five."

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


class WirePeer:
    """A TTS server.

    Args:
        kind: "openai", "fish" or "http": how a request is put.
        url: Address of the API.
        voices: Those that open() tries out.
        sample_rate: Hz of the audio, where it is stated: an answer that says otherwise is refused. None = what the
            server says, else the usual rate of its kind.
        timeout_s: Longest wait for a byte.
        patient: Ask again, when the server says that it is busy; for evaluations that measure no time.
        body: "http": a template of what is sent.
        key_name: Where the key was read from, for messages.
    """

    abilities = BY_WIRE

    def __init__(
        self,
        kind: str,
        url: str,
        *,
        key: str | None = None,
        key_name: str = "",
        model: str = "",
        voices: tuple[str, ...] = ("default",),
        sample_rate: int | None = None,
        chunking: Chunking = "sentence",
        timeout_s: float = 50.0,
        patient: bool = False,
        body: str = "",
    ) -> None:
        if kind not in MAKERS:
            raise ValueError(f"kind is {kind!r}; allowed: {', '.join(MAKERS)}")
        self.name = kind
        self._rate = SpokenRate(sample_rate, RATES[kind])
        self.chunking = chunking
        self._place = Place(url, key, model, body)
        self._key_name = key_name
        self._voices = voices
        self._timeout_s = timeout_s
        self._patient = patient
        self._way = WAYS[0]
        self._way_found = False
        self._rate_asked = False
        self._session: Any = None

    @property
    def sample_rate(self) -> int:
        return self._rate.hz

    @property
    def rate_known_by(self) -> str:
        """How it is known, for people."""
        return self._rate.known_by

    # -- opening: what could make a measurement wrong is found here ---------------------------------------------------

    async def open(self) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise PeerUnavailableError("Servers are reached with aiohttp: pip install aiohttp") from error
        patience = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._timeout_s)
        self._session = aiohttp.ClientSession(timeout=patience)
        voice = self._voices[0]
        try:
            check_url(self._place.url)
            check_template(self._place.body)
            for voice in self._voices:
                await self._try_out(voice)
        except (aiohttp.ClientError, OSError, ValueError, ReplyFailedError) as error:
            await self._session.close()
            place = self._place
            said = FIRST_VOICE if (self.name, voice) == ("openai", "default") else voice
            about = Asked(place.url, place.model, said, self._key_name, place.key is not None, FORMS[self.name])
            raise PeerUnavailableError(explain(error, about)) from error

    async def _try_out(self, voice: str) -> None:
        """A few words, which also tell whether the server knows every field, and at which rate it speaks."""
        ways = WAYS if self.name == "openai" and not self._way_found else (self._way,)
        for way in ways:
            self._way, stream = way, PcmStream()
            try:
                said = await self._all_of(voice, stream)
                break
            except (RefusedError, ValueError) as error:
                known = isinstance(error, RefusedError) and error.status not in UNKNOWN_FIELD
                if known or way is ways[-1]:
                    raise
        self._way_found = True
        self._rate.header(stream.sample_rate)
        check_sound(said, self.sample_rate)
        if self.name == "openai" and stream.sample_rate is None and not self._rate_asked:
            await self._ask_rate(voice, len(said))
        check_length(said, self.sample_rate, TRIED_OUT)

    async def _all_of(self, voice: str, stream: PcmStream, **other: str) -> np.ndarray:
        """The answer to a few words; one without end is cut off."""
        said: list[np.ndarray] = []
        request = self._request(voice, TRIED_OUT, **other)
        limit_s = 3 * self._timeout_s + OPENING.wait_s
        async with asyncio.timeout(limit_s), aclosing(self._answer(request, stream, OPENING)) as answer:
            async for pcm in answer:
                said.append(pcm)
                if 1000 * sum(map(len, said)) / (stream.sample_rate or self.sample_rate) > 2 * longest_ms(TRIED_OUT):
                    break
        return np.concatenate(said) if said else np.zeros(0, np.int16)

    async def _ask_rate(self, voice: str, num_raw: int) -> None:
        """Raw audio does not say its rate; the same words as a WAV do, where the server can."""
        self._rate_asked = True
        stream = PcmStream()
        try:
            num_wav = len(await self._all_of(voice, stream, response_format="wav"))
        except (RefusedError, ValueError, OSError):
            return
        if stream.sample_rate is not None and num_wav:
            self._rate.against(num_raw, num_wav, stream.sample_rate)

    # -- a run --------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def reply(self, *, voice: str = "default") -> WireReply:
        return WireReply(self, voice)

    def pages_leaked(self) -> int | None:
        return None

    async def audio(self, voice: str, text: str) -> AsyncGenerator[np.ndarray, None]:
        """The audio of one request, as it comes from the socket."""
        stream = PcmStream()
        patience = PATIENT if self._patient else IMPATIENT
        async with aclosing(self._answer(self._request(voice, text), stream, patience)) as answer:
            async for pcm in answer:
                self._rate.header(stream.sample_rate)
                yield pcm

    def _request(self, voice: str, text: str, **other: str) -> Request:
        request = MAKERS[self.name](self._place, voice, text)
        if self.name != "openai":
            return request
        left_out, form = self._way
        wanted = {**request.body, "response_format": form, **other}
        return replace(request, body={name: value for name, value in wanted.items() if name not in left_out})

    async def _answer(
        self, request: Request, stream: PcmStream, patience: Patience
    ) -> AsyncGenerator[np.ndarray, None]:
        """The samples of one answer. Raises ReplyFailedError and ValueError by the name of what went wrong."""
        import aiohttp

        try:
            async with asked(self._session, request, patience, self._place.key) as answer:
                check_type(answer.content_type)
                stream.sample_rate = stream.sample_rate or rate_of(answer.headers.get("Content-Type", ""))
                first = True
                async for data in answer.content.iter_any():
                    if first:
                        check_beginning(data)
                    first = False
                    if len(pcm := stream.push(data)):
                        yield pcm
        except aiohttp.ClientPayloadError as error:
            raise ReplyFailedError("connection closed in mid-answer") from error
        except aiohttp.ServerDisconnectedError as error:
            raise ReplyFailedError("connection closed without an answer") from error
        except aiohttp.ServerTimeoutError as error:
            raise TimeoutError(f"no byte for {self._timeout_s:g} s") from error


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
                async with aclosing(self._peer.audio(self._voice, text)) as audio:
                    async for pcm in audio:
                        if self._aborted.is_set():
                            return
                        came_ms = 1000 * len(pcm) / self._peer.sample_rate
                        self.generated_ms += came_ms
                        self._made[-1] = (text, self._made[-1][1] + came_ms)
                        yield Piece(pcm)
        except ValueError as error:
            raise ReplyFailedError(shortened(str(error), None)) from error
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
