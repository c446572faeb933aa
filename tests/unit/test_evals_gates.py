"""What CI asks for: every agent that is broken on purpose fails a gate of its name, and a sound one fails none."""

import pytest

from evals import broken, virtual_time
from evals.agent import Agent
from evals.barge_in import gates_of
from evals.call import CallSetting, run_event
from evals.metrics_barge_in import judge
from evals.metrics_ledger import summarise
from evals.peers.tone import WORD_MS, TonePeer
from evals.reactions import EnergyReaction
from evals.scenario import EventPlan, Scenario


def failed_gates(agent, peer=None, delay_ms=6 * WORD_MS):
    scenario = Scenario(name="test", kind="interruption", expect="yield", clip_ms=700.0)
    setting = CallSetting(make_agent=agent, make_reaction=EnergyReaction)
    events = virtual_time.run(run_event(peer or TonePeer(), EventPlan(scenario, delay_ms, "voiced", 0), setting, 1))
    return {
        gate.name for gate in gates_of(summarise([judge(event) for event in events]), exact=True) if not gate.passed
    }


def test_a_sound_agent_fails_no_gate():
    assert failed_gates(Agent) == set()


@pytest.mark.parametrize(
    ("agent", "gates"),
    [
        (broken.IgnoresAbort, {"missed interruption"}),
        (broken.AbortsLate, {"late stop"}),
        (broken.LeaksStaleFrames, {"stale frames", "stale audio"}),
        (broken.DropsWord, {"lost word"}),
        (broken.ClaimsTooMuch, {"heard text wrong"}),
    ],
)
def test_a_broken_agent_fails_the_gate_of_its_name(agent, gates):
    assert gates <= failed_gates(agent)


def test_a_tts_that_underruns_fails_the_gate_of_its_name():
    assert "events with an underrun" in failed_gates(Agent, broken.underrunning_peer())


def test_frames_wasted_of_a_tts_that_does_not_say_are_unknown_and_not_none():
    class Silent(TonePeer):
        def reply(self, *, voice="default"):
            reply = super().reply(voice=voice)
            reply.facts = lambda: {"generated_ms": reply.generated_ms}
            return reply

    scenario = Scenario(name="test", kind="interruption", expect="yield", clip_ms=700.0)
    plan, setting = EventPlan(scenario, 600, "voiced", 0), CallSetting(make_reaction=EnergyReaction)
    for peer, told in ((TonePeer(), 1), (Silent(), 0)):
        events = virtual_time.run(run_event(peer, plan, setting, 1))
        assert summarise([judge(event) for event in events]).frames_wasted.n == told
