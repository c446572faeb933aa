"""What the ear heard, on tracks made by hand: every answer is known beforehand."""

from dataclasses import replace

import numpy as np
import pytest

from agent_tts import WordTime
from evals.calls.events import EarFrame, EarTrack, EventRecord, Moments, ReplyTrace
from evals.metrics.barge_in import judge
from evals.metrics.ear import first_sound_s, held_from_s, held_ms, media_faults, spans_of, stand_stills
from evals.metrics.ledger import summarise
from evals.metrics.side_by_side import values_of

BEGIN_S = 100.0
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def ear(*runs: tuple[str | None, int, int] | tuple[str | None, int], rate: int = 24_000, loud: int = 9_000) -> EarTrack:
    """(reply, frames[, first media frame]) one after the other; a reply goes on where it was unless it is told."""
    track, at = EarTrack(rate, BEGIN_S, held_s=[]), {}
    for name, count, *start in runs:
        at[name] = start[0] if start else at.get(name, 0)
        for _ in range(count):
            pcm = np.full(track.frame_samples, loud if name else 0, np.int16)
            track.frames.append(EarFrame(name, at[name] * track.frame_samples, pcm))
            at[name] += 1
    return track


def event(track: EarTrack, *, onset_ms: float = 1_000, **more: object) -> EventRecord:
    """Somebody speaks over reply a; nothing was done about it unless it is told."""
    reply = more.pop("reply", ReplyTrace("one two three", "a"))
    values = {"key": "k", "scenario": "s", "kind": "interruption", "expect": "yield", "transport_ms": 60.0}
    values |= {"onset_s": BEGIN_S + onset_ms / 1000, "caller_end_s": BEGIN_S + onset_ms / 1000 + 0.7}
    return EventRecord(**(values | {"ear": track, "reply": reply, "moments": Moments()} | more))


def stopped(abort_ms: float, *, text: str = "one two three", **more: object) -> dict[str, object]:
    """A reply that was aborted, and the decision to do so, at one moment."""
    at_s = BEGIN_S + abort_ms / 1000
    reply = ReplyTrace(text, "a", abort_s=at_s, released_s=at_s, **more)
    return {"reply": reply, "moments": Moments(decision_s=at_s, cleared_s=at_s)}


# -- where a reply begins and ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_the_ears_clock_is_right_at_every_rate_also_after_a_minute(rate):
    track = ear((None, 3_000), ("a", 50), rate=rate)
    (span,) = spans_of(track, "a")
    assert span.start_ms - 1000 * BEGIN_S == pytest.approx(60_000, abs=1)
    assert span.length_ms == pytest.approx(1_000, abs=1)


def test_a_reply_that_ends_inside_a_frame_ends_there():
    track = ear(("a", 55), (None, 200))
    last = track.frames[54].pcm.copy()
    last[240:] = 0
    track.frames[54] = replace(track.frames[54], pcm=last)
    row = judge(event(track, **stopped(1_040))).row
    assert row.since_onset_ms("silence_s") == pytest.approx(90, abs=0.1)
    assert row.leaked_ms == pytest.approx({"onset_s": 90, "decision_s": 50, "abort_s": 50}, abs=0.1)


def test_replies_that_take_turns_are_told_apart():
    track = ear(("a", 40), ("b", 20), ("a", 5), ("b", 20))
    found = [moment - 1000 * BEGIN_S for span in spans_of(track, "a") for moment in (span.start_ms, span.end_ms)]
    assert found == pytest.approx([0, 800, 1_200, 1_300])
    assert first_sound_s(track, ReplyTrace("", "b")) == pytest.approx(BEGIN_S + 0.8)
    assert first_sound_s(track, ReplyTrace("", "c")) is None
    assert first_sound_s(track, None) is None


def test_a_stop_while_the_reply_was_silent_by_itself_takes_no_time():
    result = judge(event(ear(("a", 45), (None, 200)), **stopped(1_020)))
    assert (result.outcome, result.penalty_ms, result.row.silence_s) == ("yielded", 0, None)


def test_a_recording_of_nothing_is_no_error():
    result = judge(event(ear()))
    assert (result.outcome, result.findings, result.penalty_ms) == ("yielded", (), 0)


