"""A pipeline around one service that a test can talk to while it runs: queue frames, wait for what comes out, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pipecat.frames.frames import EndFrame, ErrorFrame, Frame
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

END_WITHIN_S = 20.0
"""A pipeline that has not ended by then hangs."""


class Line(FrameProcessor):
    """The end of a pipeline that remembers what reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._arrived = asyncio.Condition()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        async with self._arrived:
            self.frames.append(frame)
            self._arrived.notify_all()
        await self.push_frame(frame, direction)

    async def until(self, condition: Callable[[list[Frame]], bool]) -> None:
        """Wait until what has arrived satisfies `condition`."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: condition(self.frames))

    async def until_seen(self, kind: type[Frame], count: int = 1) -> None:
        await self.until(lambda frames: sum(isinstance(frame, kind) for frame in frames) >= count)


class Upstream(FrameProcessor):
    """The start of a pipeline that remembers which errors came back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[ErrorFrame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            self.errors.append(frame)
        await self.push_frame(frame, direction)


@asynccontextmanager
async def pipeline_of(
    *processors: FrameProcessor, observers: list[BaseObserver] | None = None
) -> AsyncIterator[tuple[PipelineWorker, Line]]:
    """Run [processors, Line]; ends it gracefully on exit."""
    line = Line()
    worker = PipelineWorker(
        Pipeline([*processors, line]), cancel_on_idle_timeout=False, enable_rtvi=False, observers=observers
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_started(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield worker, line
    finally:
        await worker.queue_frame(EndFrame())
        async with asyncio.timeout(END_WITHIN_S):
            await running
