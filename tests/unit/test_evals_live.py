"""Live calls: where a pause begins at the ear, one clock from jittering frames, and a made call with known answers."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from evals.calls.scenario import FOLDER, EventPlan, Scenario
from evals.live.call import Attempt, can_be_made
from evals.live.figures import live_figures, quiet_ms
from evals.live.hearing import Hearing
from evals.live.line import WHERES
from evals.live.llm import Answer
from evals.live.page import Clock
from evals.live.quiet import quiet_span
from evals.live.records import Made, records
from evals.live.run import REMARKS, plans_of
from evals.live.tracks import RATE, Frame, Pcm, Tracks, arrived_s, recording, spoken_s
from evals.metrics.audio import Span
from evals.metrics.barge_in import judge

# -- where a pause begins ---------------------------------------------------------------------------------------------


def test_a_pause_is_heard_from_the_last_sound_that_was_under_way() -> None:
    assert quiet_span([Span(0, 1060)], 1000, 2500) == Span(1060, float("inf"))


def test_a_gap_between_words_after_the_onset_is_no_pause() -> None:
    words = [Span(0, 900), Span(1020, 1100), Span(1220, 1300)]
    found = quiet_span(words, 1150, 2500)
    assert found is not None
    assert found.start_ms == 1300


def test_a_pause_that_meets_a_gap_begins_with_the_pause_and_not_with_the_gap() -> None:
    assert quiet_span([Span(0, 900)], 1000, 2500) == Span(1000, float("inf"))


def test_a_pause_with_sound_left_in_it_was_none() -> None:
    assert quiet_span([Span(0, 1060), Span(1560, 1580)], 1000, 2000) is None


def test_a_short_pause_ends_with_the_reply_at_the_ear() -> None:
    words = [Span(0, 1060), Span(1260, 3000)]
    assert quiet_span(words, 1000, 1200) == Span(1060, 1260)


# -- one clock --------------------------------------------------------------------------------------------------------


def frames(times_s: list[float], *, ms: int = 10) -> list[Frame]:
    return [Frame(at_s, np.zeros(RATE * ms // 1000, np.int16)) for at_s in times_s]


def test_frames_that_come_in_bunches_are_laid_out_evenly() -> None:
    late = [5.0, 5.042, 5.042, 5.043, 5.043, 5.05]
    assert arrived_s(frames(late)) == pytest.approx([5.0, 5.01, 5.02, 5.03, 5.04, 5.05])


def test_frames_that_never_came_leave_a_hole() -> None:
    before, after = [5.0 + 0.01 * index for index in range(300)], [9.0 + 0.01 * index for index in range(300)]
    assert arrived_s(frames(before + after))[300] == pytest.approx(9.0)


def test_a_mouth_that_hands_over_early_sounds_one_frame_after_the_other() -> None:
    assert spoken_s(frames([5.0, 5.001, 5.04], ms=20)) == pytest.approx([5.0, 5.02, 5.04])


def test_the_exchange_with_the_shortest_way_sets_the_clock() -> None:
    clock = Clock()
    clock.learn(100.0, 3.0, 100.1)
    clock.learn(200.0, 103.001, 200.002)
    clock.learn(300.0, 203.2, 300.3)
    assert clock.ours_minus_page == pytest.approx(97.0)
    assert clock.exchanges == 3


async def test_waiting_for_speech_counts_from_the_call_on() -> None:
    hearing = Hearing()
    loud, quiet = np.full(480, 5000, np.int16), np.zeros(480, np.int16)
    hearing.add_heard(0.0, loud)
    waiting = asyncio.ensure_future(hearing.speech(0.02))
    silent = asyncio.ensure_future(hearing.silence(0.02))
    for index in range(2):
        await asyncio.sleep(0)
        assert not waiting.done()
        hearing.add_heard(0.01 * index, loud)
    await waiting
    assert not silent.done()
    hearing.add_heard(0.03, quiet)
    hearing.add_heard(0.04, quiet)
    await silent


# -- a made call ------------------------------------------------------------------------------------------------------

BEGIN_S = 100.0
WAY_OUT_S = 0.06
STEADY = Scenario("steady", "interruption", "yield")
COUGH = Scenario("cough", "cough", "absent")
METRICS = {"generated_audio_ms": 2900.0, "delivered_audio_ms": 2880.0, "frames_wasted": 3}


def sound(length_s: float, spans_s: list[tuple[float, float]]) -> Pcm:
    """A tone where it says so, on a clock that begins at BEGIN_S."""
    made = np.zeros(round(length_s * RATE), np.int16)
    tone = np.round(9000 * np.sin(2 * np.pi * 500 * np.arange(len(made)) / RATE)).astype(np.int16)
    for begin_s, end_s in spans_s:
        part = slice(round((begin_s - BEGIN_S) * RATE), round((end_s - BEGIN_S) * RATE))
        made[part] = tone[part]
    return made


def call(ear_s: list[tuple[float, float]], mouth_s: tuple[float, float]) -> Tracks:
    return Tracks(BEGIN_S, sound(12.0, [mouth_s]), sound(12.0, ear_s))


def moment(name: str, at_s: float, **more: object) -> dict[str, object]:
    return {"name": name, "at_s": at_s, **more}


INTERRUPTED = [
    moment("speaking", 101.0),
    moment("suspicion", 103.10),
    moment("duck", 103.10),
    moment("vad", 103.15),
    moment("decision", 103.15),
    moment("last_frame", 103.08),
    moment("abort", 103.151),
    moment("released", 103.16, metrics=METRICS),
    moment("cleared", 103.16, played_ms=2000.0),
    moment("listening", 103.17),
    moment("speaking", 106.0),
]


def interruption(
    ear_s: list[tuple[float, float]], told: list[dict[str, object]] = INTERRUPTED, *, next_s: float = 106.1
) -> Made:
    """The caller speaks at 103.0 s into a reply that began at 101 s; the next one began at 106 s and is heard later."""
    attempt = Attempt(EventPlan(STEADY, 0.0, "voiced", 0), 1, 102.95, 104.1, 107.0, True)
    answers = [Answer(100.9, "the first reply"), Answer(105.8, "the second")]
    tracks = call([*ear_s, (next_s, 107.5)], (103.0, 104.0))
    [made] = records(tracks, told, [attempt], answers)
    return made


def test_every_stage_of_an_interruption_is_in_its_row() -> None:
    made = interruption([(101.06, 102.5), (102.6, 103.10 + WAY_OUT_S)])
    result = judge(made.record)
    row = result.row
    stages = {name: row.since_onset_ms(name) for name in ("suspicion_s", "vad_s", "decision_s", "abort_s", "cleared_s")}
    assert stages == pytest.approx(
        {"suspicion_s": 100, "vad_s": 150, "decision_s": 150, "abort_s": 151, "cleared_s": 160}, abs=1
    )
    assert row.since_onset_ms("duck_s") == row.since_onset_ms("silence_s") == pytest.approx(160, abs=1)
    assert (result.outcome, result.findings) == ("yielded", ())
    assert row.next_ttfa_ms == pytest.approx(300, abs=1)
    assert (row.generated_ms, row.frames_wasted, made.played_ms) == (2900.0, 3, 2000.0)
    figures = live_figures([made], [result], None)
    assert figures["quiet"].p50 == pytest.approx(160, abs=1)
    assert figures["ahead"].p50 == 900.0
    assert figures["pauses_that_met_a_gap"] == 0


def test_a_pause_in_a_gap_is_counted_from_the_pause_and_named() -> None:
    made = interruption([(101.06, 103.02)])
    assert made.in_a_gap
    assert quiet_ms(judge(made.record).row) == pytest.approx(100, abs=1)


def test_sound_of_the_reply_long_after_the_clear_is_stale_and_no_duck() -> None:
    result = judge(interruption([(101.06, 103.16), (104.5, 104.6)]).record)
    assert result.row.duck_s is None
    assert result.row.stale_ms == pytest.approx(100, abs=5)
    assert "stale_audio" in result.findings


def test_an_agent_that_goes_on_is_missed() -> None:
    told = [moment("speaking", 101.0), moment("vad", 103.15)]
    assert judge(interruption([(101.06, 106.0)], told).record).outcome == "missed"


@pytest.mark.parametrize(("ends_s", "next_s"), [(105.98, 106.1), (106.02, 106.25), (106.3, 106.45)])
def test_a_sound_that_is_under_way_when_the_next_reply_begins_is_still_the_old_ones(ends_s, next_s) -> None:
    result = judge(interruption([(101.06, 103.16), (105.7, 105.85), (105.9, ends_s)], next_s=next_s).record)
    assert result.row.stale_ms == pytest.approx(1000 * (0.15 + ends_s - 105.9), abs=5)
    assert result.row.next_audio_s == pytest.approx(next_s, abs=0.001)
    assert result.findings == ("stale_audio",)


def absent(told: list[dict[str, object]], ear_s: list[tuple[float, float]]) -> Made:
    attempt = Attempt(EventPlan(COUGH, 0.0, "cough", 0), 1, 102.95, 103.6, 106.6, False)
    [made] = records(call(ear_s, (103.0, 103.5)), told, [attempt], [Answer(100.9, "the reply")])
    return made


def test_a_cough_that_pauses_the_reply_is_a_duck_of_so_long() -> None:
    told = [moment("speaking", 101.0), moment("suspicion", 103.1), moment("duck", 103.1), moment("resumed", 103.5)]
    result = judge(absent(told, [(101.06, 103.16), (103.56, 107.0)]).record)
    assert (result.outcome, result.correct) == ("ducked", True)
    assert result.dip_ms == pytest.approx(400, abs=1)


PAUSED = [moment("speaking", 101.0), moment("suspicion", 103.1), moment("duck", 103.1), moment("duck", 103.13)]


@pytest.mark.parametrize(
    ("told", "heard_s"),
    [
        (PAUSED, []),
        ([*PAUSED, moment("resumed", 103.5)], []),
        ([*PAUSED, moment("listening", 106.2)], []),
        ([*PAUSED, moment("resumed", 103.5), moment("duck", 104.0)], [(103.56, 104.06)]),
        (PAUSED[:1], []),
    ],
    ids=["paused for good", "says it went on", "given up by its transport", "paused again", "says nothing at all"],
)
def test_a_reply_that_never_comes_back_after_a_cough_is_a_false_stop_by_name(told, heard_s) -> None:
    result = judge(absent(told, [(101.06, 103.16), *heard_s]).record)
    assert (result.outcome, result.correct, result.penalty_ms) == ("stopped", False, 2_000)
    assert {"false_stop", "never_restored"} <= set(result.findings)


@pytest.mark.parametrize("ended", ["listening", "thinking", "idle"])
def test_a_reply_that_ends_by_itself_after_a_cough_was_kept(ended) -> None:
    result = judge(absent([PAUSED[0], moment(ended, 103.3)], [(101.06, 103.3)]).record)
    assert (result.outcome, result.findings) == ("kept", ())


def test_all_pauses_of_one_cough_are_its_dip() -> None:
    told = [*PAUSED, moment("resumed", 103.5), moment("duck", 104.0), moment("resumed", 104.2)]
    result = judge(absent(told, [(101.06, 103.16), (103.56, 104.06), (104.26, 107.0)]).record)
    assert (result.outcome, result.dip_ms) == ("ducked", pytest.approx(600, abs=2))


def test_a_cough_that_ends_the_reply_is_a_false_stop() -> None:
    told = [*INTERRUPTED[:-1]]
    result = judge(absent(told, [(101.06, 103.16)]).record)
    assert result.outcome == "stopped"
    assert "false_stop" in result.findings


# -- what is made -----------------------------------------------------------------------------------------------------


def options(**changes: object) -> Namespace:
    return Namespace(**{"n": 4, "warm_up": 1, "people": None, "scenarios": None, "repeat": 1, **changes})


def test_a_call_has_warm_up_events_and_then_as_many_as_asked() -> None:
    plans, left_out = plans_of(options())
    assert len(plans) == 5
    assert plans[0].number == -1
    assert len({(item.clip, item.delay_ms) for item in plans[1:]}) == 4
    assert {item.clip for item in plans} <= set(REMARKS)
    assert left_out == []


def test_scenarios_that_need_the_agents_inside_are_left_out_by_name() -> None:
    plans, left_out = plans_of(options(n=0, warm_up=0, scenarios=Path(FOLDER)))
    assert {item.scenario.kind for item in plans} >= {"interruption", "backchannel", "cough", "noise", "side_talk"}
    assert {"abort in prefill", "while paused", "own echo", "double"} <= set(left_out)
    assert all(can_be_made(item) for item in plans)


def test_every_way_to_call_is_a_module_with_a_line() -> None:
    for module, says in WHERES.values():
        assert module.startswith("evals.live.")
        assert says


def test_both_ends_are_padded_to_one_length() -> None:
    mouth, ear = frames([5.0, 5.02], ms=20), frames([5.5])
    tracks = recording(mouth, spoken_s(mouth), ear, arrived_s(ear))
    assert len(tracks.mouth) == len(tracks.ear) == round(0.51 * RATE)
