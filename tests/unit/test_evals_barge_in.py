"""Broken agents are caught by what is broken in them; a sound one has no finding. On a virtual clock: exact."""

import asyncio
import time

import numpy as np
import pytest

from evals import virtual_time
from evals.barge_in import run_all
from evals.calls import broken
from evals.calls.call import CallSetting, run_event
from evals.calls.events import EarFrame
from evals.calls.player import Player
from evals.calls.reactions import NeverReaction
from evals.calls.scenario import EventPlan, Scenario
from evals.metrics.barge_in import judge
from evals.metrics.ledger import summarise
from evals.peers.tone import WORD_MS, TonePeer
from tests.talk_over import DipsFirst, event

# -- a sound agent ----------------------------------------------------------------------------------------------------


def test_an_agent_that_stops_has_no_finding_and_a_complete_row():
    result = event()
    assert result.findings == ()
    assert result.correct
    row = result.row
    # 20 ms frames: the third loud one decides, and what is sounding then plays to the end of its frame.
    assert row.since_onset_ms("decision_s") == pytest.approx(60, abs=1)
    assert row.since_onset_ms("abort_s") == pytest.approx(60, abs=1)
    assert 60 <= row.since_onset_ms("silence_s") <= 101
    assert row.stale_frames == 0
    assert row.next_ttfa_ms is not None
    assert result.penalty_ms == row.since_onset_ms("silence_s")


def test_leaked_audio_is_counted_from_each_stage():
    row = event().row
    assert row.leaked_ms["onset_s"] == pytest.approx(row.since_onset_ms("silence_s"), abs=1)
    assert row.leaked_ms["abort_s"] == pytest.approx(row.leaked_ms["decision_s"], abs=1)
    assert row.leaked_ms["decision_s"] < row.leaked_ms["onset_s"]


def test_what_was_heard_is_what_the_agent_says_was_heard():
    result = event(delay_ms=5 * WORD_MS)
    assert result.heard_text_error == 0
    assert result.lost_words == 0


@pytest.mark.parametrize("anchor", ["reply_start", "first_token", "first_frame", "steady", "last_frame", "paused"])
@pytest.mark.parametrize("forced", [True, False])
def test_a_sound_agent_stops_at_every_anchor(anchor, forced):
    result = event(anchor=anchor, delay_ms=0, forced=forced, reply_words=6 if anchor == "last_frame" else 40)
    assert result.findings == ()
    assert result.outcome == "yielded"


def test_a_double_interruption_gives_two_rows():
    plan = EventPlan(Scenario("double", "interruption", "yield", times=2, clip_ms=500.0), 600, "voiced", 0)
    first, second = (judge(record) for record in virtual_time.run(run_event(TonePeer(), plan, CallSetting(), 1)))
    assert (first.findings, second.findings) == ((), ())
    assert first.row.utterance_id != second.row.utterance_id


def test_the_same_event_gives_the_same_figures_twice():
    first, second = event(), event()
    assert first.row.since_onset_ms("silence_s") == second.row.since_onset_ms("silence_s")
    assert first.row.leaked_ms == second.row.leaked_ms


# -- broken ones ------------------------------------------------------------------------------------------------------


def test_an_agent_that_ignores_abort_is_caught_as_missed_interruption():
    result = event(broken.IgnoresAbort)
    assert result.findings == ("missed_interruption",)
    assert not result.correct
    assert result.penalty_ms == 2_000


def test_an_agent_that_aborts_300_ms_late_is_caught_as_late_stop():
    result = event(broken.AbortsLate)
    assert result.findings == ("late_stop",)
    assert result.row.since_onset_ms("abort_s") == pytest.approx(60 + 300, abs=1)
    assert result.leaked_words >= 1


def test_an_agent_that_leaks_stale_frames_is_caught_by_count_and_at_the_ear():
    result = event(broken.LeaksStaleFrames)
    assert {"stale_frames", "stale_audio"} <= set(result.findings)
    assert "missed_interruption" not in result.findings
    assert result.row.stale_frames == 10
    assert result.row.stale_ms > 0


