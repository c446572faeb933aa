"""The results page is made from JSON lines alone: what ran, what failed, what was not measured."""

import json

from evals import barge_in, latency
from evals.pages.summary import markdown


def line_of(capsys, command, arguments):
    command.main(arguments.split())
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_page_has_figures_failures_and_what_is_missing(capsys):
    heard = line_of(capsys, barge_in, "--peer tone --virtual --reaction never --clips voiced --only double")
    spoken = line_of(capsys, latency, "--peer tone --seeds 1 --warm-up 0 --load closed:2:2 --lead-ms 100000")
    page = markdown("A run", [heard, spoken], {"latency --peer kokoro": "needs --model-file"})
    assert "| tone (virtual clock) | never |" in page
    assert "| tone | closed 2 | 2 | 0 |" in page
    assert "- barge-in, tone, never: missed interruption" in page
    assert "- not run: `latency --peer kokoro`: needs --model-file" in page
    assert "rtf_compute (tone gives none)" in page


def test_why_replies_failed_stands_beside_how_many(capsys):
    line = line_of(capsys, latency, "--peer tone --seeds 1 --warm-up 0 --load closed:2:2 --lead-ms 100000")
    line["figures"]["closed 2"] |= {"bad": 3, "errors": {"HTTP 429": 2, "stuck": 1}}
    assert "| tone | closed 2 | 2 | 3 (2 HTTP 429, 1 stuck) |" in markdown("A run", [line], {})


def test_an_evaluation_that_the_page_does_not_know_is_shown_with_every_figure():
    figures = {
        "aligned": {"n": 20, "wasted": {"n": 24, "p50": 2.0, "p95": 8.0, "p99": 8.0, "worst": 9.0}, "thirds": [1, 2]}
    }
    surroundings = {
        "load_average": 1,
        "packages": {},
        "date": "today",
        "commit": "c",
        "cpu": "x",
        "cores": 2,
        "gpu": None,
    }
    surroundings |= {"system": "s", "python": "3"}
    line = {"eval": "soak", "peer": "engine", "figures": figures, "config": {}, "gates": [], "not_measured": []}
    page = markdown("A run", [line | {"environment": surroundings}], {})
    assert "## soak" in page
    assert "| engine | aligned, wasted | 24 | 2 | 8 | 9 |" in page
    assert "| engine | aligned, thirds | 1 / 2 |" in page
