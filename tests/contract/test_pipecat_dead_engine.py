"""A Pipecat pipeline whose engine dies: every turn ends and says why, and the first turn that can be spoken is spoken.

The pipeline is Pipecat's own, with its output transport; a context may stay silent for an hour, so that a turn which
ends has been ended by us.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("pipecat")

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.utils.errors import ErrorCategory

from agent_tts import Engine, EngineConfig
from agent_tts.errors import CheckpointError, EngineClosedError, EngineUnavailableError
from agent_tts.pipecat import AgentTTSService
from tests.contract.pipecat_harness import Line, Upstream, pipeline_of
from tests.doors import connected, engine_process
from tests.fakes import ToneRunner

# Pipecat and what it imports warn about their own deprecations.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

SOON_S = 30.0
AN_HOUR_S = 3600.0
MORE_THAN_PIPECAT_FORGIVES = 4
"""Three silent contexts in a row, and Pipecat gives a service no more work."""
LONG = "This is a long story about many small things. " * 20


class Ear(BaseOutputTransport):
    """Pipecat's output, which says when the bot speaks; it plays in no time."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_10ms_chunks=2))

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        await asyncio.sleep(0)
        return True


class Call:
    """One pipeline, and what came of each turn in it."""

    def __init__(self, worker, line: Line, upstream: Upstream) -> None:
        self._worker, self.line, self._upstream = worker, line, upstream
        self._began = (0, 0)

    async def turn(self, *texts: str) -> Turn:
        await self.begin_turn(*texts)
        return await self.end_turn()

    async def begin_turn(self, *texts: str) -> None:
        self._mark()
        await self._worker.queue_frames([LLMFullResponseStartFrame(), *(LLMTextFrame(text) for text in texts)])

    async def end_turn(self) -> Turn:
        num_ends = self.count(LLMFullResponseEndFrame) + 1
        await self._worker.queue_frame(LLMFullResponseEndFrame())
        await self.line.until_seen(LLMFullResponseEndFrame, num_ends)
        return self._since_mark()

    async def speak(self, text: str) -> Turn:
        """A TTSSpeakFrame, which is a turn without an LLM."""
        self._mark()
        num_stopped = self.count(TTSStoppedFrame) + 1
        await self._worker.queue_frame(TTSSpeakFrame(text))
        await self.line.until_seen(TTSStoppedFrame, num_stopped)
        return self._since_mark()

    def _mark(self) -> None:
        self._began = len(self.line.frames), len(self._upstream.errors)

    def _since_mark(self) -> Turn:
        num_frames, num_errors = self._began
        return Turn(self.line.frames[num_frames:], self._upstream.errors[num_errors:])

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - of another thread or process
            await asyncio.sleep(0.005)

    async def silent(self) -> None:
        """Until the bot does not speak (any more)."""
        await self.line.until(lambda frames: self.count(BotStoppedSpeakingFrame) == self.count(BotStartedSpeakingFrame))

    def count(self, kind: type) -> int:
        return sum(isinstance(frame, kind) for frame in self.line.frames)


class Turn:
    def __init__(self, frames: list, errors: list[ErrorFrame]) -> None:
        self.words = [frame.text for frame in frames if isinstance(frame, TTSTextFrame)]
        self.num_audio = sum(isinstance(frame, TTSAudioRawFrame) for frame in frames)
        self.errors = errors
        started = sum(isinstance(frame, TTSStartedFrame) for frame in frames)
        self.balanced = started == sum(isinstance(frame, TTSStoppedFrame) for frame in frames)


@asynccontextmanager
async def call(service: FrameProcessor) -> AsyncIterator[Call]:
    upstream = Upstream()
    async with asyncio.timeout(SOON_S), pipeline_of(upstream, service, Ear()) as (worker, line):
        yield Call(worker, line, upstream)


def service_of(**given: object) -> AgentTTSService:
    return AgentTTSService(stop_frame_timeout_s=AN_HOUR_S, **given)  # type: ignore[arg-type]


def dies_at(frame: int) -> ToneRunner:
    """Its thread ends in that frame."""
    frames = itertools.count()

    def die(plan: object) -> None:
        if next(frames) == frame:
            raise SystemExit  # what no step survives

    return ToneRunner(on_step=die)


def check_silent(turn: Turn, kind: type[Exception], category: ErrorCategory, advice: str) -> None:
    """One error that says what to do, nothing heard, nothing that passes for heard."""
    assert [type(error.exception) for error in turn.errors] == [kind], turn.errors
    assert turn.errors[0].category is category
    assert advice in turn.errors[0].error
    assert (turn.words, turn.num_audio, turn.balanced) == ([], 0, True)


async def test_turns_after_the_engines_thread_has_died_end_at_once_and_say_so():
    async with Engine.from_runner(dies_at(10)) as engine, call(service_of(engine=engine)) as on:
        dying = await on.turn(LONG)
        assert [type(error.exception) for error in dying.errors] == [EngineClosedError]
        assert dying.num_audio > 0
        for _ in range(MORE_THAN_PIPECAT_FORGIVES):
            after = await on.turn("Is anybody ", "there? ", "Well?")
            check_silent(after, EngineClosedError, ErrorCategory.INVALID_REQUEST, "Engine.load()")
        check_silent(await on.speak("Hello?"), EngineClosedError, ErrorCategory.INVALID_REQUEST, "Engine.load()")
        await on.silent()


