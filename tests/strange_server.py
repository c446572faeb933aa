"""`python -m tests.strange_server --port 8001`: speech servers that answer as they should not, each under its own path.

POST /NAME/audio/speech, with NAME one of ways(); what is asked for is said as a tone of 60 ms a character.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import struct
import sys
from collections.abc import Awaitable, Callable

import numpy as np
from aiohttp import web

RATE = 24_000
Answer = Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]


def tone(text: str, rate: int = RATE, *, width: int = 2, channels: int = 1) -> bytes:
    """60 ms a character, fading in and out."""
    times = np.arange(round(0.06 * len(text) * rate)) / rate
    wave = np.repeat(0.3 * np.sin(2 * np.pi * 300 * times), channels)
    return ((wave * 127 + 128).astype(np.uint8) if width == 1 else (wave * 32_767).astype("<i2")).tobytes()


def wav(audio: bytes, rate: int = RATE, *, width: int = 2, channels: int = 1, size: int = 0xFFFF_FFFF) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * width, channels * width, 8 * width)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + audio


async def stream(
    request: web.Request, audio: bytes, *, kind: str = "audio/pcm", portion: int = 4_001, wait_s: float = 0.0
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    for start in range(0, len(audio), portion):
        await response.write(audio[start : start + portion])
        if wait_s:
            await asyncio.sleep(wait_s)
    return response


def spoken(**form: int) -> Answer:
    """Well-formed audio of some other form."""

    async def answer(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
        return await stream(request, wav(tone(body["input"], **form), form.get("rate", RATE), **_sizes(form)))

    return answer


def _sizes(form: dict[str, int]) -> dict[str, int]:
    return {name: form[name] for name in ("width", "channels") if name in form}


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    async def answer(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
        said = message.replace("{key}", request.headers.get("Authorization", "").removeprefix("Bearer "))
        return web.json_response({"error": {"message": said}}, status=status, headers=headers)

    return answer


def now_and_then(bad: Answer, *, every: int) -> Answer:
    """Well, but for each `every`th request."""
    count = itertools.count(1)

    async def answer(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
        return await (bad if next(count) % every == 0 else raw)(request, body)

    return answer


async def raw(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    if body.get("response_format") == "wav":
        return await stream(request, wav(tone(body["input"])), kind="audio/wav")
    return await stream(request, tone(body["input"]))


async def raw_48k(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """Raw audio whose rate only its WAV answer tells."""
    audio = tone(body["input"], 48_000)
    return await stream(request, wav(audio, 48_000) if body.get("response_format") == "wav" else audio)


async def raw_48k_wav_24k(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """Raw audio at another rate than its WAV answer."""
    if body.get("response_format") == "wav":
        return await stream(request, wav(tone(body["input"])))
    return await stream(request, tone(body["input"], 48_000))


async def page(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return web.Response(text="<!DOCTYPE html><title>It works!</title>", content_type="text/html")


async def hidden_page(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return web.Response(body=b"<!DOCTYPE html><title>It works!</title>", content_type="application/octet-stream")


async def silent_after_headers(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
    await response.prepare(request)
    await asyncio.sleep(3_600)
    return response


async def silent(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    await asyncio.sleep(3_600)
    return web.Response()


async def broken_off(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
    await response.prepare(request)
    await response.write(tone(body["input"])[:4_000])
    assert request.transport is not None
    request.transport.close()
    return response


async def empty(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return web.Response(body=b"", content_type="audio/pcm")


async def zeros(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return await stream(request, bytes(len(tone(body["input"]))))


async def noise(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """What compressed audio is, read as samples."""
    return await stream(request, np.random.default_rng(1).bytes(len(tone(body["input"]))))


async def mp3(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return await stream(request, b"ID3" + bytes(4_000), kind="audio/mpeg")


async def hidden_mp3(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return await stream(request, b"ID3" + bytes(4_000), kind="application/octet-stream")


async def bytewise(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return await stream(request, tone(body["input"], 8_000), kind="audio/pcm;rate=8000", portion=1)


async def wav_per_sentence(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """Two whole WAVs behind each other, with a list at the end of each."""
    audio = tone(body["input"])
    half = len(audio) // 4 * 2
    parts = [wav(part, size=len(part)) + b"LIST\x04\x00\x00\x00INFO" for part in (audio[:half], audio[half:])]
    return await stream(request, b"".join(parts), kind="audio/wav", portion=1_001)


async def endless(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
    await response.prepare(request)
    while True:
        await response.write(tone("ten letter"))


async def events(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """Events with base64 in them when `stream` is asked for, as some servers do; else a WAV."""
    if "stream" in body:
        return await stream(request, b"data: {}\n\n", kind="text/event-stream")
    return await stream(request, wav(tone(body["input"])), kind="audio/wav")


async def wav_only(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    """No raw audio, and no field that OpenAI's API does not have."""
    if body["response_format"] != "wav" or "stream" in body:
        return await refused(422, "response_format: wav or json")(request, body)
    return await stream(request, wav(tone(body["input"], 16_000), 16_000), kind="audio/wav")


async def mp3_unless_wav(request: web.Request, body: dict[str, str]) -> web.StreamResponse:
    return await (mp3 if body["response_format"] != "wav" else raw)(request, body)


def ways() -> dict[str, Answer]:
    """Each by its name; some count, so that every server has its own."""
    return {
        "well": raw,
        "html": page,
        "hidden-html": hidden_page,
        "hangs": silent,
        "hangs-after-headers": silent_after_headers,
        "breaks-off": broken_off,
        "empty": empty,
        "silence": zeros,
        "noise": noise,
        "mp3": mp3,
        "hidden-mp3": hidden_mp3,
        "busy": refused(429, "Slow down.", {"Retry-After": "2"}),
        "busy-now-and-then": now_and_then(refused(429, "Slow down.", {"Retry-After": "0"}), every=4),
        "500-now-and-then": now_and_then(refused(500, "Out of memory."), every=4),
        "500": refused(500, "Out of memory."),
        "401": refused(401, "Incorrect API key provided: {key}."),
        "404": refused(404, "The model does not exist. " + "So it is. " * 40),
        "422": refused(422, "voice: unknown"),
        "endless-wav": spoken(),
        "wav-per-sentence": wav_per_sentence,
        "stereo": spoken(channels=2),
        "8-bit": spoken(width=1),
        "48k": spoken(rate=48_000),
        "raw-48k": raw_48k,
        "raw-48k-wav-24k": raw_48k_wav_24k,
        "bytewise": bytewise,
        "endless": endless,
        "events": events,
        "wav-only": wav_only,
        "mp3-unless-wav": mp3_unless_wav,
    }


def application() -> web.Application:
    known = ways()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await known[request.match_info["way"]](request, await request.json())

    app = web.Application()
    app.router.add_post("/{way}/audio/speech", answer)
    return app


async def start(port: int = 0) -> tuple[web.AppRunner, str]:
    """Serve on loopback; returns the runner to clean up and the address before the way."""
    runner = web.AppRunner(application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def serve(port: int) -> None:
    runner, url = await start(port)
    sys.stdout.write("".join(f"{url}/{way}\n" for way in ways()))
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8001)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