# -- did it stop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "outcome"), [(149, "yielded"), (150, "yielded"), (151, "missed")])
def test_a_reply_that_is_audible_after_2000_ms_was_not_interrupted(frames, outcome):
    assert judge(event(ear(("a", frames), (None, 50)))).outcome == outcome


@pytest.mark.parametrize(("silent", "outcome"), [(0, "missed"), (1, "yielded")])
def test_a_reply_that_still_sounds_when_the_recording_ends_has_not_stopped(silent, outcome):
    assert judge(event(ear(("a", 80), (None, silent)))).outcome == outcome


@pytest.mark.parametrize(("gone", "stale_ms"), [(4, 0), (10, 200)])
def test_what_comes_after_a_silence_is_stale_and_what_comes_before_it_is_leaked(gone, stale_ms):
    result = judge(event(ear(("a", 52), (None, gone), ("a", 10), (None, 100)), **stopped(1_020)))
    assert result.row.stale_ms == pytest.approx(stale_ms)
    assert ("stale_audio" in result.findings) == bool(stale_ms)


@pytest.mark.parametrize(("begins", "outcome"), [(149, "missed"), (160, "missed"), (170, "yielded")])
def test_a_reply_that_sounds_again_at_the_end_of_the_window_goes_on(begins, outcome):
    track = ear(("a", 52), (None, begins - 52), ("a", 3), (None, 50))
    result = judge(event(track, **stopped(1_020)))
    assert result.outcome == outcome
    assert "stale_audio" in result.findings


@pytest.mark.parametrize(("late_ms", "late"), [(259, False), (261, True)])
def test_late_is_more_than_200_ms_and_what_the_transport_holds(late_ms, late):
    track = ear(("a", 64), (None, 100))
    assert ("late_stop" in judge(event(track, **stopped(1_280 - late_ms))).findings) is late


def test_late_by_nothing_is_not_late():
    made = event(ear(("a", 75), (None, 100)), **(stopped(1_250) | {"transport_ms": 50.0}))
    assert 1000 * (judge(made).row.silence_s - made.moments.decision_s) == 250
    assert judge(made).findings == ()


@pytest.mark.parametrize(("asked_ms", "late"), [(1_000, False), (999, True)])
def test_a_reply_is_late_more_than_a_second_after_it_was_asked_for(asked_ms, late):
    following = ReplyTrace("", "b", asked_s=BEGIN_S + asked_ms / 1000, first_text_s=BEGIN_S + 1.9)
    result = judge(event(ear(("a", 50), (None, 50), ("b", 10)), next_reply=following, **stopped(1_000)))
    assert result.row.next_ttfa_ms == pytest.approx(100)
    assert result.response_ms == pytest.approx(300)
    assert ("late_reply" in result.findings) is late


def test_words_that_began_after_the_decision_are_leaked_and_those_cut_in_two_were_not_heard():
    words = tuple(WordTime(text, 0, 0, 500 * at, 500 * at + 490) for at, text in enumerate(("one", "two", "three")))
    result = judge(event(ear(("a", 54), (None, 200)), onset_ms=900, **stopped(980, words=words, claimed="one two")))
    assert (result.leaked_words, result.heard_text_error, result.findings) == (1, 0, ())
    result = judge(event(ear(("a", 54), (None, 200)), **stopped(1_010, words=words, claimed="one two three")))
    assert (result.leaked_words, result.heard_text_error, result.findings) == (0, 1, ("heard_text_wrong",))


@pytest.mark.parametrize(("words", "claimed"), [((), "one"), ((WordTime("one", 0, 3, 0, 490),), None)])
def test_heard_text_is_unknown_without_word_times_and_without_a_claim(words, claimed):
    result = judge(event(ear(("a", 54), (None, 200)), **stopped(1_010, words=words, claimed=claimed)))
    assert (result.heard_text_error, result.findings) == (None, ())


@pytest.mark.parametrize(("expect", "outcome"), [("yield", "yielded"), ("absent", "stopped")])
def test_a_stop_in_the_same_moment_as_the_onset_is_not_before_it(expect, outcome):
    assert judge(event(ear(("a", 50), (None, 150)), expect=expect, **stopped(1_000))).outcome == outcome
    result = judge(event(ear(("a", 50), (None, 150)), expect=expect, **stopped(999)))
    assert (result.outcome, result.penalty_ms, result.row.released_s) == ("stopped", 2_000, None)


