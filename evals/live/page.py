"""The caller's end of a call in a browser's page: a WebSocket to agents/web/measured.js. Knows no transport.

The page records mouth and ear on its audio clock, block by block; here the three clocks (audio, page, ours) are joined.
The audio clock moves in jumps: the block that came least late tells where it stands, as for frames of a room.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import WSMessage, WSMsgType, web

from agents.demo.chromium import MissingBrowserError, browser_at, find_browser
from evals.live.hearing import Hearing
from evals.live.line import CannotCallError, Packets
from evals.live.tracks import RATE, Pcm, Tracks, arrived_s, recording

WEB = Path(__file__).resolve().parents[2] / "agents" / "web"
UP_S = 60.0
"""How long a browser may take to open its page and call."""
SYNCS = 12
BLOCK_S = 0.01
STUMBLE_S = 0.02


@dataclass(slots=True)
class Clock:
    """From the page's clock to ours: the exchange with the shortest way there and back tells best."""

    ours_minus_page: float = 0.0
    shortest_s: float = float("inf")
    exchanges: int = 0

    def learn(self, sent_s: float, page_s: float, came_s: float) -> None:
        self.exchanges += 1
        trip_s = came_s - sent_s
        if trip_s < self.shortest_s:
            self.shortest_s = trip_s
            self.ours_minus_page = (sent_s + came_s) / 2 - page_s


class PageLine:
    """A Line over one page."""

    def __init__(self) -> None:
        self.hearing = Hearing()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock = Clock()
        self._socket: web.WebSocketResponse | None = None
        self._said: asyncio.Future[None] | None = None
        self._counted: asyncio.Future[Packets] | None = None
        self._audio_s: list[float] = []

    # -- a Line -------------------------------------------------------------------------------------------------------

    async def say(self, pcm: Pcm) -> None:
        assert self._socket is not None, "the page has not called yet"
        self._said = asyncio.get_running_loop().create_future()
        await self._socket.send_bytes(pcm.astype("<i2").tobytes())
        await self._said

    async def tracks(self) -> Tracks:
        mouth, ear = self.hearing.said, self.hearing.heard
        _check_steady(self._audio_s)
        times_s = arrived_s(ear)
        return recording(mouth, times_s, ear, times_s)

    async def packets(self) -> Packets | None:
        assert self._socket is not None, "the page has not called yet"
        self._counted = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"do": "packets"})
        return await self._counted

    # -- the page -----------------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """The handler of its WebSocket."""
        self._socket = web.WebSocketResponse(max_msg_size=0)
        await self._socket.prepare(request)
        for _ in range(SYNCS):
            await self._socket.send_json({"do": "sync", "sent_s": time.monotonic()})
        async for message in self._socket:
            self._receive(message)
        return self._socket

    def _receive(self, message: WSMessage) -> None:
        if message.type is WSMsgType.BINARY:
            self._keep(message.data)
        elif message.type is WSMsgType.TEXT:
            self._understand(json.loads(message.data))

    def _understand(self, message: dict[str, Any]) -> None:
        match message["name"]:
            case "sync":
                self._clock.learn(message["sent_s"], message["page_s"], time.monotonic())
            case "told":
                self.hearing.add_told(message["event"])
            case "said" if self._said is not None:
                self._said.set_result(None)
            case "packets" if self._counted is not None:
                counted = (int(message[name]) for name in ("received", "lost", "samples"))
                self._counted.set_result(Packets(*counted, sample_rate=RATE))
            case "ready" if not self.ready.done():
                self.ready.set_result(None)
            case "failed" if not self.ready.done():
                self.ready.set_exception(CannotCallError(f"the page could not call: {message['reason']}"))

    def _keep(self, data: bytes) -> None:
        if self._clock.exchanges < SYNCS:
            return
        audio_s, page_s = np.frombuffer(data, "<f8", 2)
        mouth, ear = np.frombuffer(data, "<i2", offset=16).reshape(2, -1)
        self._audio_s.append(float(audio_s))
        at_s = float(page_s) + self._clock.ours_minus_page - len(ear) / RATE
        self.hearing.add_said(at_s, mouth)
        self.hearing.add_heard(at_s, ear)


def _check_steady(audio_s: list[float]) -> None:
    """The page's audio clock may stumble by a few quanta of 128 samples, which shifts a moment by as much; no more.

    Raises:
        CannotCallError: It jumped; nothing laid out from this recording is true.
    """
    worst_s = max((abs(after - before - BLOCK_S) for before, after in itertools.pairwise(audio_s)), default=0.0)
    if worst_s > STUMBLE_S:
        raise CannotCallError(
            f"the page's audio clock jumped by {1000 * worst_s:.1f} ms, at most {1000 * STUMBLE_S:.0f} can be borne: "
            "the machine is too busy for a recording"
        )


@asynccontextmanager
async def page_server(line: PageLine, more: dict[str, Path]) -> AsyncIterator[str]:
    """Serve agents/web, `more` files and the line's WebSocket (/line) on loopback; yields host:port."""
    app = web.Application()
    app.router.add_get("/line", line.serve)
    for name, path in more.items():
        app.router.add_get(f"/{name}", _file(path))
    app.router.add_static("/", WEB)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    async def serve(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return serve


@asynccontextmanager
async def page_line(url: str, line: PageLine) -> AsyncIterator[PageLine]:
    """Open the page in a browser and wait until its call is up."""
    try:
        find_browser()
    except MissingBrowserError as error:
        raise CannotCallError(str(error)) from error
    async with browser_at(url):
        try:
            await asyncio.wait_for(line.ready, UP_S)
        except TimeoutError:
            raise CannotCallError(f"the page was not in a call after {UP_S:.0f} s") from None
        yield line
