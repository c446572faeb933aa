"""Two runs compared: pairs by key, a verdict only when the interval allows one, differences of the set-up named."""

import json

import pytest

from evals import compare, latency, virtual_time
from evals.latency import load_of
from evals.load import ClosedLoop, OpenLoop
from evals.metrics.latency import failures, summarise
from evals.outcome import Gate, Outcome, environment, finish
from evals.peers.tone import TonePeer
from evals.speaking import Manner, run_load
from evals.texts import unique_texts


def run_of(delay_ms: float) -> dict[str, dict[str, float]]:
    return {f"text {number}": {"ttfa_playable_ms": 50 + 7 * number % 30 + delay_ms} for number in range(20)}


def saved(path, pairs, **more):
    values = {"eval": "latency", "peer": "tone", "seed": 1, "config": {"loads": ["a"]}, "pairs": pairs}
    path.write_text(json.dumps(values | {"environment": environment()} | more))
    return str(path)


def test_a_constant_change_is_found_and_no_change_is_not_claimed():
    slower = compare.compare(run_of(0), run_of(4))["ttfa_playable_ms"]
    assert (slower.better, slower.n) == ("a", 20)
    assert slower.change.value == pytest.approx(4)
    assert compare.compare(run_of(0), run_of(0))["ttfa_playable_ms"].better is None


def test_only_texts_of_both_runs_are_pairs():
    few = dict(list(run_of(-5).items())[:7]) | {"another": {"ttfa_playable_ms": 1.0}}
    verdict = compare.compare(run_of(0), few)["ttfa_playable_ms"]
    assert (verdict.n, verdict.better) == (7, "b")


def test_the_command_names_what_else_differs_and_ends_with_json(tmp_path, capsys):
    first = saved(tmp_path / "a.json", run_of(0))
    second = saved(tmp_path / "b.json", run_of(9), config={"loads": ["b"]})
    assert compare.main([first, second]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "differs: loads: ['a'] and ['b']" in lines
    assert json.loads(lines[-1])["verdicts"]["ttfa_playable_ms"]["better"] == "a"


def test_different_evaluations_are_not_compared(tmp_path, capsys):
    first = saved(tmp_path / "a.json", {})
    assert compare.main([first, saved(tmp_path / "b.json", {}, eval="quality")]) == 2


def test_a_failed_gate_fails_the_run_and_is_printed(tmp_path, capsys):
    outcome = Outcome("latency", "tone", {}, 1, {}, (Gate("empty replies", 1), Gate("failed replies", 0)), {})
    assert finish(outcome, tmp_path) == 1
    out = capsys.readouterr().out
    assert "FAIL empty replies: 1 (at most 0)" in out
    assert json.loads(out.splitlines()[-1])["passed"] is False


@pytest.mark.parametrize(
    ("text", "kind"), [("closed:2:9", ClosedLoop), ("poisson:1:5", OpenLoop), ("burst:2:1:3", OpenLoop)]
)
def test_loads_have_a_short_form(text, kind):
    assert isinstance(load_of(text, 1), kind)


def test_an_unknown_load_names_the_known_ones():
    with pytest.raises(ValueError, match="closed:N:N"):
        load_of("storm:3", 1)


def test_a_load_against_the_tone_has_known_figures():
    async def run():
        return await run_load(TonePeer(first_chunk_ms=30), load_of("closed:2:6", 1), unique_texts(1), Manner())

    records = virtual_time.run(run())
    found = summarise("closed 2", records)
    assert (found.n, found.bad, found.underruns, found.continuity[50]) == (6, 0, 0, 1.0)
    assert found.spreads["ttfa_playable_ms"].worst == pytest.approx(30, abs=0.1)
    assert failures(records) == {"failed": 0, "empty": 0, "truncated": 0, "runaway": 0, "miscounted": 0}


def test_the_latency_command_runs_against_the_tone(tmp_path, capsys):
    arguments = "--peer tone --seeds 1 --warm-up 0 --load closed:4:4 --lead-ms 100000".split()
    assert latency.main([*arguments, "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["figures"]["closed 4"]["n"] == 4
    assert "ttfa_playable_ms" in (tmp_path / "latency-tone.html").read_text()
