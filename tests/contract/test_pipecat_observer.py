"""The observer's ledger of interruptions, in a real pipeline with an output transport that takes everything at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("pipecat")

from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.pipecat import AgentTTSService, InterruptionLatencyObserver
from tests.contract.pipecat_harness import Line, pipeline_of
from tests.fakes import ToneRunner

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]


class Speaker(BaseOutputTransport):
    """Plays in no time."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_10ms_chunks=2))

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        await asyncio.sleep(0)
        return True


def watched(story: Callable[[asyncio.Semaphore, object, Line], Awaitable[None]]) -> InterruptionLatencyObserver:
    """Run a story on [service, speaker] with the observer, which it returns."""

    async def run() -> InterruptionLatencyObserver:
        async with Engine.from_runner(ToneRunner(frames_per_word=25), EngineConfig()) as engine:
            service = AgentTTSService(engine=engine)
            observer = InterruptionLatencyObserver(service)
            released = asyncio.Semaphore(0)
            service.add_event_handler("on_utterance_aborted", lambda *_: released.release())
            async with pipeline_of(service, Speaker(), observers=[observer]) as (worker, line):
                await story(released, worker, line)
            return observer

    return asyncio.run(asyncio.wait_for(run(), timeout=30))


def audio_after_start(frames: list[Frame]) -> int:
    """How many turns have started and been followed by sound."""
    kinds = [type(frame) for frame in frames if isinstance(frame, TTSStartedFrame | TTSAudioRawFrame)]
    return sum(pair == (TTSStartedFrame, TTSAudioRawFrame) for pair in itertools.pairwise(kinds))


LONG = "These are many words and they take a while."


def test_an_interruption_makes_one_row_with_its_stages_in_order() -> None:
    async def story(released: asyncio.Semaphore, worker, line: Line) -> None:  # type: ignore[no-untyped-def]
        await worker.queue_frames([LLMFullResponseStartFrame(), LLMTextFrame(LONG), LLMFullResponseEndFrame()])
        await line.until_seen(TTSAudioRawFrame, 5)
        await worker.queue_frames([VADUserStartedSpeakingFrame(start_secs=0.1), InterruptionFrame()])
        await released.acquire()
        await line.until_seen(BotStoppedSpeakingFrame)

    (row,) = watched(story).ledger.rows
    assert None not in (row.vad_s, row.decision_s, row.abort_s, row.released_s, row.cleared_s, row.last_frame_s)
    assert row.stale_frames == 0
    assert row.generated_ms is not None
    assert row.generated_ms <= 1000 + 2 * 40


def test_a_caller_who_speaks_into_silence_interrupts_nothing() -> None:
    async def story(released: asyncio.Semaphore, worker, line: Line) -> None:  # type: ignore[no-untyped-def]
        await worker.queue_frames([VADUserStartedSpeakingFrame(start_secs=0.1), InterruptionFrame()])
        await line.until_seen(InterruptionFrame)

    assert watched(story).ledger.rows == []


def test_two_interruptions_make_two_rows_of_different_utterances() -> None:
    async def story(released: asyncio.Semaphore, worker, line: Line) -> None:  # type: ignore[no-untyped-def]
        for count in (1, 2):
            await worker.queue_frames([LLMFullResponseStartFrame(), LLMTextFrame(LONG), LLMFullResponseEndFrame()])
            await line.until(lambda frames, count=count: audio_after_start(frames) >= count)
            await worker.queue_frame(InterruptionFrame())
            await released.acquire()
            await line.until_seen(BotStoppedSpeakingFrame, count)

    rows = watched(story).ledger.rows
    assert len({row.utterance_id for row in rows}) == len(rows) == 2
    assert all(row.vad_s is None for row in rows)
