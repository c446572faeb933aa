"""One call with many events: a reply is heard, the caller makes a sound over it, the next reply is heard, and again.

Whatever carries the call; what is recorded is judged afterwards (records.py). The caller reacts to what it hears.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from evals.calls.clips import clip
from evals.calls.scenario import EventPlan
from evals.live.line import Line
from evals.live.tracks import Pcm
from evals.live.voices import QUESTION, at_line, spoken

HEARD_S = {"first_frame": 0.02, "steady": 0.5}
"""How much of a reply has been heard at each anchor that a caller can know of."""
JITTER_S = 0.7
"""Up to so much is added to an event's delay, so that no two of them meet the same state."""
OLD_S = 25.0
"""A reply that has gone on for so long may end before the event does."""
ANSWER_S = 15.0
PATIENCE_S = 40.0
WATCHED_S = 3.2
"""How long after a sound that is no interruption the agent may still come to a wrong decision."""
AGENT_STATES = ("initializing", "idle", "thinking", "speaking", "listening")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One event as it was made. Times are time.monotonic().

    Attributes:
        answered: After an interruption: the next reply came by itself.
    """

    plan: EventPlan
    number: int
    begin_s: float
    end_s: float
    until_s: float
    answered: bool


def can_be_made(plan: EventPlan) -> bool:
    """Whether a caller at the other end of a line can make this event."""
    scenario = plan.scenario
    return scenario.anchor in HEARD_S and not scenario.forced and scenario.times == 1 and scenario.echo_db is None


@dataclass(frozen=True, slots=True)
class Script:
    """What is to happen, and its sounds."""

    plans: Sequence[EventPlan]
    clips: Sequence[Pcm]
    question: Pcm

    @classmethod
    def of(cls, plans: Sequence[EventPlan]) -> Script:
        """Make the sounds; before a call, for it takes a while."""
        return cls(plans, [spoken(item, number) for number, item in enumerate(plans)], at_line(clip(QUESTION)))


async def hold(
    line: Line, script: Script, *, seed: int, told: Callable[[int], None] = lambda done: None
) -> tuple[list[Attempt], list[str]]:
    """Make all events in one call. Also names those whose moment never came."""
    numbers = random.Random(seed)
    attempts, unreached = [], []
    for number, (plan, pcm) in enumerate(zip(script.plans, script.clips, strict=True)):
        try:
            await _reach(line, plan, script.question)
            await asyncio.sleep(plan.delay_ms / 1000 + numbers.uniform(0.0, JITTER_S))
            attempts.append(await _make(line, plan, number, pcm))
        except TimeoutError:
            unreached.append(plan.key)
        told(number + 1)
    return attempts, unreached


async def _make(line: Line, plan: EventPlan, number: int, pcm: Pcm) -> Attempt:
    replies = line.hearing.count("speaking")
    now = asyncio.get_running_loop().time  # time.monotonic(), unless a test moves it
    begin_s = now()
    await line.say(pcm)
    end_s = now()
    answered = False
    if plan.scenario.expect == "absent":
        await asyncio.sleep(WATCHED_S)
    else:
        answered = await _within(ANSWER_S, line.hearing.event("speaking", replies + 1))
        answered = answered and await _within(ANSWER_S, line.hearing.speech(0.3))
    return Attempt(plan, number, begin_s, end_s, now(), answered)


async def _reach(line: Line, plan: EventPlan, question: Pcm) -> None:
    """A reply that has just begun, heard as far as the anchor says."""
    hearing = line.hearing
    if not _fresh(line):
        replies = hearing.count("speaking")
        await line.say(question)
        await asyncio.wait_for(hearing.event("speaking", replies + 1), PATIENCE_S)
    await asyncio.wait_for(hearing.speech(HEARD_S[plan.scenario.anchor]), PATIENCE_S)


def _fresh(line: Line) -> bool:
    state = next((event for event in reversed(line.hearing.told) if event["name"] in AGENT_STATES), None)
    now_s = asyncio.get_running_loop().time()
    return state is not None and state["name"] == "speaking" and now_s - state["at_s"] < OLD_S


async def _within(seconds: float, awaited: Awaitable[None]) -> bool:
    try:
        await asyncio.wait_for(awaited, seconds)
    except TimeoutError:
        return False
    return True
