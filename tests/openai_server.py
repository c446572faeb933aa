"""`python -m tests.openai_server --port 8000`: a server of OpenAI's speech API around the bundled voice, or a sine.

What a stranger's server looks like to the evaluations, no more: POST /v1/audio/speech, raw PCM or WAV, chunked.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
from typing import Any

from aiohttp import web

from agent_tts import Engine
from tests.fakes import ToneRunner

KNOWN = {"model", "voice", "input", "response_format", "speed", "instructions", "stream_format"}


def application(engine: Engine, *, strict: bool = False) -> web.Application:
    """The server.

    Args:
        strict: Refuse fields that OpenAI's API does not have.
    """

    async def speech(request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        unknown = sorted(body.keys() - KNOWN) if strict else []
        if unknown or not body.get("input") or "model" not in body or "voice" not in body:
            return web.json_response({"error": {"message": f"unknown or missing: {unknown}"}}, status=400)
        form = body.get("response_format", "mp3")
        if form not in ("pcm", "wav"):
            return web.json_response({"error": {"message": "pcm and wav only"}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": f"audio/{form}"})
        await response.prepare(request)
        utterance = engine.utterance(lead_ms=600_000)
        utterance.push_text(body["input"])
        utterance.end_text()
        try:
            if form == "wav":
                await response.write(endless_header(engine.sample_rate))
            async for chunk in utterance:
                await response.write(chunk.pcm[: chunk.num_samples].astype("<i2").tobytes())
        finally:
            utterance.abort()  # also when the client has hung up
        return response

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    return app


def endless_header(rate: int) -> bytes:
    """A WAV header as streaming servers send it: of unknown length."""
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data\xff\xff\xff\xff"


async def start(engine: Engine, port: int = 0, *, strict: bool = False) -> tuple[web.AppRunner, str]:
    """Serve on loopback; returns the runner to clean up and the API's address."""
    runner = web.AppRunner(application(engine, strict=strict), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def serve(port: int, model: str) -> None:
    engine = Engine.from_runner(ToneRunner()) if model == "tone" else await Engine.load(model)
    runner, url = await start(engine, port)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default="bundled", help="bundled, a checkpoint folder, or tone")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.model))


if __name__ == "__main__":
    main()
