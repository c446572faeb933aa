"""The results page is made from JSON lines alone: what ran, what failed, what was not measured."""

import json

from evals import barge_in, latency
from evals.summary import markdown


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
