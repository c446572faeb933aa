"""The evaluations against our engine with a singing model, in real time: counts and order are asserted, never times."""

import json
import sys

import pytest

from agent_tts import Engine, EngineConfig
from evals import barge_in, latency, virtual_time
from evals.barge_in import gates_of, run_all
from evals.calls.call import CallSetting, run_event
from evals.calls.policies import reaction_maker
from evals.calls.scenario import FOLDER, EventPlan, Scenario
from evals.load import burst, closed
from evals.metrics.barge_in import judge
from evals.metrics.ledger import summarise
from evals.metrics.reply import defect
from evals.peers.engine import EnginePeer
from evals.peers.tone import TonePeer
from evals.speaking import Manner, run_load
from evals.texts import llm_pace, unique_texts
from tests.fakes import ToneRunner


@pytest.fixture
async def peer():
    engine = Engine.from_runner(ToneRunner(), EngineConfig(max_slots=4))
    yield EnginePeer(engine=engine)
    await engine.close()


def plans(*anchors: str, **scenario: object) -> list[EventPlan]:
    values = {"kind": "interruption", "expect": "yield", "clip_ms": 400.0} | scenario
    return [EventPlan(Scenario(name=anchor, anchor=anchor, **values), 100, "voiced", 0) for anchor in anchors]


async def test_our_engine_passes_every_gate_of_barge_in_with_neighbours(peer):
    anchors = plans("first_token", "first_frame", "steady", "paused")
    events, unreached = await run_all(peer, anchors, CallSetting(), streams=4)
    summary = summarise([judge(event) for event in events])
    gates = gates_of(summary, selective=False, leaked_pages=peer.pages_leaked(), unreached=len(unreached))
    assert [str(gate) for gate in gates if not gate.passed and "underrun" not in gate.name] == []
    assert summary.n == 4
    assert summary.yield_rate == 1.0
    assert summary.heard_text_error.worst == 0


async def test_every_reply_of_a_load_is_whole_and_tells_the_engines_own_figures(peer):
    texts = unique_texts(1)
    manner = Manner(feed=lambda text: llm_pace(text, 1, tokens_per_s=200))
    records = await run_load(peer, burst(3, 1, 1), texts, manner) + await run_load(peer, closed(2, 3), texts, manner)
    assert [defect(record) for record in records] == [None] * 6
    assert len({record.text for record in records}) == 6
    for record in records:
        assert record.engine["ttfa_first_frame_ms"] is not None
        assert record.engine["rtf_compute"] is not None
        assert 0 <= record.engine["queue_ms"] <= record.engine["ttfa_first_frame_ms"]


def test_the_command_ends_with_one_json_line_and_writes_its_report(tmp_path, capsys):
    arguments = ["--peer", "tone", "--virtual", "--reaction", "energy", "--clips", "voiced", "--only", "abort"]
    assert barge_in.main([*arguments, "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["eval"] == "barge-in"
    assert line["passed"]
    assert line["environment"]["cores"]
    saved = json.loads((tmp_path / "barge-in-tone.json").read_text())
    assert len(saved["pairs"]) == line["figures"]["n"]
    page = (tmp_path / "barge-in-tone.html").read_text()
    assert 'src="http' not in page
    assert "<script" not in page


def test_an_engine_in_a_process_of_its_own_is_started_for_the_run_and_ended_with_it(capsys):
    serve = f"{sys.executable} -m tests.tone_server --max-slots 8"
    arguments = ["--over-socket", serve, "--reaction", "immediate", "--only", "abort in prefill", "--streams", "2"]
    barge_in.main([*arguments, "--quick", "--repeat", "2", "--warm-up", "0"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["config"]["over_socket"] == serve
    counts = {gate["name"]: gate["count"] for gate in line["gates"]}
    for name in ("stale frames", "pages leaked", "not released", "missed interruption", "anchors never reached"):
        assert counts[name] == 0


def test_a_small_part_of_the_selective_set_passes_without_words(capsys):
    """Every class once or twice; what only words can tell (a lone "Stop.", "Okay, right.") is left out."""
    told = ("a sentence", "an interruption over the agent's echo", "a quiet caller", "a backchannel", "a cough")
    around = ("steady noise", "sudden noise", "side talk", "own echo", "side talk during the greeting")
    only = [word for name in (*told, *around) for word in ("--only", name)]
    arguments = ["--peer", "talker", "--virtual", "--reaction", "selective", "--scenarios", str(FOLDER / "set")]
    assert barge_in.main([*arguments, "--quick", *only]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert (figures["yield_rate"], figures["selectivity"]) == (1.0, 1.0)
    assert figures["n"] == 19


def test_a_gate_that_fails_ends_the_command_with_1(capsys):
    arguments = ["--peer", "tone", "--virtual", "--reaction", "never", "--clips", "voiced", "--only", "quiet caller"]
    assert barge_in.main(arguments) == 1
    assert "FAIL missed interruption: 2 (at most 0)" in capsys.readouterr().out


def test_a_peer_that_is_not_there_says_what_is_missing(capsys):
    assert latency.main(["--peer", "http", "--seeds", "1"]) == 2
    assert "--url" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("preset", "clip", "expect", "outcome"),
    [
        ("immediate", "say:No, wait, the other one.", "yield", "yielded"),
        ("framework", "say:No, wait, the other one.", "yield", "yielded"),
        ("selective", "say:No, wait, I meant the other one.", "yield", "yielded"),
        ("selective", "say:Mm-hm.", "absent", "ducked"),
        ("selective", "white", "absent", "ducked"),
    ],
)
def test_our_policies_hear_the_virtual_caller(preset, clip, expect, outcome):
    plan = EventPlan(Scenario("test", "class", expect, clip_ms=None), 700, clip, 0)
    setting = CallSetting(make_reaction=reaction_maker(preset))
    (event,) = virtual_time.run(run_event(TonePeer(), plan, setting, 1))
    result = judge(event)
    assert (result.outcome, result.findings) == (outcome, ())
