"""One event on a fresh call: the agent begins a reply, the caller makes a sound at the anchor, and all is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from evals.calls.agent import Agent, Turn
from evals.calls.caller import Mouth
from evals.calls.clips import RATE, Wave, clip
from evals.calls.events import EventRecord
from evals.calls.player import FRAME_S, Player
from evals.calls.reactions import EnergyReaction, Reaction
from evals.calls.scenario import EventPlan
from evals.metrics.audio import onset_ms, silence_ms
from evals.peers.base import Peer
from evals.texts import llm_pace, text_of_words

ANCHOR_PATIENCE_S = 20.0
ENDPOINT_S = 0.2
BEFORE_S = 0.4
"""From the end of the caller's turn to the reply, besides the endpoint."""
WATCHED_S = 2.3
"""How long after the onset the ear is watched at least: a little more than the window of a missed interruption."""
RESTORE_S = 3.0
"""How much longer a reply that is still paused or turned down then may take to come back."""

AgentMaker = Callable[[Peer, Player, Reaction], Agent]


class AnchorError(RuntimeError):
    """The moment an event is anchored to never came."""


@dataclass(frozen=True, slots=True)
class CallSetting:
    """What is the same for all calls of a run."""

    transport_ms: float = 60.0
    tokens_per_s: float = 30.0
    voice: str = "default"
    make_agent: AgentMaker = Agent
    make_reaction: Callable[[], Reaction] = EnergyReaction


@dataclass(slots=True)
class Call:
    """A call in progress."""

    agent: Agent
    player: Player
    mouth: Mouth
    setting: CallSetting
    seeds: Iterator[int]
    events: list[EventRecord] = field(default_factory=list)

    def say(self, num_words: int) -> Turn:
        seed = next(self.seeds)
        text = text_of_words(seed, num_words)
        tokens = llm_pace(text, seed, tokens_per_s=self.setting.tokens_per_s)
        return self.agent.say(text, tokens, voice=self.setting.voice)


async def run_event(peer: Peer, plan: EventPlan, setting: CallSetting, seed: int) -> list[EventRecord]:
    """Run one planned event; a double interruption gives two records.

    Raises:
        AnchorError: The anchor never came, for example because the peer says nothing.
    """
    player = Player(peer.sample_rate, setting.transport_ms)
    agent = setting.make_agent(peer, player, setting.make_reaction())
    mouth = Mouth(agent.hear, player, echo_db=plan.scenario.echo_db)
    call = Call(agent, player, mouth, setting, iter(range(seed * 100, seed * 100 + 100)))
    sound = clip(plan.clip, seed=seed, level_db=plan.scenario.level_db, ms=plan.scenario.clip_ms)
    try:
        await _speak_before(call, plan)
        turn = call.say(plan.scenario.reply_words)
        for number in range(plan.scenario.times):
            event = await _speak_over(call, plan, turn, sound, number)
            if event.next_reply is None:
                break
            assert agent.turn is not None
            turn = agent.turn
        await agent.end()
    finally:
        await mouth.close()
        await player.close()
    clean = np.concatenate(mouth.clean) if mouth.clean else np.zeros(0, np.float32)
    for event in call.events:
        event.mouth, event.mouth_start_s = clean, mouth.begin_s
    return call.events


async def _speak_before(call: Call, plan: EventPlan) -> None:
    """The caller's turn that the reply answers, in the voice of the clip."""
    if not plan.scenario.before:
        return
    said = plan.clip.partition(":")[0] if plan.clip.startswith("say") else "say"
    call.mouth.speak(clip(f"{said}:{plan.scenario.before}", level_db=plan.scenario.usual_db))
    await call.mouth.quiet()
    await asyncio.sleep(ENDPOINT_S + BEFORE_S)