# -- what it lost, repeated, held back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "lost_ms", "repeated_ms"),
    [
        ([("a", 50)], 0, 0),
        ([("a", 50, 3)], 60, 0),
        ([("a", 50), ("a", 50, 53)], 60, 0),
        ([("a", 50), (None, 9), ("a", 50)], 0, 0),
        ([("a", 50), ("a", 50, 40)], 0, 200),
        ([("a", 50), ("a", 5, 40), ("a", 50, 50)], 0, 100),
        ([("a", 50), ("a", 50, 40), ("a", 5, 0)], 0, 300),
        ([("a", 10), ("b", 10, 7), ("a", 10)], 0, 0),
    ],
)
def test_lost_and_repeated_media_time_is_counted_once(runs, lost_ms, repeated_ms):
    assert media_faults(ear(*runs), ReplyTrace("", "a")) == (lost_ms, repeated_ms)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"delivered_ms": 1_000}, (0, 0)),
        ({"delivered_ms": 1_020}, (0, 0)),
        ({"delivered_ms": 1_240}, (240, 0)),
        ({"delivered_ms": 980}, (0, 0)),
        ({"delivered_ms": 500}, (0, 500)),
        ({}, (0, 0)),
    ],
)
def test_what_a_whole_reply_lacks_or_has_too_much_is_known_where_the_peer_says_how_much_it_gave(told, found):
    assert media_faults(ear(("a", 50)), ReplyTrace("", "a", completed=True, facts=told)) == found


def test_an_aborted_reply_lacks_nothing_and_a_line_is_not_asked():
    told = {"delivered_ms": 5_000}
    assert media_faults(ear(("a", 50)), ReplyTrace("", "a", facts=told)) == (0, 0)
    line = replace(ear(("a", 50)), held_s=None)
    assert media_faults(line, ReplyTrace("", "a", completed=True, facts=told)) == (0, 0)


def test_frames_in_a_row_are_one_stand_still_and_its_length_is_theirs():
    stood = stand_stills([1.0, 1.02, 1.04, 1.1, 2.0])
    assert [(round(s.start_ms), round(s.length_ms)) for s in stood] == [(1_000, 60), (1_100, 20), (2_000, 20)]
    assert len(stand_stills([1.0, 1.02, 2.0], 1.0, 2.0)) == 1
    assert len(stand_stills([1.0, 1.04])) == 2, "a frame that sounded lies between them"
    assert stand_stills([]) == []


def test_underruns_are_those_of_the_reply_that_was_spoken_over():
    track = ear(
        ("z", 10), (None, 1), ("z", 10), ("a", 20), (None, 2), ("a", 10), (None, 50), ("b", 5), (None, 1), ("b", 5)
    )
    track.underruns_s += [track.at_s(index) for index in (10, 41, 42, 108)]
    result = judge(event(track, next_reply=ReplyTrace("", "b", first_text_s=BEGIN_S), **stopped(1_020)))
    assert (result.underruns, result.next_underruns) == (1, 1)
    assert {"underrun", "next_reply_underrun"} <= set(result.findings)


@pytest.mark.parametrize(("completed", "underruns"), [(True, 1), (False, 2)])
def test_an_end_that_is_told_late_is_no_underrun_of_a_reply_that_was_whole(completed, underruns):
    track = ear(("a", 10), (None, 1), ("a", 10), (None, 100))
    track.underruns_s += [track.at_s(index) for index in (10, 21, 22)]
    result = judge(event(track, onset_ms=5_000, reply=ReplyTrace("", "a", completed=completed)))
    assert result.underruns == underruns


