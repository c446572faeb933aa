"""The barge-in policy on a Pipecat output: what is held, what goes on, and what starts the caller's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

pytest.importorskip("pipecat")

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from agent_tts.barge_in import Event, State
from agent_tts.engine import Engine
from agent_tts.errors import ConfigError
from agent_tts.pipecat import AgentTTSService
from agent_tts.pipecat.barge_in import BargeInListener, PipecatBargeIn
from agent_tts.pipecat.hold import HoldFilter
from tests.fakes import ToneRunner

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

CHUNK = np.full(480, 1000, np.int16).tobytes()


def started(frame: type = VADUserStartedSpeakingFrame) -> VADUserStartedSpeakingFrame:
    return frame(start_secs=0.1)


SPEAKS = (Event.SUSPICION, started(), Event.NEAR)
"""The caller speaks, as the onset test and the VAD tell it."""


def words(text: str) -> TranscriptionFrame:
    return TranscriptionFrame(text, "caller", "now")


class Call:
    """A barge-in policy with its turn-start strategy, and what they did."""

    def __init__(self, barge_in: PipecatBargeIn) -> None:
        self.barge_in = barge_in
        self.turns = 0
        self.resets = 0
        barge_in.turn_start.add_event_handler("on_user_turn_started", self._on_turn)
        barge_in.turn_start.add_event_handler("on_reset_aggregation", self._on_reset)

    async def _on_turn(self, strategy: object, params: object) -> None:
        self.turns += 1

    async def _on_reset(self, strategy: object) -> None:
        self.resets += 1

    async def see(self, *seen: object) -> None:
        """Frames of the pipeline, and what the onset test hears between them."""
        for frame in seen:
            if isinstance(frame, Event):
                self.barge_in.decide(frame)
                continue
            await self.barge_in.turn_start.process_frame(frame)  # type: ignore[arg-type]


def run(preset: str, story: Callable[[Call], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with Engine.from_runner(ToneRunner()) as engine:
            await story(Call(PipecatBargeIn(AgentTTSService(engine=engine), preset=preset)))

    asyncio.run(asyncio.wait_for(whole(), timeout=20))


def test_a_caller_who_speaks_while_the_agent_is_silent_starts_a_turn_at_once() -> None:
    async def story(call: Call) -> None:
        await call.see(started())
        assert call.turns == 1
        assert not call.barge_in.output_filter.holding

    run("selective", story)


def test_immediate_pauses_on_suspicion_and_commits_on_the_vad() -> None:
    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame())
        call.barge_in.handle(Event.SUSPICION)
        assert call.barge_in.output_filter.holding
        assert call.turns == 0
        await call.see(started())
        assert call.turns == 1
        assert call.barge_in.policy.state is State.COMMITTED
        await call.see(BotStoppedSpeakingFrame(), BotStartedSpeakingFrame())
        assert await call.barge_in.output_filter.filter(CHUNK) == CHUNK, "the next reply is heard from its first sample"

    run("immediate", story)


def test_a_backchannel_costs_a_pause_and_starts_no_turn() -> None:
    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), *SPEAKS)
        assert call.barge_in.output_filter.holding
        await call.see(Event.QUIET, VADUserStoppedSpeakingFrame(stop_secs=0.2))
        assert not call.barge_in.output_filter.holding
        await call.see(words("Mm-hmm, yeah."))
        assert call.turns == 0
        assert call.resets == 1, "or it would be put in front of the next question"

    run("selective", story)


def test_words_that_want_something_start_the_turn_even_when_they_come_late() -> None:
    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), *SPEAKS, Event.QUIET, VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await call.see(words("No, the other one."))
        assert call.turns == 1

    run("selective", story)


def test_words_over_the_last_of_a_reply_still_get_an_answer() -> None:
    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), *SPEAKS, Event.QUIET, VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await call.see(BotStoppedSpeakingFrame(), words("And the price?"))
        assert call.turns == 1

    run("selective", story)


def test_a_caller_who_goes_on_ends_the_reply() -> None:
    async def story(call: Call) -> None:
        began = asyncio.Event()
        call.barge_in.turn_start.add_event_handler("on_user_turn_started", lambda *_: began.set())
        await call.see(BotStartedSpeakingFrame(), *SPEAKS, Event.TALKING)
        await began.wait()
        assert call.barge_in.policy.state is State.COMMITTED

    run("selective", story)


def test_a_suspicion_that_was_none_lets_every_sample_through_once() -> None:
    async def story() -> None:
        gate = HoldFilter()
        heard = [await gate.filter(CHUNK)]
        gate.hold()
        heard.append(await gate.filter(CHUNK))
        waiting = asyncio.ensure_future(gate.filter(CHUNK))
        await asyncio.sleep(0)
        assert not waiting.done(), "held: nothing is written"
        gate.release()
        heard += [await waiting, await gate.filter(CHUNK)]
        levels = [np.frombuffer(chunk, np.int16) for chunk in heard]
        assert [len(level) for level in levels] == [480] * 4
        assert (levels[0] == 1000).all()
        assert (levels[3] == 1000).all()
        assert levels[1][0] == 1000
        assert levels[1][-1] == levels[2][0] == 0
        assert (np.diff(levels[2]) >= 0).all()

    asyncio.run(story())


def test_speech_that_is_not_near_starts_no_turn_and_neither_do_its_words() -> None:
    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), Event.SUSPICION, started())
        assert call.barge_in.output_filter.holding
        await call.see(words("Did you feed the cat?"), Event.QUIET, VADUserStoppedSpeakingFrame(stop_secs=0.2))
        assert not call.barge_in.output_filter.holding
        await call.see(words("Did you feed the cat?"))
        assert call.turns == 0

    run("selective", story)


def test_words_from_far_away_do_not_open_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BargeInListener, "knows_caller", True)

    async def story(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), Event.SUSPICION, started())
        await call.see(Event.QUIET, VADUserStoppedSpeakingFrame(stop_secs=0.2), words("Did you feed the cat?"))
        assert call.resets == 1
        await call.see(BotStoppedSpeakingFrame(), words("And the dog?"))
        assert call.turns == 0, "they came late, and are of the same sound"
        await call.see(started(), words("What was the price?"))
        assert call.turns >= 1

    run("selective", story)


def test_what_was_held_at_a_commit_is_never_heard() -> None:
    async def story() -> None:
        gate = HoldFilter()
        gate.hold()
        await gate.filter(CHUNK)
        waiting = asyncio.ensure_future(gate.filter(CHUNK))
        await asyncio.sleep(0)
        gate.drop()
        assert await waiting == b""
        assert await gate.filter(CHUNK) == b""
        gate.release()
        assert await gate.filter(CHUNK) == CHUNK

    asyncio.run(story())


def test_framework_leaves_the_decision_to_pipecat() -> None:
    with pytest.raises(ConfigError, match="framework"):
        PipecatBargeIn(AgentTTSService(), preset="framework")
