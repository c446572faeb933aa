"""A loop without a thread, stepped by hand, that checks its books after every step."""

from __future__ import annotations

import zlib
from typing import Any

from agent_tts.config import EngineConfig
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.loop import EngineLoop
from agent_tts.runtime.request import Request
from agent_tts.runtime.step import Runner
from agent_tts.types import SamplingParams
from tests.fakes import FRAME_MS, SAMPLE_RATE, FakeClock, ToneRunner


class Bench:
    """A loop without a thread, and a clock that stands still until it is moved."""

    def __init__(self, runner: Runner | None = None, **config: Any) -> None:
        self.runner = runner or ToneRunner()
        self.clock = FakeClock()
        self.loop = EngineLoop(self.runner, EngineConfig(**config), clock=self.clock)
        self.retired: list[str] = []

    def open(
        self, name: str, text: str = "", *, voice: str = "default", lead_ms: float = 1e9, end: bool = True
    ) -> Request:
        request = self.request(name, voice=voice, lead_ms=lead_ms)
        self.loop.submit(request, lambda: self.retired.append(name))
        self.loop.post(request, lambda: request.source.push(text))
        if end:
            self.loop.post(request, request.source.end)
        return request

    def request(self, name: str, *, voice: str = "default", lead_ms: float = 1e9) -> Request:
        """One that nobody has submitted yet."""
        return Request(
            id=name,
            voice=voice,
            sampling=SamplingParams(),
            seed=zlib.crc32(name.encode()),
            source=self.runner.new_text(voice),
            stream=AudioStream(name, voice, SAMPLE_RATE, clock=self.clock),
            lead_limit_ms=lead_ms,
            max_frames=10_000,
            frame_ms=FRAME_MS,
        )

    def abort(self, request: Request) -> None:
        if request.stream.abort():
            self.loop.abort(request)

    def step(self, times: int = 1) -> bool:
        stepped = False
        for _ in range(times):
            stepped = self.loop.step()
            self.loop.check_invariants()
        return stepped

    def run_dry(self, limit: int = 10_000) -> None:
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the loop does not come to rest")
