"""An OpenAI endpoint that answers from a script: the first question with the first reply, and so on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def fake_openai(replies: Sequence[str]) -> AsyncIterator[str]:
    """Serve on loopback for the length of the block; yields the base URL."""

    async def complete(request: web.Request) -> web.StreamResponse:
        messages = (await request.json())["messages"]
        asked = sum(message["role"] == "user" for message in messages)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for index, word in enumerate(replies[min(asked, len(replies)) - 1].split(" ")):
            delta = {"role": "assistant", "content": f" {word}" if index else word}
            await response.write(_event({"choices": [{"index": 0, "delta": delta}]}))
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


def _event(body: dict[str, object]) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "fake", "object": "chat.completion.chunk", "created": 0, "model": "fake", **body}).encode()
        + b"\n\n"
    )
