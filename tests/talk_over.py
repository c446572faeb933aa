"""One event of a call against the tone, run on a virtual clock and judged: what tests of agents have in common."""

from __future__ import annotations

from collections.abc import Callable

from evals import virtual_time
from evals.calls.agent import Agent
from evals.calls.call import CallSetting, run_event
from evals.calls.events import EventRecord
from evals.calls.reactions import EnergyReaction, Reaction, Signal
from evals.calls.scenario import EventPlan, Scenario
from evals.metrics.barge_in import EventResult, judge
from evals.peers.base import Peer
from evals.peers.tone import TonePeer


def record(
    agent: Callable[..., Agent] = Agent,
    *,
    peer: Peer | None = None,
    reaction: Callable[[], Reaction] = EnergyReaction,
    clip: str = "voiced",
    delay_ms: float = 810,
    **scenario: object,
) -> EventRecord:
    """Run one event against the tone."""
    values = {"name": "test", "kind": "interruption", "expect": "yield", "clip_ms": 700.0} | scenario
    plan = EventPlan(Scenario(**values), delay_ms, clip, 0)
    setting = CallSetting(make_agent=agent, make_reaction=reaction)
    return virtual_time.run(run_event(peer or TonePeer(), plan, setting, 1))[0]


def event(agent: Callable[..., Agent] = Agent, **how: object) -> EventResult:
    """The same, judged."""
    return judge(record(agent, **how))


def backchannel(agent: Callable[..., Agent] = Agent, **how: object) -> EventResult:
    """A sound that the agent dips at and goes on after, as it should."""
    values = {"reaction": lambda: DipsFirst(commit=False), "kind": "backchannel", "expect": "absent"}
    return event(agent, **(values | how))


class DipsFirst:
    """Dips at the first loud frame, and after 200 ms of sound decides: `commit` says what."""

    name = "dips"

    def __init__(self, *, commit: bool) -> None:
        self._commit, self._heard = commit, 0

    def hear(self, samples, at_s, *, agent_speaks):
        if abs(samples).max() < 0.02 or not agent_speaks:
            return []
        self._heard += 1
        if self._heard == 1:
            return [Signal.DIP]
        return [] if self._heard != 10 else [Signal.INTERRUPT if self._commit else Signal.RESTORE]
