"""Reports: any outcome can be shown, nothing is fetched, what is said is text and never markup."""

import json
from importlib import import_module

import pytest

from evals import everything
from evals.__main__ import COMMANDS
from evals.outcome import Gate, Outcome
from evals.pages import page
from evals.pages.everything import Part, write_report
from evals.pages.headline import headline
from evals.pages.plots import ecdf, strips
from evals.pages.style import body_of, document

SOAK = {
    "eval": "soak",
    "peer": "engine",
    "passed": False,
    "seed": 1,
    "config": {"hours": 2, "lacks": ["<b>nothing</b>"]},
    "figures": {
        "interruptions": 5000,
        "abort_ms": {"n": 5000, "p50": 12.5, "p95": 30.0, "p99": 41.0, "worst": 60.0},
        "memory": {
            "slope_mb_per_h": {"value": 0.1, "low": -0.2, "high": 0.4},
            "thirds": [1, 2, 3],
            "by_hour": [{"hour": 1, "mb": 410.0}, {"hour": 2, "mb": 411.0}],
        },
        "note": "two hours",
    },
    "gates": [{"name": "pages leaked", "count": 1, "limit": 0, "passed": False}],
    "not_measured": ["joules"],
    "environment": {"cpu": "a CPU", "packages": {"torch": "2"}},
}


def fetches_nothing(html: str) -> bool:
    return not any(mark in html for mark in ("http://", "https://", "<script", "@import", "url(", "<link"))


def test_an_outcome_of_any_kind_shows_every_figure_gate_and_setting():
    html = page.any_outcome(SOAK)
    for part in (
        "5000",
        "12.5",
        "slope_mb_per_h",
        "by_hour",
        "411",
        "1 of 1 gates failed",
        "pages leaked: 1, at most 0",
    ):
        assert part in html
    assert "not measured: joules" in html
    assert "torch 2" in html
    assert "<b>nothing</b>" not in html
    assert "&lt;b&gt;nothing" in html


def test_the_headline_of_an_unknown_evaluation_is_its_first_figures():
    assert headline(SOAK) == [
        ("interruptions", "5000"),
        ("abort_ms, p50 / p95", "12 / 30"),
        ("memory: slope_mb_per_h", "0.1"),
        ("note", "two hours"),
    ]


def test_the_page_of_a_set_is_complete_in_itself(tmp_path):
    parts = [
        Part("soak --hours 2", SOAK, "FAILED: pages leaked", "2 min 05 s", ""),
        Part("latency --peer kokoro", None, "not run: <no model>", "0 s", ""),
        Part("quality", SOAK | {"passed": True}, "passed", "1 s", "<h2>Own page</h2>"),
    ]
    write_report(tmp_path / "report.html", "A set", parts)
    html = (tmp_path / "report.html").read_text()
    assert fetches_nothing(html)
    for part in (
        "1 passed",
        "1 failed",
        "1 could not run",
        "2 min 05 s",
        "Own page",
        "&lt;no model&gt;",
        "slope_mb_per_h",
    ):
        assert part in html


def test_a_page_can_be_put_into_another():
    inner = document("Inner", "<p>text</p>")
    assert body_of(inner) == "<p>text</p>"
    assert fetches_nothing(inner)


@pytest.mark.parametrize("plot", [ecdf, strips])
def test_plots_of_nothing_and_of_zeros_say_so_instead_of_failing(plot):
    assert "nothing to draw" in plot({})
    assert "nothing to draw" in plot({"empty": []})
    assert "<svg" in plot({"zeros": [0.0, 0.0], "empty": []})
    assert "&lt;x&gt;" in plot({"<x>": [1.0]})


def test_words_stand_left_and_numbers_right():
    html = page.grid(("class", "n", "outcomes", "p50 / worst"), [("noise", 3, "2 kept, 1 ducked", "80 / 100")])
    assert '<td class="t">2 kept, 1 ducked' in html
    assert '<td class="n">80 / 100' in html


def test_gates_that_failed_are_named_before_everything_else():
    outcome = Outcome("x", "y", {}, 1, {}, (Gate("stale frames", 2), Gate("missed", 0)), {})
    html = page.verdict(outcome)
    assert html.index("stale frames: 2, at most 0") < html.index("<details>")
    assert "1 of 2 gates failed" in html


def test_a_set_prints_minutes_and_runs_on_when_something_cannot_run(tmp_path, capsys):
    assert everything._took(65.4) == "1 min 05 s"
    code = everything.main(["--run", "latency --peer http", "--run", "barge-in --peer tone --virtual --reaction energy "
                            "--only cough --clips cough", "--out", str(tmp_path)])  # fmt: skip
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, line["passed"]) == (0, True), "what is not installed is named, and fails nothing"
    assert "needs --url" in line["not_run"]["latency --peer http"]
    assert fetches_nothing((tmp_path / "report.html").read_text().replace("http://127.0.0.1:8000/v1", ""))


@pytest.mark.parametrize("command", sorted({command for commands in everything.SETS.values() for command in commands}))
def test_every_evaluation_of_a_set_is_understood(command):
    name, *arguments = command.split()
    import_module(COMMANDS[name][0]).options_parser().parse_args(arguments)
