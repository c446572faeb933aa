"""A participant of a LiveKit room as the caller; the agent is agents/livekit_agent.py, a worker of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agents.demo_livekit.caller import Caller, caller_in_room
from agents.demo_livekit.server import MissingServerError, RoomAccess, agent_in_rooms, find_server
from evals.live.line import CannotCallError, Setting

UP_S = 90.0
"""How long the call may take to come up."""


@asynccontextmanager
async def open_line(setting: Setting) -> AsyncIterator[Caller]:
    """The caller in the room, the agent with it."""
    async with worker_for(setting) as access:
        setting.narrate("joining the room")
        token = access.token(room="live", identity="caller")
        line = caller_in_room(access.url, token)
        async with asyncio.timeout(UP_S):
            caller = await line.__aenter__()
        try:
            yield caller
        finally:
            await line.__aexit__(None, None, None)


@asynccontextmanager
async def worker_for(setting: Setting) -> AsyncIterator[RoomAccess]:
    """The agent as the setting wants it, ready for calls."""
    try:
        find_server()
    except MissingServerError as error:
        raise CannotCallError(str(error)) from error
    setting.narrate("starting the server, the engine and the worker")
    async with agent_in_rooms(setting.folder, agent_changes(setting)) as access:
        yield access


def agent_changes(setting: Setting) -> Mapping[str, Any]:
    """What a measurement wants different from the agent's own config file."""
    return {"barge_in": setting.preset, "llm": {"base_url": setting.llm_url, "max_tokens": 1000}}
