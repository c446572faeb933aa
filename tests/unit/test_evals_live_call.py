"""The caller of a live call against a made agent, on a virtual clock: who waits for what, and what is noted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import numpy as np

from evals import virtual_time
from evals.calls.scenario import EventPlan, Scenario
from evals.live.call import OLD_S, Attempt, Script, hold
from evals.live.hearing import Hearing
from evals.live.tracks import RATE, Pcm

FRAME_S = 0.01
LOUD, QUIET = np.full(round(FRAME_S * RATE), 5000, np.int16), np.zeros(round(FRAME_S * RATE), np.int16)
QUESTION, CLIP = np.full(RATE, 1, np.int16), np.full(RATE // 2, 2, np.int16)
TALK = Scenario("steady", "interruption", "yield")
COUGH = Scenario("cough", "cough", "absent")


class MadeAgent:
    """Replies a second after every sound of the caller that it does not take for a cough; each reply lasts so long."""

    def __init__(self, *, reply_s: float = 30.0, answers: int = 100, is_deaf_to: frozenset[int] = frozenset()) -> None:
        self.hearing = Hearing()
        self.questions = 0
        self._reply_s = reply_s
        self._answers = answers
        self._is_deaf_to = is_deaf_to
        self._clips = 0
        self._until_s = 0.0
        self._tasks = [asyncio.create_task(self._sound())]

    async def say(self, pcm: Pcm) -> None:
        asks = int(pcm[0]) == int(QUESTION[0])
        self.questions += asks
        number, self._clips = self._clips, self._clips + (not asks)
        await asyncio.sleep(len(pcm) / RATE)
        if asks or number not in self._is_deaf_to:
            self._tasks.append(asyncio.create_task(self._reply()))

    async def tracks(self) -> None:
        raise NotImplementedError

    async def packets(self) -> None:
        return None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reply(self) -> None:
        self._until_s = 0.0
        self._tell("listening")
        await asyncio.sleep(1.0)
        if self._answers:
            self._answers -= 1
            self._until_s = self._now() + self._reply_s
            self._tell("speaking")

    async def _sound(self) -> None:
        while True:
            await asyncio.sleep(FRAME_S)
            self.hearing.add_heard(self._now(), LOUD if self._now() < self._until_s else QUIET)
            if 0.0 < self._until_s <= self._now():
                self._until_s = 0.0
                self._tell("listening")

    def _tell(self, name: str) -> None:
        self.hearing.add_told({"name": name, "at_s": self._now()})

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def events(scenario: Scenario, count: int) -> Script:
    plans = [EventPlan(scenario, 500.0, "voiced", number) for number in range(count)]
    return Script(plans, [CLIP] * count, QUESTION)


def called(script: Script, **agent: object) -> tuple[list[Attempt], list[str], MadeAgent]:
    async def call() -> tuple[list[Attempt], list[str], MadeAgent]:
        made = MadeAgent(**agent)  # type: ignore[arg-type]
        try:
            return *await hold(made, script, seed=1), made  # type: ignore[arg-type]
        finally:
            await made.close()

    awaited: Awaitable[tuple[list[Attempt], list[str], MadeAgent]] = call()
    return virtual_time.run(awaited)  # type: ignore[arg-type]


def test_a_caller_asks_once_and_then_talks_over_every_reply() -> None:
    attempts, unreached, agent = called(events(TALK, 4))
    assert (len(attempts), unreached, agent.questions) == (4, [], 1)
    assert all(attempt.answered for attempt in attempts)
    spoken = [event["at_s"] for event in agent.hearing.told if event["name"] == "speaking"]
    for attempt, reply_s in zip(attempts, spoken, strict=False):
        assert attempt.begin_s - reply_s >= 0.5 + 0.5, "half a second is heard, then the delay passes"


def test_sounds_that_end_no_reply_share_it_until_it_is_old() -> None:
    attempts, unreached, agent = called(events(COUGH, 8), reply_s=OLD_S + 10, is_deaf_to=frozenset(range(8)))
    assert (len(attempts), unreached) == (8, [])
    assert agent.questions == 2
    assert not any(attempt.answered for attempt in attempts)


def test_an_agent_that_falls_silent_is_asked_again_and_the_event_says_so() -> None:
    attempts, unreached, agent = called(events(TALK, 2), reply_s=6.0, is_deaf_to=frozenset({0}))
    assert (len(attempts), unreached, agent.questions) == (2, [], 2)
    assert [attempt.answered for attempt in attempts] == [False, True]


def test_a_moment_that_never_comes_is_named() -> None:
    attempts, unreached, _ = called(events(TALK, 2), answers=1)
    assert [attempt.answered for attempt in attempts] == [False]
    assert len(unreached) == 1
