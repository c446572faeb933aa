"""What is said on a call is nobody's business: in no log above DEBUG, in no exception, whatever goes wrong.

Over the engine, its socket client, LiveKit and Pipecat; their own logs count as well. One word stands for all text.
"""

from __future__ import annotations

import importlib.util
import logging
import traceback
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent_tts import EngineConfig
from agent_tts.runtime.step import Row, RowResult
from tests.contract.speakers import SpellingRunner, SpellingText
from tests.contract.test_any_tts import stage  # noqa: F401 - a fixture

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

SECRET = "Rumpelstiltskin"
TEXT = f"My name is {SECRET}, and {SECRET} is what I say."


class TellTale(SpellingRunner):
    """A model whose own exception holds the text, as a dictionary's KeyError would."""

    def _frame(self, row: Row) -> RowResult:
        if SECRET in str(row.work.payload):
            raise KeyError(f"no phonemes for {row.work.payload!r}")
        return super()._frame(row)


class CannotRead(SpellingText):
    def push(self, text: str) -> None:
        raise ValueError(f"invalid literal: {text!r}")


class Illiterate(SpellingRunner):
    def new_text(self, voice: str) -> SpellingText:
        return CannotRead(self.frames_per_word)


class Told:
    """Everything at INFO and above, and every exception that was handed out."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.lines: list[str] = []

    def everything(self) -> str:
        shown = logging.Formatter()
        records = [
            f"{shown.format(record)} {vars(record)}"
            for record in self._caplog.records
            if record.levelno >= logging.INFO
        ]
        return "\n".join(records + self.lines)

    def add(self, error: object) -> None:
        """As a log would print it: with its causes, and those of an exception that it carries."""
        for one in (error, getattr(error, "exception", None)):
            self.lines.append(repr(one))
            if isinstance(one, BaseException):
                self.lines += traceback.format_exception(one)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    caplog.set_level(logging.DEBUG)
    told, sinks = Told(caplog), []
    if importlib.util.find_spec("loguru") is not None:  # Pipecat's
        from loguru import logger

        sinks = [logger.add(lambda line: told.lines.append(str(line)), level="INFO")]
    yield told
    for sink in sinks:
        logger.remove(sink)


async def test_text_that_is_spoken_and_text_that_is_interrupted_is_not_told(stage, told):  # noqa: F811
    async with stage() as on, on.speaker() as speaker:
        assert (await speaker.say(TEXT)).error is None
        async with speaker.speech() as speech:
            await speech.push(TEXT * 10)
            await speech.next()
            await speech.stop()
            told.add((await speech.rest()).error)
    assert SECRET not in told.everything()


@pytest.mark.parametrize("runner", [TellTale, Illiterate])
async def test_a_failure_that_quotes_the_text_is_told_without_it(stage, told, runner):  # noqa: F811
    """The log of a failed step and the cause of its error held the model's message, and that the word."""
    async with stage(runner()) as on, on.speaker() as speaker:
        said = await speaker.say(TEXT)
        assert said.error is not None
        told.add(said.error)
    assert SECRET not in told.everything()
    assert "a step failed" in told.everything(), "what fails is told"


async def test_text_that_the_engine_refuses_is_not_told(stage, told):  # noqa: F811
    async with stage(config=EngineConfig(max_waiting=1)) as on, on.speaker() as speaker, on.speaker("nobody") as odd:
        async with on.engine.utterance():
            told.add((await speaker.say(TEXT)).error)
        told.add((await odd.say(TEXT)).error)
        await on.engine.close()
        told.add((await speaker.say(TEXT)).error)
    assert "max_waiting" in told.everything(), "the errors are looked at"
    assert SECRET not in told.everything()


async def test_what_a_caller_says_over_a_reply_in_livekit_is_not_told(told):
    pytest.importorskip("livekit.agents")
    from agent_tts.livekit import bind
    from tests.contract.livekit_fakes import FakeSession, FakeUtterance, frame

    session = FakeSession()
    bind(session, preset="selective", on_event=lambda event: told.lines.append(repr(event)))  # type: ignore[arg-type]
    await session.output.audio.capture_frame(frame(FakeUtterance()))
    session.agent("thinking", "speaking")
    session.user("listening", "speaking")
    session.hears(f"Stop, {SECRET}!")
    assert session.interrupts == 1
    session.emit("close", SimpleNamespace())
    assert SECRET not in told.everything()


async def test_what_a_caller_says_over_a_reply_in_pipecat_is_not_told(told):
    pytest.importorskip("pipecat")
    from pipecat.frames.frames import BotStartedSpeakingFrame, TranscriptionFrame

    from agent_tts.barge_in import Event
    from agent_tts.pipecat import AgentTTSService, PipecatBargeIn

    barge_in = PipecatBargeIn(AgentTTSService(), on_moment=lambda name, at_s: told.lines.append(name))
    await barge_in.turn_start.process_frame(BotStartedSpeakingFrame())
    for event in (Event.SUSPICION, Event.NEAR):
        barge_in.decide(event)
    await barge_in.turn_start.process_frame(TranscriptionFrame(f"Stop, {SECRET}!", "caller", "now"))
    barge_in.close()
    assert "decision" in told.lines
    assert SECRET not in told.everything()