async def _speak_over(call: Call, plan: EventPlan, turn: Turn, sound: Wave, number: int) -> EventRecord:
    scenario, agent = plan.scenario, call.agent
    moments = agent.moments
    await _reach(call, plan, turn)
    start_s, begin_ms, end_ms = _make_sound(call, plan, sound)
    event = EventRecord(
        key=plan.key if scenario.times == 1 else f"{plan.key} | {number + 1} of {scenario.times}",
        scenario=scenario.name,
        kind=scenario.kind,
        expect=scenario.expect,
        onset_s=start_s + begin_ms / 1000,
        caller_end_s=start_s + end_ms / 1000,
        transport_ms=call.setting.transport_ms,
        ear=call.player.ear,
        reply=turn.trace,
        moments=moments,
    )
    call.events.append(event)
    if scenario.forced:
        moments.decision_s = event.onset_s
        agent.interrupt()
    await call.mouth.quiet()
    await asyncio.sleep(ENDPOINT_S)
    if scenario.expect == "absent":
        await _watch(call, event, turn)
    else:
        await _next_reply(call, event, turn, is_last=number + 1 == scenario.times)
    return event


async def _reach(call: Call, plan: EventPlan, turn: Turn) -> None:
    """Wait for the scenario's moment, and pause the reply for it where it asks for that."""
    paused = plan.scenario.anchor == "paused"
    name = "steady" if paused else plan.scenario.anchor
    await _either(turn.anchor(name), turn.anchor("over"), ANCHOR_PATIENCE_S)
    if not turn.anchor(name).is_set():
        over = turn.anchor("over").is_set()
        why = (
            f"within {ANCHOR_PATIENCE_S:g} s"
            if not over
            else f"before the reply ended ({turn.trace.error or 'silent'})"
        )
        raise AnchorError(f"{plan.key}: no {name!r} {why}")
    if paused:
        await asyncio.sleep(0.6)
        call.agent.dip()
        call.agent.moments.dip_s = None  # the driver's pause, not the agent's suspicion
    await asyncio.sleep(plan.delay_ms / 1000)


def _make_sound(call: Call, plan: EventPlan, sound: Wave) -> tuple[float, float, float]:
    """Begin the clip; when it starts, and where in it its onset and end are, ms."""
    if plan.scenario.forced:
        return asyncio.get_running_loop().time(), 0.0, 0.0
    onset = onset_ms(sound, RATE)
    if onset is None and plan.scenario.expect == "yield":
        raise AnchorError(f"{plan.key}: nothing in this clip is audible, so nobody could stop at it")
    start_s = call.mouth.speak(sound)
    return start_s, onset or 0.0, silence_ms(sound, RATE) or 1000 * len(sound) / RATE


async def _watch(call: Call, event: EventRecord, turn: Turn) -> None:
    """Nothing should happen: listen for long enough to see that it does not, or until the reply is over."""
    now, until_s = asyncio.get_running_loop().time, event.onset_s + WATCHED_S
    over = await _by(turn.anchor("over"), until_s)
    while not over and call.player.holds and now() < until_s + RESTORE_S:
        over = await _by(turn.anchor("over"), now() + FRAME_S)


async def _next_reply(call: Call, event: EventRecord, turn: Turn, *, is_last: bool) -> None:
    """The caller has said it: an agent that has stopped answers; one that has not is watched."""
    now = asyncio.get_running_loop().time
    if not await _by(turn.anchor("over"), event.onset_s + WATCHED_S):
        return
    following = call.say(12 if is_last else 40)
    event.next_reply = following.trace
    if not is_last:
        return
    await _by(following.anchor("steady"), now() + ANCHOR_PATIENCE_S)
    await asyncio.sleep(max(0.5, event.onset_s + WATCHED_S - now()))


async def _either(wanted: asyncio.Event, end: asyncio.Event, patience_s: float) -> None:
    """Wait until one of them came, at most so long."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (wanted, end)]
    await asyncio.wait(waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _by(event: asyncio.Event, deadline_s: float) -> bool:
    """Whether the event came by then."""
    try:
        async with asyncio.timeout_at(deadline_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