async def test_the_pipeline_ends_when_it_ends_in_the_middle_of_a_turn_nobody_speaks():
    async with Engine.from_runner(dies_at(10)) as engine, call(service_of(engine=engine)) as on:
        await on.turn(LONG)
        await on.begin_turn("Is anybody there? ", "Hello? ")
        await on.line.until_seen(TTSStartedFrame, 2)


async def test_what_an_application_set_unusable_ends_its_turns_and_works_again_when_told_so():
    async with Engine.from_runner(ToneRunner()) as engine, call(service := service_of(engine=engine)) as on:
        await service.set_usable(False)
        (error,) = (await on.turn("Hello?")).errors
        assert "set_usable(True)" in error.error
        await service.set_usable(True)
        assert (await on.turn("Hello again.")).words == ["Hello", "again."]


async def test_a_dead_engine_of_the_services_own_is_loaded_anew_for_the_next_turn(monkeypatch):
    runners = iter([dies_at(10), ToneRunner()])
    loaded: list[Engine] = []

    async def load(model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        loaded.append(Engine.from_runner(next(runners)))
        return loaded[-1]

    monkeypatch.setattr(Engine, "load", load)
    async with call(service_of()) as on:
        dying = await on.turn(LONG)
        assert [(type(error.exception), error.category) for error in dying.errors] == [
            (EngineClosedError, ErrorCategory.SERVER)
        ]
        after = await on.turn("Well again.")
        assert (after.errors, after.words) == ([], ["Well", "again."])
        await on.silent()
    assert [engine.closed for engine in loaded] == [True, True], "its own are closed in the end"


async def test_another_service_takes_over_where_the_pipeline_has_one():
    async with Engine.from_runner(dies_at(10)) as first, Engine.from_runner(ToneRunner()) as second:
        services = [service_of(engine=first), service_of(engine=second)]
        switcher = ServiceSwitcher(services, ServiceSwitcherStrategyFailover)
        async with call(switcher) as on:
            await on.begin_turn(LONG)
            await on.until(lambda: switcher.strategy.active_service is services[1])
            await on.end_turn()
            after = await on.turn("The other one.")
            assert after.words[-3:] == ["The", "other", "one."]
            assert not after.errors


# -- behind a socket --------------------------------------------------------------------------------------------------


@pytest.fixture
def address():
    with tempfile.TemporaryDirectory(prefix="agent-tts-") as folder:
        yield f"unix://{folder}/engine.sock"


async def test_an_engine_that_was_killed_is_spoken_with_again_when_it_is_back(address):
    async with engine_process(address, "--step-ms", "2") as process:
        engine = await connected(address)
        async with engine, call(service_of(engine=engine)) as on:
            assert (await on.turn("Hello.")).words == ["Hello."]
            await on.begin_turn(LONG)
            await on.line.until_seen(TTSTextFrame, 5)
            process.kill()
            await process.wait()
            dying = await on.end_turn()
            assert [(type(error.exception), error.category) for error in dying.errors] == [
                (EngineUnavailableError, ErrorCategory.CONNECTIVITY)
            ]
            assert dying.balanced
            for _ in range(MORE_THAN_PIPECAT_FORGIVES):
                gone = await on.turn("Is anybody ", "there? ", "Well?")
                check_silent(gone, EngineUnavailableError, ErrorCategory.CONNECTIVITY, "agent-tts serve")
            await on.silent()
            async with engine_process(address, "--step-ms", "2"):
                await on.until(lambda: engine.stats().free_slots > 0)
                again = await on.turn("Back again.")
                assert (again.errors, again.words) == ([], ["Back", "again."])
                await on.silent()


async def test_a_pipeline_that_starts_before_its_engine_speaks_once_that_is_there(address):
    """Pipecat gave up a service whose setup raised, half built: it was mute for the whole call."""
    async with call(service_of(config=EngineConfig(model=address))) as on:
        for _ in range(MORE_THAN_PIPECAT_FORGIVES):
            refused = await on.turn("Is anybody there?")
            check_silent(refused, EngineUnavailableError, ErrorCategory.CONNECTIVITY, "agent-tts serve")
        async with engine_process(address, "--step-ms", "2"):
            await (await connected(address)).close()
            there = await on.turn("Here I am.")
            assert (there.errors, there.words) == ([], ["Here", "I", "am."])
            await on.silent()


async def test_a_model_that_cannot_be_loaded_is_an_error_of_every_turn(tmp_path):
    async with call(service_of(config=EngineConfig(model=str(tmp_path)))) as on:
        for _ in range(MORE_THAN_PIPECAT_FORGIVES):
            check_silent(await on.turn("Hello?"), CheckpointError, ErrorCategory.INVALID_REQUEST, "config.json")
