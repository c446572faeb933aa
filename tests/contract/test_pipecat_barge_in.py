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
    Frame,
    InterruptionFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.turns.user_mute import BaseUserMuteStrategy

from agent_tts.audio.onset import Activity
from agent_tts.audio.onset_listener import OnsetListener
from agent_tts.barge_in import Event, State
from agent_tts.engine import Engine
from agent_tts.errors import ConfigError
from agent_tts.pipecat import AgentTTSService
from agent_tts.pipecat.barge_in import PipecatBargeIn
from agent_tts.pipecat.hold import HoldFilter
from evals import virtual_time
from tests.contract.pipecat_line import LONGEST_WAIT_S, Line, open_line
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


def test_a_yeah_that_outlasts_the_question_is_an_answer_and_one_that_was_over_before_is_none() -> None:
    """Both were let fall: an agent that had asked got no answer from a caller who was quick."""
    ended = VADUserStoppedSpeakingFrame(stop_secs=0.2)

    async def quick(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), *SPEAKS, BotStoppedSpeakingFrame(), Event.QUIET, ended, words("Yes."))
        assert (call.turns, call.resets) == (1, 0)

    async def early(call: Call) -> None:
        await call.see(BotStartedSpeakingFrame(), *SPEAKS, Event.QUIET, ended, BotStoppedSpeakingFrame(), words("Yes."))
        assert (call.turns, call.resets) == (0, 1)

    run("selective", quick)
    run("selective", early)


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
    monkeypatch.setattr(OnsetListener, "knows_caller", True)

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


# -- in a pipeline, on a virtual clock --------------------------------------------------------------------------------


def play(
    story: Callable[[Line], Awaitable[None]], preset: str, monkeypatch: pytest.MonkeyPatch, **user: object
) -> None:
    async def whole() -> None:
        async with open_line(preset, monkeypatch, **user) as line:
            await story(line)

    virtual_time.run(whole())


def test_a_turn_that_began_on_our_test_alone_ends_and_the_llm_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither VAD nor STT heard the caller; the reply is ended, and the agent asks what was said."""

    async def story(line: Line) -> None:
        await line.speak(seconds=60)
        for activity in (Activity.STARTED, Activity.NEAR, Activity.ENDED):
            line.barge_in.heard(activity)
        await line.passed(UserStartedSpeakingFrame, 1)
        await asyncio.sleep(LONGEST_WAIT_S - 0.1)
        assert line.llm_runs == 0
        await asyncio.sleep(0.2)
        assert (line.interruptions, line.llm_runs, line.seen.kinds.count(UserStoppedSpeakingFrame)) == (1, 1, 1)

    play(story, "immediate", monkeypatch)


def test_a_reply_within_an_open_turn_can_be_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipecat starts no second turn: the output was silent for the rest of the reply, which Pipecat took for spoken."""

    async def story(line: Line) -> None:
        for times in (1, 2):
            await line.speak(seconds=60)
            line.barge_in.heard(Activity.STARTED)
            line.barge_in.heard(Activity.NEAR)
            await line.passed(InterruptionFrame, times)
            line.barge_in.heard(Activity.ENDED)
            await line.passed(BotStoppedSpeakingFrame, times)
        assert line.seen.kinds.count(UserStartedSpeakingFrame) == 1
        heard = len(line.ear.heard)
        await line.speak(seconds=1, level=77)
        await line.silent()
        assert len(line.ear.heard) == heard + 50
        assert all((chunk == 77).all() for chunk in line.ear.heard[heard:]), "the next reply is whole"

    play(story, "immediate", monkeypatch)


def test_what_is_held_when_somebody_else_interrupts_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk that had waited was played behind the interruption, and the agent counted as speaking again."""

    async def story(line: Line) -> None:
        await line.speak(seconds=60)
        line.barge_in.heard(Activity.STARTED)
        await asyncio.sleep(0.1)
        heard = len(line.ear.heard)
        await line.worker.queue_frame(InterruptionFrame())
        await line.silent()
        await asyncio.sleep(5)
        assert len(line.ear.heard) == heard
        assert line.seen.kinds.count(BotStartedSpeakingFrame) == 1

    play(story, "selective", monkeypatch)


class Muted(BaseUserMuteStrategy):
    """The app does not want to hear anybody from the first VAD start on."""

    def __init__(self) -> None:
        super().__init__()
        self.muted = False

    async def process_frame(self, frame: Frame) -> bool:
        self.muted = self.muted or isinstance(frame, VADUserStartedSpeakingFrame)
        return self.muted


def test_nobody_who_is_muted_pauses_or_ends_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipecat's user mute stops its own interruptions; ours heard the caller all the same."""

    async def story(line: Line) -> None:
        await line.speak(seconds=60)
        line.barge_in.heard(Activity.STARTED)
        assert line.barge_in.output_filter.holding
        await line.worker.queue_frame(started())
        await line.passed(VADUserStartedSpeakingFrame)
        assert not line.barge_in.output_filter.holding, "what is paused goes on"
        for activity in (Activity.NEAR, Activity.TALKING, Activity.ENDED, Activity.STARTED):
            line.barge_in.heard(activity)
            assert not line.barge_in.output_filter.holding
        await asyncio.sleep(1)
        assert line.interruptions == 0

    play(story, "selective", monkeypatch, user_mute_strategies=[Muted()])


def test_a_pause_of_three_seconds_loses_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(line: Line) -> None:
        await line.speak(seconds=2)
        line.barge_in.heard(Activity.STARTED)
        line.barge_in.heard(Activity.NEAR)
        assert line.service.paused
        await line.silent()
        assert not line.service.paused
        assert len(line.ear.heard) == 100
        assert {int(chunk.max()) for chunk in line.ear.heard} == {1000}

    play(story, "selective", monkeypatch)
