"""Chromium in a LiveKit room as the caller: agents/web/livekit.html, told what to say, with livekit-client in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from agents.demo_livekit.server import RoomAccess
from evals.live.line import CannotCallError, Setting
from evals.live.page import PageLine, page_line, page_server
from evals.live.room import worker_for

CLIENT = Path(__file__).resolve().parents[2] / ".cache" / "web" / "livekit-client.umd.js"
HOW_TO_GET = f"no {CLIENT.name} in .cache/web. Run `make livekit-client` (needs npm)."


@asynccontextmanager
async def open_line(setting: Setting) -> AsyncIterator[PageLine]:
    """The page in the room, the agent with it."""
    find_client()
    async with worker_for(setting) as access:
        setting.narrate("opening the page")
        async with page_in_room(access) as line:
            yield line


def find_client() -> Path:
    """livekit-client for the page. CannotCallError says how to get it."""
    if not CLIENT.exists():
        raise CannotCallError(HOW_TO_GET)
    return CLIENT


@asynccontextmanager
async def page_in_room(access: RoomAccess) -> AsyncIterator[PageLine]:
    """A browser with the page, in a room to which the agent is sent."""
    line = PageLine()
    async with page_server(line, {CLIENT.name: find_client()}) as address:
        token = access.token(room="live", identity="caller")
        query = urlencode({"line": f"ws://{address}/line", "url": access.url, "token": token})
        async with page_line(f"http://{address}/livekit.html?{query}", line):
            yield line