def test_an_agent_that_drops_a_word_is_caught_as_lost_word():
    result = event(broken.DropsWord, delay_ms=6 * WORD_MS)
    assert result.findings == ("lost_word",)
    assert result.lost_words == 1


def test_a_tts_that_is_too_slow_is_caught_as_underrun():
    result = event(peer=broken.underrunning_peer())
    assert "underrun" in result.findings
    assert result.underruns > 5


def test_an_agent_that_claims_too_much_was_heard_is_caught():
    result = event(broken.ClaimsTooMuch)
    assert result.findings == ("heard_text_wrong",)
    assert result.heard_text_error > 20


def test_an_agent_that_never_stops_is_missed_before_the_first_token_too():
    assert event(reaction=NeverReaction, anchor="reply_start", delay_ms=0).outcome == "missed"


# -- what should not stop it ------------------------------------------------------------------------------------------


def test_a_false_stop_is_a_finding_of_its_own():
    result = event(kind="backchannel", expect="absent", clip_ms=300.0)
    assert result.findings == ("false_stop",)
    assert result.penalty_ms == 2_000


def test_an_agent_that_goes_on_is_right_when_nothing_was_meant():
    result = event(reaction=NeverReaction, kind="noise", clip="pink", expect="absent")
    assert (result.outcome, result.findings, result.penalty_ms) == ("kept", (), 0)


def test_a_dip_that_was_restored_costs_its_length_and_no_sample():
    result = event(reaction=lambda: DipsFirst(commit=False), kind="backchannel", expect="absent")
    assert result.outcome == "ducked"
    assert result.findings == ()
    assert (result.lost_ms, result.repeated_ms) == (0, 0)
    # 180 ms lie between the agent's calls; at the ear whole frames are missing.
    assert result.dip_ms == result.penalty_ms == pytest.approx(180, abs=20)


def test_a_pause_that_loses_audio_is_caught():
    result = event(
        broken.LosesAudioOnResume, reaction=lambda: DipsFirst(commit=False), kind="backchannel", expect="absent"
    )
    assert "lost_audio" in result.findings
    assert result.lost_ms > 0


def test_a_suspicion_that_becomes_a_decision_is_silent_from_the_dip_on():
    result = event(reaction=lambda: DipsFirst(commit=True))
    assert result.findings == ()
    assert result.row.since_onset_ms("silence_s") < result.row.since_onset_ms("decision_s")
    assert result.row.leaked_ms["decision_s"] == 0


async def test_what_a_player_was_too_late_for_is_silence_and_nothing_is_lost():
    """A stalled event loop is the driver's fault: it is counted, and a frame never sounds before it was there."""
    player = Player(24_000)
    loop = asyncio.get_running_loop()
    frame = EarFrame("r", 0, np.full(player.frame_samples, 1000, np.int16))
    time.sleep(0.2)  # noqa: ASYNC251 - the stall is the subject
    put_s = loop.time()
    await player.put(frame)
    await player.drained()
    await player.close()
    (index,) = [index for index, heard in enumerate(player.ear.frames) if heard.reply_id == "r"]
    assert player.ear.at_s(index) >= put_s
    assert player.ear.late_frames >= 9


@pytest.mark.parametrize(("peer", "stood"), [(TonePeer, False), (broken.underrunning_peer, True)])
def test_what_neighbours_had_to_stand_still_for_after_an_abort_is_counted_and_its_longest_gap(peer, stood):
    scenario = Scenario("steady", "interruption", "yield", clip_ms=500.0)
    plans = [EventPlan(scenario, delay_ms, "voiced", 0) for delay_ms in (400, 700, 1_000)]
    events, _ = virtual_time.run(run_all(peer(), plans, CallSetting(), streams=3))
    results = [judge(record) for record in events]
    assert any(result.neighbour_underruns for result in results) is stood
    assert max(result.neighbour_gap_ms for result in results) == (20 if stood else 0)
    assert summarise(results).neighbour_gap_ms.n == 3
