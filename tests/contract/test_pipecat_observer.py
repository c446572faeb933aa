"""The observer's ledger of interruptions, in a real pipeline with an output transport that takes everything at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("pipecat")

from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
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

from agent_tts.barge_in import Action, Event
from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.metrics import BargeInRow
from agent_tts.pipecat import AgentTTSService, InterruptionLatencyObserver, Moment, PipecatBargeIn
from tests.contract.pipecat_harness import Line, pipeline_of
from tests.fakes import ToneRunner

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]


class Speaker(BaseOutputTransport):
    """Plays in no time."""

    def __init__(self, output_filter: BaseAudioFilter | None = None) -> None:
        super().__init__(
            TransportParams(audio_out_enabled=True, audio_out_10ms_chunks=2, audio_out_filter=output_filter)
        )

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


def test_what_the_policy_saw_and_did_is_told_and_the_row_has_every_stage() -> None:
    moments: list[Moment] = []

    async def run() -> list[BargeInRow]:
        async with Engine.from_runner(ToneRunner(frames_per_word=25), EngineConfig()) as engine:
            service = AgentTTSService(engine=engine)
            observer = InterruptionLatencyObserver(service)
            observer.add_event_handler("on_moment", lambda _, moment: moments.append(moment))
            barge_in = PipecatBargeIn(service, preset="selective", on_moment=observer.note_moment)
            released = asyncio.Event()
            service.add_event_handler("on_utterance_aborted", lambda *_: released.set())
            speaker = Speaker(barge_in.output_filter)
            async with pipeline_of(service, speaker, observers=[observer]) as (worker, line):
                await worker.queue_frames([LLMFullResponseStartFrame(), LLMTextFrame(LONG), LLMFullResponseEndFrame()])
                await line.until_seen(TTSAudioRawFrame, 5)
                barge_in.handle(Event.AGENT_STARTED)
                barge_in.note("suspicion")
                assert barge_in.handle(Event.SUSPICION) is Action.PAUSE
                assert barge_in.handle(Event.QUIET) is Action.RESUME
                barge_in.note("suspicion")
                assert barge_in.handle(Event.SUSPICION) is Action.PAUSE
                await worker.queue_frame(VADUserStartedSpeakingFrame(start_secs=0.1))
                await line.until_seen(VADUserStartedSpeakingFrame)
                barge_in.handle(Event.SPEECH_STARTED)
                barge_in.handle(Event.NEAR)
                assert barge_in.handle(Event.WORDS, "no, the other one") is Action.COMMIT
                await worker.queue_frame(InterruptionFrame())
                await released.wait()
                await line.until_seen(BotStoppedSpeakingFrame)
            return observer.ledger.rows

    (row,) = asyncio.run(asyncio.wait_for(run(), timeout=30))
    told = [moment.name for moment in moments if moment.name not in ("speaking", "listening")]
    assert [name for name in told if name in ("suspicion", "duck", "resumed", "decision")] == [
        *("suspicion", "duck", "resumed"),
        *("suspicion", "duck", "decision"),
    ]
    assert [told.count(name) for name in ("vad", "abort", "released", "cleared", "last_frame")] == [1] * 5
    at_s = {moment.name: moment.at_s for moment in moments}
    assert row.suspicion_s == at_s["suspicion"], "the one that came to something"
    assert row.decision_s is not None
    assert row.abort_s is not None
    assert row.suspicion_s <= row.decision_s <= row.abort_s == at_s["abort"]
    assert None not in (row.vad_s, row.released_s, row.last_frame_s, row.cleared_s)
    (metrics,) = [moment.metrics for moment in moments if moment.name == "released"]
    assert metrics is not None
    assert metrics.utterance_id == row.utterance_id
