"""The bench on the real engine with a runner that sings: what is counted, not how long it takes."""

import asyncio
import json
import random

import pytest

from agent_tts.bench import BenchPlan, BenchReport, Spread, make_text, run_bench
from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.host import describe_run
from evals import ttfa
from tests.fakes import ToneRunner

SMALL = BenchPlan(lengths=(2, 30), repeats=3, rtf_words=4, rtf_repeats=2, streams=(1, 2), stream_words=2, aborts=3)


def run_small() -> BenchReport:
    async def run() -> BenchReport:
        async with Engine.from_runner(ToneRunner(frames_per_word=3)) as engine:
            return await run_bench(engine, SMALL)

    return asyncio.run(run())


def test_a_text_has_exactly_the_words_asked_for() -> None:
    for num_words in (1, 2, 7, 500):
        assert len(make_text(num_words, random.Random(3)).split()) == num_words


def test_the_same_seed_makes_the_same_text() -> None:
    assert make_text(40, random.Random(3)) == make_text(40, random.Random(3))


def test_every_measurement_is_counted_as_planned() -> None:
    report = run_small()
    assert {words: row["playable"].n for words, row in report.ttfa.items()} == {2: 3, 30: 3}
    assert {name: spread.n for name, spread in report.rtf.items()} == {"wall": 2, "CPU": 2}
    assert report.abort["released_ms"].n == 3
    assert report.abort["late_chunks"] == 0


def test_stages_of_ttfa_come_in_their_order() -> None:
    for row in run_small().ttfa.values():
        assert row["first frame"].p50 <= row["playable"].p50 <= row["audible"].p50


def test_streams_stop_at_the_first_underrun() -> None:
    report = BenchReport(concurrent={1: {"underruns": 0}, 2: {"underruns": 0}, 4: {"underruns": 3}})
    assert report.sustained == 2


def test_the_report_is_json_with_where_it_was_measured() -> None:
    line = json.dumps({**describe_run(EngineConfig(), "tone"), **run_small().as_dict()})
    data = json.loads(line)
    assert {"commit", "config", "hardware", "versions", "date", "ttfa", "rtf", "concurrent", "abort"} <= set(data)


def test_a_spread_of_nothing_says_so() -> None:
    assert Spread.of([None, None]) == Spread(0, None, None, None)
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(3, 2.0, 3.0, 3.0)


def test_ttfa_is_flat_when_long_texts_wait_no_longer() -> None:
    def row(ms: float) -> dict[str, Spread]:
        return {"playable": Spread.of([ms])}

    assert BenchReport(ttfa={2: row(10), 5: row(20), 500: row(29)}).flat is True
    assert BenchReport(ttfa={2: row(10), 5: row(20), 500: row(29.5)}).flat is False
    assert BenchReport(ttfa={2: row(10)}).flat is None


def test_evals_ttfa_prints_a_table_and_one_json_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def load(model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        return Engine.from_runner(ToneRunner(frames_per_word=3), config)

    monkeypatch.setattr(Engine, "load", load)
    assert ttfa.main(["--words", "2", "6", "--repeats", "2"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    assert any("TTFA 6 words, audible" in row for row in table)
    assert json.loads(line)["ttfa"]["6"]["playable"]["n"] == 2
