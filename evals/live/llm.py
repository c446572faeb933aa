"""An OpenAI endpoint that answers with long replies at an LLM's pace, the same in every run: runs can be compared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from evals.texts import llm_pace, text_of_words

FIRST_TOKEN_S = 0.15


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply and when its first token was sent, on time.monotonic()."""

    first_token_s: float
    text: str


@dataclass(slots=True)
class Llm:
    """The endpoint, and what it has answered."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)


@asynccontextmanager
async def steady_llm(*, seed: int = 1, words: int = 120, tokens_per_s: float = 30.0) -> AsyncIterator[Llm]:
    """Serve on loopback for the length of the block. Every request gets the next reply, whatever it asks."""
    llm = Llm()

    async def complete(request: web.Request) -> web.StreamResponse:
        number = seed * 1000 + len(llm.answers)
        text = text_of_words(number, words)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(FIRST_TOKEN_S)
        begin_s = time.monotonic()
        llm.answers.append(Answer(begin_s, text))
        with contextlib.suppress(ConnectionResetError):  # an agent that was interrupted hangs up
            for token in llm_pace(text, number, tokens_per_s=tokens_per_s):
                await asyncio.sleep(max(0.0, begin_s + token.at_s - time.monotonic()))
                await response.write(_event({"role": "assistant", "content": token.text}))
            await response.write(_event({}, finish_reason="stop"))
            await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    llm.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield llm
    finally:
        await runner.cleanup()


def _event(delta: dict[str, str], **more: str) -> bytes:
    chunk = {"id": "steady", "object": "chat.completion.chunk", "created": 0, "model": "steady"}
    return b"data: " + json.dumps(chunk | {"choices": [{"index": 0, "delta": delta, **more}]}).encode() + b"\n\n"
