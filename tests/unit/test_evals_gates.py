"""What CI asks for: every agent that is broken on purpose fails a gate of its name, and a sound one fails none."""

import json
from functools import partial

import pytest

from evals import barge_in, everything, latency, virtual_time
from evals.barge_in import gates_of
from evals.calls import broken
from evals.calls.agent import Agent
from evals.calls.call import CallSetting, run_event
from evals.calls.reactions import EnergyReaction
from evals.calls.scenario import EventPlan, Scenario
from evals.metrics.barge_in import judge
from evals.metrics.ledger import summarise
from evals.peers.tone import WORD_MS, TonePeer


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


# -- the command, as CI runs it ---------------------------------------------------------------------------------------

SMOKE = {command.split()[0]: command.split()[1:] for command in everything.SETS["smoke"] if "--peer tone" in command}


@pytest.fixture
def ends_with(monkeypatch, capsys):
    """Runs a command of the smoke set on a virtual clock, an agent or a voice put in; its code and failed gates."""

    def run(command, *, agent=None, peer=None):
        module = {"barge-in": barge_in, "latency": latency}[command]
        monkeypatch.setattr(module.asyncio, "run", virtual_time.run)
        if agent is not None:
            monkeypatch.setattr(barge_in, "CallSetting", partial(CallSetting, make_agent=agent))
        if peer is not None:
            monkeypatch.setattr(module, "make_peer", lambda options: peer())
        code = module.main(SMOKE[command])
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        return code, {gate["name"] for gate in line["gates"] if not gate["passed"]}

    return run


def test_the_smoke_set_of_ci_runs_the_engine_too():
    assert {"soak", "latency"} <= {command.split()[0] for command in everything.SETS["smoke"] if "tone" not in command}


def test_the_smoke_set_of_ci_passes(ends_with):
    assert ends_with("barge-in") == (0, set())
    assert ends_with("latency") == (0, set())


@pytest.mark.parametrize(
    ("agent", "gate"),
    [
        (broken.IgnoresAbort, "missed interruption"),
        (broken.LeaksStaleFrames, "stale frames"),
        (broken.SpeaksOldTail, "stale audio"),
        (broken.ComesBack, "missed interruption"),
        (broken.AbortsLate, "late stop"),
        (broken.AnswersLate, "late reply"),
        (broken.DropsWord, "lost word"),
        (broken.SendsTwice, "repeated audio"),
        (broken.RunsSlow, "next reply underrun"),
        (broken.ClaimsTooMuch, "heard text wrong"),
        (broken.ClaimsOneWordMore, "heard text wrong"),
    ],
)
def test_an_agent_that_is_broken_ends_cis_barge_in_with_1(ends_with, agent, gate):
    code, failed = ends_with("barge-in", agent=agent)
    assert code == 1
    assert gate in failed


@pytest.mark.parametrize(
    ("peer", "gate"),
    [
        (broken.silent_peer, "silent reply"),
        (broken.underrunning_peer, "events with an underrun"),
        (broken.DoublingPeer, "repeated audio"),
        (broken.HoardingPeer, "pages leaked"),
    ],
)
def test_a_voice_that_is_broken_ends_cis_barge_in_with_1(ends_with, peer, gate):
    code, failed = ends_with("barge-in", peer=peer)
    assert code == 1
    assert gate in failed


@pytest.mark.parametrize(
    ("peer", "gate"), [(broken.silent_peer, "empty replies"), (broken.DoublingPeer, "miscounted replies")]
)
def test_a_voice_that_is_broken_ends_cis_latency_with_1(ends_with, peer, gate):
    assert ends_with("latency", peer=peer) == (1, {gate, "loads without a whole reply"})
