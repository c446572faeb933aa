"""Agents and voices that are broken as they are in the field: each is caught by name. On a virtual clock: exact."""

import pytest

from evals.barge_in import gates_of
from evals.calls import broken
from evals.calls.reactions import NeverReaction
from evals.metrics.ledger import summarise
from evals.peers.tone import WORD_MS
from tests.talk_over import backchannel, event

SHORT = {"kind": "noise", "clip": "pink", "expect": "absent", "reaction": NeverReaction, "delay_ms": 0}


def gates(*results, **how):
    """Names of the gates that these events fail."""
    return {gate.name for gate in gates_of(summarise(results), exact=True, **how) if not gate.passed}


# -- after an interruption --------------------------------------------------------------------------------------------


def test_an_agent_that_claims_one_word_too_much_is_caught():
    result = event(broken.ClaimsOneWordMore, delay_ms=5 * WORD_MS)
    assert (result.findings, result.heard_text_error) == (("heard_text_wrong",), 1)


def test_the_old_replys_tail_after_the_new_one_has_begun_is_stale():
    result = event(broken.SpeaksOldTail)
    assert {"stale_frames", "stale_audio"} <= set(result.findings)
    assert result.row.stale_frames == 10
    assert 150 <= result.row.stale_ms <= 200, "ten frames, of which at most 40 ms are between two words"
    assert result.outcome == "yielded"


def test_an_agent_that_stops_and_goes_on_with_the_old_reply_has_not_yielded():
    result = event(broken.ComesBack)
    assert {"missed_interruption", "stale_audio"} <= set(result.findings)
    assert (result.correct, result.penalty_ms) == (False, 2_000)


def test_an_agent_that_answers_a_second_late_is_caught_and_its_response_says_so():
    sound, late = event(), event(broken.AnswersLate)
    assert late.findings == ("late_reply",)
    assert late.response_ms - sound.response_ms == pytest.approx(1_000, abs=21)
    assert late.row.next_ttfa_ms == pytest.approx(sound.row.next_ttfa_ms, abs=21), "that clock starts at the first text"
    assert gates(late) == {"late reply"}
    assert gates(sound) == set()


def test_an_agent_that_stops_before_anyone_has_spoken_is_a_false_stop_and_no_yield():
    result = event(broken.StopsByItself, delay_ms=1_500)
    assert (result.outcome, result.correct, result.penalty_ms) == ("stopped", False, 2_000)
    assert "false_stop" in result.findings
    assert result.row.abort_s is None, "what was before the onset is no stage of this event"


def test_a_voice_that_never_lets_go_is_caught_twice():
    result = event(peer=broken.HoardingPeer())
    assert result.findings == ("not_released",)
    assert gates(result, leaked_pages=broken.HoardingPeer().pages_leaked()) == {"not released", "pages leaked"}


# -- after a backchannel ----------------------------------------------------------------------------------------------


def test_a_sound_agent_has_no_finding_and_no_gate_fails():
    assert (backchannel().findings, gates(backchannel())) == ((), set())


def test_audio_that_is_repeated_after_a_pause_is_counted_once_for_each_time_it_was_repeated():
    result = backchannel(broken.RepeatsOnResume)
    assert result.findings == ("repeated_audio",)
    assert (result.repeated_ms, result.lost_ms) == (200, 0)


@pytest.mark.parametrize("agent", [broken.NeverRestores, broken.DipsAgain])
@pytest.mark.parametrize("dip", ["pause", "duck"])
def test_an_agent_that_ducks_and_never_comes_back_has_ended_the_reply(agent, dip):
    result = backchannel(lambda *arguments: agent(*arguments, dip=dip))
    assert result.findings == ("false_stop", "never_restored")
    assert (result.outcome, result.penalty_ms) == ("stopped", 2_000)
    assert result.dip_ms > 2_000, "by the ear: the agent's own notes say 180 ms"
    assert {"never restored"} <= gates(result)


def test_an_agent_that_answers_the_backchannel_is_caught():
    result = backchannel(broken.AnswersBackchannel)
    assert result.findings == ("unasked_reply",)
    assert gates(result) == {"unasked reply"}


# -- while it speaks --------------------------------------------------------------------------------------------------


def test_a_voice_that_returns_silence_is_caught_though_nothing_of_it_can_leak():
    result = event(peer=broken.silent_peer(), delay_ms=1_500)
    assert result.findings == ("silent_reply", "no_next_reply")
    assert {"silent reply", "no next reply"} <= gates(result)


def test_silence_is_caught_where_nobody_interrupts_too():
    result = event(peer=broken.silent_peer(), **SHORT)
    assert result.findings == ("silent_reply",)


def test_a_last_word_that_is_cut_off_is_lost_though_nothing_comes_after_it():
    assert event(reply_words=5, **SHORT).findings == ()
    result = event(broken.TruncatesLastWord, reply_words=5, **SHORT)
    assert {"lost_word", "lost_audio", "heard_text_wrong"} <= set(result.findings)
    assert (result.lost_words, result.lost_ms, result.heard_text_error) == (1, 240, 1)


def test_chunks_that_are_sent_twice_are_repeated_audio_whoever_sent_them():
    for result in (event(broken.SendsTwice), event(peer=broken.DoublingPeer())):
        assert "repeated_audio" in result.findings
        assert result.repeated_ms >= 400


def test_an_agent_whose_clock_is_one_percent_slow_underruns():
    result = event(broken.RunsSlow, delay_ms=5_000)
    assert "underrun" in result.findings
    assert 2 <= result.underruns <= 3, "20 ms in every 2 s"


def test_the_reply_after_one_that_had_not_begun_is_spoken_and_watched():
    assert event(anchor="reply_start", delay_ms=0).row.next_ttfa_ms is not None


def test_a_stand_still_of_the_next_reply_is_not_this_ones():
    result = event(peer=broken.underrunning_peer(), anchor="reply_start", delay_ms=0)
    assert result.underruns == 0
    assert "next_reply_underrun" in result.findings
