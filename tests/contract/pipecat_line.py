"""A Pipecat call on a virtual clock: the real user aggregator and output transport, an ear that hears in real time.

test ─▶ user aggregator (turn_start) ─▶ output transport (output_filter) ─▶ ear
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from agent_tts.pipecat import barge_in as module
from agent_tts.pipecat.barge_in import PipecatBargeIn
from tests.fakes import SAMPLE_RATE

CHUNK = SAMPLE_RATE // 50
LONGEST_WAIT_S = 10.0
FOR_EVER_S = 120.0


class Service:
    """As much of an AgentTTSService as the binding touches."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Ear(BaseOutputTransport):
    """Plays 20 ms in 20 ms, and keeps them."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.heard: list[np.ndarray] = []

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self.heard.append(np.frombuffer(frame.audio, np.int16))
        await asyncio.sleep(len(frame.audio) / 2 / SAMPLE_RATE)
        return True


class Seen(BaseObserver):
    """What has passed, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[type[Frame]] = []

    async def on_push_frame(self, data: FramePushed) -> None:
        if data.first_push and data.direction is FrameDirection.DOWNSTREAM:
            self.kinds.append(type(data.frame))


class Line:
    """What a test talks to."""

    def __init__(self, barge_in: PipecatBargeIn, ear: Ear, worker: PipelineWorker, seen: Seen, service: Service):
        self.barge_in, self.ear, self.worker, self.seen, self.service = barge_in, ear, worker, seen, service
        self.ended = asyncio.Event()

    @property
    def interruptions(self) -> int:
        return self.seen.kinds.count(InterruptionFrame)

    @property
    def llm_runs(self) -> int:
        return self.seen.kinds.count(LLMContextFrame)

    async def passed(self, kind: type[Frame], count: int | None = None) -> None:
        """Until one more of that kind has been pushed, or `count` of them in all."""
        count = self.seen.kinds.count(kind) + 1 if count is None else count
        async with asyncio.timeout(FOR_EVER_S):
            while self.seen.kinds.count(kind) < count:  # noqa: ASYNC110 - the clock is virtual
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.001)

    async def speak(self, *, seconds: float, level: int = 1000) -> None:
        """A reply, up to its first sound."""
        pcm = np.full(CHUNK, level, np.int16).tobytes()
        audio = [TTSAudioRawFrame(pcm, SAMPLE_RATE, 1) for _ in range(round(50 * seconds))]
        count = self.seen.kinds.count(BotStartedSpeakingFrame) + 1
        await self.worker.queue_frames([TTSStartedFrame(), *audio, TTSStoppedFrame()])
        await self.passed(BotStartedSpeakingFrame, count)

    async def silent(self) -> None:
        """Until the agent has nothing more to say."""
        await self.passed(BotStoppedSpeakingFrame)


@asynccontextmanager
async def open_line(preset: str, monkeypatch: pytest.MonkeyPatch, **user: Any) -> AsyncIterator[Line]:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))
    service, seen = Service(), Seen()
    barge_in = PipecatBargeIn(service, preset=preset)  # type: ignore[arg-type]
    ear = Ear(
        TransportParams(
            audio_out_enabled=True,
            audio_out_sample_rate=SAMPLE_RATE,
            audio_out_10ms_chunks=2,
            audio_out_filter=barge_in.output_filter,
        )
    )
    strategies = UserTurnStrategies(start=[barge_in.turn_start], stop=[SpeechTimeoutUserTurnStopStrategy()])
    params = LLMUserAggregatorParams(user_turn_strategies=strategies, user_turn_stop_timeout=LONGEST_WAIT_S, **user)
    aggregator = LLMContextAggregatorPair(LLMContext(), user_params=params).user()
    worker = PipelineWorker(
        Pipeline([barge_in.listener, aggregator, ear]),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
        observers=[seen],
    )
    line = Line(barge_in, ear, worker, seen, service)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    running.add_done_callback(lambda task: line.ended.set())
    await line.passed(StartFrame, 1)
    try:
        yield line
    finally:
        if not line.ended.is_set():
            await worker.queue_frame(CancelFrame())
        await running
