"""The same events around each TTS: what an event comes to, whose faults count, and the pages made of it."""

import json

import pytest

from evals import side_by_side, virtual_time
from evals.metrics.barge_in import judge
from evals.metrics.side_by_side import listened_error, row_of, values_of
from evals.metrics.stats import spread


def events_of(arguments):
    options = side_by_side.options_parser().parse_args(arguments.split())
    return virtual_time.run(side_by_side._events(options))


def test_a_sine_comes_to_known_values_on_a_virtual_clock():
    events, pages, unreached = events_of("--peer tone --quick")
    values = [values_of(event, judge(event), None) for event in events]
    assert (len(events), pages, unreached) == (10, None, [])
    assert len({event.key for event in events}) == 10, "a key that comes twice would lose a row of values"
    assert all(one["silence_ms"] <= 101 and one["text_error"] == 0 for one in values if "silence_ms" in one)
    # What the transport may hold is what is made and not heard of a TTS that works no further ahead than it is taken.
    assert max(one["unheard_ms"] for one in values) <= 60 + 2 * 20
    assert all("listened_error" not in one for one in values)


def test_a_tts_without_a_lead_limit_makes_more_that_nobody_hears():
    near, far = (events_of(f"--peer tone --quick --lead-ms {lead}")[0] for lead in (100, 100_000))
    wasted = [spread([values_of(e, judge(e), None).get("wasted_ms") for e in events]).p50 for events in (near, far)]
    assert wasted[0] <= wasted[1]


@pytest.mark.parametrize(
    ("claimed", "listened", "errors"),
    [
        ("One two", "one two three", 1),
        ("One two", "One, two.", 0),
        (None, "one", None),
        ("One", None, None),
        ("", "", 0),
    ],
)
def test_what_a_listener_heard_is_compared_word_by_word(claimed, listened, errors):
    assert listened_error(claimed, listened) == errors


def test_what_cannot_be_known_of_a_tts_is_a_dash_and_not_a_zero():
    row = row_of([{"silence_ms": 80.0}, {"silence_ms": 100.0}])
    assert (row["silence_ms"]["n"], row["silence_ms"]["p50"]) == (2, 80.0)
    assert row["text_error"] == {"n": 0, "p50": None, "p95": None, "p99": None, "worst": None}


def made(peer, **more):
    values = {"steady | +410 ms": {"silence_ms": 90.0, "unheard_ms": 60.0}, "double | 1 of 2": {"silence_ms": 95.0}}
    found = {"peer": peer, "n": 2, "stopped": 2, "findings": {}, "pages_leaked": 0, "unreached": 0, "listened": False}
    return found | {"values": values, "lacks": ["no word times"]} | more


@pytest.mark.parametrize(("peer", "code"), [("engine", 1), ("hibari", 0)])
def test_a_fault_of_ours_fails_the_run_and_one_of_another_tts_is_a_finding(tmp_path, capsys, monkeypatch, peer, code):
    rows = {
        "--peer engine": made("engine"),
        "--peer x": made(peer, findings={"stale_frames": 1}),
        "--peer y": "y is missing",
    }
    monkeypatch.setattr(side_by_side, "_run", lambda options, _: rows[options])
    arguments = ["--row", "ours=--peer engine", "--row", "other=--peer x", "--row", "--peer y", "--out", str(tmp_path)]
    assert side_by_side.main(arguments) == code
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["not_measured"] == ["--peer y: y is missing"]
    assert line["figures"]["other"]["silence_ms"]["worst"] == 95.0
    page = (tmp_path / "side-by-side.md").read_text()
    assert "| ours | 2 | 2 | 90 / 95 | - |" in page
    assert "- other: 1 stale frames" in page
    assert "made and not heard" in (tmp_path / "side-by-side.html").read_text()


def test_a_run_of_nothing_says_so(monkeypatch):
    monkeypatch.setattr(side_by_side, "_run", lambda options, _: "not installed")
    assert side_by_side.main(["--row", "--peer piper"]) == 2


@pytest.mark.parametrize("peer", [peer for _, peer in side_by_side.ROWS])
def test_every_row_describes_a_peer(peer):
    assert side_by_side.options_parser().parse_args(["--one", *peer.split(), "--reaction", "energy"]).one
