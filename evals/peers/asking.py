"""One request to a server: again when it is busy or stumbles, as patiently as is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from evals.peers.answers import RefusedError, message_of, wait_of
from evals.peers.requests import Request

BUSY = 429
USUAL_WAIT_S = 1.0
MESSAGE_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Patience:
    """How often it is asked in all, and the longest wait in between."""

    tries: int
    wait_s: float = 0.0


IMPATIENT, OPENING, PATIENT = Patience(1), Patience(2, 2.0), Patience(6, 30.0)


@asynccontextmanager
async def asked(session: Any, request: Request, patience: Patience, key: str | None) -> AsyncIterator[Any]:
    """The answer, once it is one of success; RefusedError, without the key in it, when there is none."""
    bodies = {"json": {"json": request.body}, "form": {"data": request.body}, "get": {}}
    method = "GET" if request.kind == "get" else "POST"
    for left in reversed(range(patience.tries)):
        async with session.request(method, request.url, headers=request.headers, **bodies[request.kind]) as answer:
            if answer.ok:
                yield answer
                return
            says = message_of(await answer.content.read(MESSAGE_BYTES), key)
            refused = RefusedError(answer.status, says, wait_of(answer.headers.get("Retry-After")))
        if not left or (refused.status < 500 and refused.status != BUSY):
            raise refused
        await asyncio.sleep(min(patience.wait_s, USUAL_WAIT_S if refused.wait_s is None else refused.wait_s))