def test_a_dip_is_as_long_as_the_ear_was_without_the_reply():
    track = ear(("a", 55), (None, 9), ("a", 120))
    track.held_s += [track.at_s(index) for index in range(55, 64)]
    noted = Moments(dip_s=BEGIN_S + 1.05, restored_s=BEGIN_S + 1.07)
    result = judge(event(track, expect="absent", moments=noted))
    assert (result.outcome, result.dip_ms, result.penalty_ms) == ("ducked", 180, 180)
    assert result.row.since_onset_ms("duck_s") == pytest.approx(100)
    assert held_ms(track, track.at_s(60)) == 80
    assert held_from_s(track, track.at_s(64)) is None
    line = judge(event(replace(track, held_s=None), expect="absent", moments=noted))
    assert (line.outcome, line.dip_ms) == ("ducked", pytest.approx(20))
    assert line.row.since_onset_ms("duck_s") == pytest.approx(50)


@pytest.mark.parametrize(("back", "outcome"), [(0, "stopped"), (1, "ducked")])
def test_a_reply_that_is_held_back_when_the_recording_ends_never_came_back(back, outcome):
    track = ear(("a", 55), (None, 150), ("a", back))
    track.held_s += [track.at_s(index) for index in range(55, 205)]
    result = judge(event(track, expect="absent", moments=Moments(dip_s=BEGIN_S + 1.1)))
    assert (result.outcome, result.penalty_ms) == (outcome, 2_000)
    assert ("never_restored" in result.findings) == (not back)


@pytest.mark.parametrize("which", ["reply", "next_reply", None])
def test_a_reply_that_failed_is_a_finding_whichever_of_the_two_it_was(which):
    traces = {"reply": ReplyTrace("", "a"), "next_reply": ReplyTrace("", "b")}
    if which is not None:
        traces[which].error = "ServerGoneError"
    result = judge(event(ear(("a", 40), (None, 100), ("b", 20)), **traces))
    assert ("failed_reply" in result.findings) == (which is not None)
    assert "no_next_reply" not in result.findings


def test_a_reply_that_never_comes_is_a_finding_and_none_that_was_not_asked_for_is_not():
    nothing = ear(("a", 40), (None, 100))
    assert judge(event(nothing, next_reply=ReplyTrace("", "b"))).findings == ("no_next_reply",)
    assert judge(event(nothing)).findings == ()


@pytest.mark.parametrize(("frames", "silent"), [(49, False), (50, True)])
def test_a_reply_that_reaches_the_ear_and_is_never_audible_says_nothing(frames, silent):
    result = judge(event(ear(("a", frames), (None, 150), loud=300), expect="absent"))
    assert ("silent_reply" in result.findings) is silent


@pytest.mark.parametrize(
    ("abort_s", "released_s", "release_ms"),
    [(101.0, 101.05, 50), (101.0, None, None), (None, 101.0, None), (101.0, 100.9, 0)],
)
def test_release_is_from_the_abort_on_and_unknown_where_one_of_them_was_not(abort_s, released_s, release_ms):
    made = event(ear(("a", 50), (None, 100)), onset_ms=800)
    result = judge(made)
    made.reply.abort_s, made.reply.released_s = abort_s, released_s
    found = values_of(made, result, None)
    assert found.get("release_ms") == pytest.approx(release_ms) if release_ms is not None else "release_ms" not in found


# -- many events ------------------------------------------------------------------------------------------------------


def test_shares_penalty_and_findings_of_several_events_are_added_up():
    quick = judge(event(ear(("a", 54), (None, 100)), **stopped(1_020)))
    missed = judge(event(ear(("a", 200))))
    kept = judge(event(ear(("a", 200)), expect="absent", kind="noise"))
    false = judge(event(ear(("a", 54), (None, 100)), expect="absent", kind="noise", **stopped(1_020)))
    found = summarise([quick, missed, kept, kept, false])
    assert (found.n, found.absent, found.yield_rate, found.selectivity) == (5, 3, 1 / 2, 2 / 3)
    assert found.penalty_ms.value == pytest.approx((80 + 2_000 + 0 + 0 + 2_000) / 5)
    assert found.findings == {"missed_interruption": 1, "false_stop": 1}
    assert {kind.kind: (kind.n, kind.correct) for kind in found.kinds} == {"interruption": (2, 1), "noise": (3, 2)}
    assert (found.after_abort_ms.n, found.after_abort_ms.p50) == (1, pytest.approx(60))
    nothing = summarise([])
    assert (nothing.n, nothing.yield_rate, nothing.selectivity, nothing.penalty_ms) == (0, None, None, None)
