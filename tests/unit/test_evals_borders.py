"""Figures at their borders: the first sample, the last one, exactly 20 ms, one decibel, one value, no value, NaN."""

import math

import numpy as np
import pytest

from evals.calls.call import AnchorError
from evals.calls.scenario import Scenario, plan
from evals.load import ramp
from evals.metrics.audio import audible_spans, centred, onset_ms, silence_ms
from evals.metrics.latency import audio_seconds_per_second, pairs_of, summarise
from evals.metrics.recording import analyse
from evals.metrics.reply import Defect, defect
from evals.metrics.stats import bootstrap, bootstrap_ratio, nearest_rank, paired, spread
from evals.metrics.stream import Arrival, ReplyRecord, Stall, continuity, latency, stalls
from evals.metrics.text import lost_words
from evals.outcome import Gate
from tests.talk_over import record

RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)


def tone(rate: int, ms: float, peak: float = 0.3) -> np.ndarray:
    """A tone that begins and ends at its peak, so that its first and last sample are audible."""
    return peak * np.cos(2 * np.pi * 500 * np.arange(round(ms * rate / 1000)) / rate)


def track(rate: int, *parts: tuple[float, float]) -> np.ndarray:
    """(peak, ms) one after the other, as int16."""
    return np.round(32_767 * np.concatenate([tone(rate, ms, peak) for peak, ms in parts])).astype(np.int16)


# -- audible ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("before_ms", [0, 3.3, 20])
def test_onset_and_end_are_right_at_every_rate_from_the_first_sample_to_the_last(rate, before_ms):
    pcm = track(rate, (0, before_ms), (0.3, 100))
    assert onset_ms(pcm, rate) == pytest.approx(before_ms, abs=1)
    assert silence_ms(pcm, rate) == pytest.approx(before_ms + 100, abs=1)
    assert silence_ms(pcm, rate) <= 1000 * len(pcm) / rate


@pytest.mark.parametrize("rate", RATES)
def test_a_gap_of_exactly_20_ms_ends_a_run_and_a_shorter_one_does_not(rate):
    def runs(gap: int) -> int:
        loud = np.full(rate // 50, 5_000, np.int16)
        return len(audible_spans(np.concatenate([loud, np.zeros(gap, np.int16), loud]), rate))

    assert (runs(rate // 50 - 1), runs(rate // 50)) == (1, 2)


@pytest.mark.parametrize("rate", RATES)
def test_a_run_of_exactly_5_ms_is_sound_and_a_shorter_one_is_a_click(rate):
    whole = np.full(math.ceil(rate / 200), 5_000, np.int16)
    assert len(audible_spans(whole, rate)) == 1
    assert audible_spans(whole[: math.ceil(rate / 200) - 1], rate) == []


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("decibel", "heard"), [(-41, False), (-39, True)])
def test_one_decibel_decides(rate, decibel, heard):
    pcm = track(rate, (0, 50), (10 ** (decibel / 20), 200), (0, 50))
    assert (onset_ms(pcm, rate) is not None) == heard
    if heard:
        assert onset_ms(pcm, rate) == pytest.approx(50, abs=1)


def test_a_click_near_a_run_belongs_to_it_and_one_that_is_not_does_not():
    assert onset_ms(track(24_000, (0, 50), (0.3, 1), (0, 15), (0.3, 100)), 24_000) == pytest.approx(50, abs=1)
    assert onset_ms(track(24_000, (0, 50), (0.3, 1), (0, 25), (0.3, 100)), 24_000) == pytest.approx(76, abs=1)


def test_an_offset_is_taken_out_and_nothing_else():
    pcm = track(16_000, (0, 500), (0.3, 500), (0, 500))
    assert np.abs(centred(pcm + np.int16(900)) - centred(pcm)).max() < 1e-4
    assert len(centred(pcm[:0])) == 0


# -- one reply --------------------------------------------------------------------------------------------------------


def reply(arrivals: list[tuple[float, int]], pcm: np.ndarray, rate: int = 24_000, **more: object) -> ReplyRecord:
    came = tuple(Arrival(10 + at_ms / 1000, samples) for at_ms, samples in arrivals)
    values: dict = {"text": "Hello there.", "sample_rate": rate, "planned_s": 10.0, "started_s": 10.0}
    values |= {"first_text_s": 10.0, "last_text_s": 10.0, "arrivals": came, "pcm": pcm}
    return ReplyRecord(**(values | more))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [441, 512, 1_000])
def test_a_stall_right_before_the_first_audible_sample_delays_it_whatever_the_rounding(rate, samples):
    quiet, loud = np.zeros(7 * samples, np.int16), track(rate, (0.3, 300))
    on_time = [(0.0, samples)] * 7
    record = reply([*on_time, (1000 * 7 * samples / rate + 70, len(loud))], np.concatenate([quiet, loud]), rate)
    assert stalls(record) == [Stall(1000 * 7 * samples / rate, pytest.approx(70))]
    assert latency(record).ttfa_audible_ms == pytest.approx(1000 * 7 * samples / rate + 70, abs=1)


@pytest.mark.parametrize("wrong", [math.nan, 9.0])
def test_a_clock_that_goes_backwards_or_is_none_is_refused(wrong):
    for name in ("started_s", "first_text_s", "last_text_s"):
        with pytest.raises(ValueError, match="out of order"):
            reply([(5, 480)], np.zeros(480, np.int16), **{name: wrong if name != "started_s" else 2 * wrong})
    with pytest.raises(ValueError, match="out of order"):
        reply([(5, 480), (math.nan, 480)], np.zeros(960, np.int16))


def test_a_longest_stall_of_exactly_the_limit_is_continuous():
    assert [continuity([50.0], limit) for limit in (49, 50)] == [0.0, 1.0]


def test_silence_behind_a_reply_does_not_make_it_whole():
    torn = track(24_000, (0.3, 200), (0, 2_000))
    assert defect(reply([(5, len(torn))], torn)) is Defect.TRUNCATED
    late = track(24_000, (0, 1_000), (0.3, 200))
    assert defect(reply([(5, len(late))], late)) is Defect.TRUNCATED
    whole = track(24_000, (0, 500), (0.3, 400), (0, 500))
    assert defect(reply([(5, len(whole))], whole)) is None


def test_a_constant_is_as_empty_as_a_zero():
    constant = np.full(24_000, 3_000, np.int16)
    assert defect(reply([(5, len(constant))], constant)) is Defect.EMPTY


@pytest.mark.parametrize(
    ("told_ms", "found"), [(600, None), (619, None), (300, Defect.MISCOUNTED), (700, Defect.MISCOUNTED)]
)
def test_what_arrives_is_what_the_peer_says_it_handed_over(told_ms, found):
    pcm = track(24_000, (0.3, 600))
    assert defect(reply([(5, len(pcm))], pcm, engine={"delivered_ms": told_ms})) is found


def test_replies_that_say_nothing_add_no_throughput_and_no_continuity():
    loud, quiet = track(24_000, (0.3, 1_000)), np.zeros(240_000, np.int16)
    torn = reply([(0, 4_800), (900, len(loud) - 4_800)], loud)
    good, empty = reply([(1_000, len(loud))], loud), reply([(2_000, len(quiet))], quiet)
    assert audio_seconds_per_second([good]) == pytest.approx(1.0)
    assert audio_seconds_per_second([good, empty]) == pytest.approx(0.5), "the time that it took counts"
    assert audio_seconds_per_second([empty]) == 0
    assert audio_seconds_per_second([]) is None
    found = summarise("load", [good, empty])
    assert (found.n, found.bad, found.continuity[50]) == (1, 1, 1.0)
    assert summarise("load", [empty]).continuity[50] is None
    assert [summarise("load", records).show_continuity(50) for records in ([good], [good, torn], [empty])] == [
        "100 %",
        "50 %",
        "-",
    ]


def test_a_pair_is_found_by_load_seed_number_and_text_and_a_bad_reply_has_none():
    loud = track(24_000, (0.3, 1_000))
    good = reply([(50, len(loud))], loud, load="a", seed=2)
    keys = list(pairs_of([good, reply([], loud[:0], load="a", seed=2), good]))
    assert keys == ["a | 2 | 1 | Hello there.", "a | 2 | 3 | Hello there."]


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 19, 20, 100, 101, 1_000])
def test_nearest_rank_is_the_smallest_value_that_enough_do_not_exceed(count):
    values = [float(number) for number in range(1, count + 1)]
    for share in (0.5, 0.95, 0.99):
        found = nearest_rank(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * count - 1e-9
        assert sum(value <= found - 1 for value in values) < share * count


def test_p95_of_fewer_than_20_is_the_worst():
    assert [spread([float(value) for value in range(count)]).p95 for count in (1, 19, 20)] == [0, 18, 18]


def test_one_value_and_none():
    assert spread([7.0]) == spread([None, 7.0])
    assert (spread([]).n, spread([]).worst, spread([None]).p50) == (0, None, None)
    assert bootstrap([7.0]).low == bootstrap([7.0]).high == 7.0
    assert paired([], []) is None


@pytest.mark.parametrize("take", [lambda v: nearest_rank(v, 0.5), spread, bootstrap, lambda v: paired(v, v)])
def test_a_value_that_was_not_measured_is_refused_and_not_sorted_in(take):
    with pytest.raises(ValueError, match="NaN"):
        take([3.0, math.nan, 1.0])


def test_a_rate_with_nan_is_refused_too():
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_ratio([math.nan], [1.0])


def test_a_verdict_needs_more_than_a_few_pairs_that_agree():
    verdicts = [paired([0.0] * count, [1.0] * count) for count in (1, 5, 6)]
    assert [verdict.better for verdict in verdicts] == [None, None, "a"]
    same = paired([1.0, 5.0, 9.0] * 4, [1.0, 5.0, 9.0] * 4)
    assert (same.better, same.change.value, same.change.low, same.change.high) == (None, 0, 0, 0)


def test_a_verdict_is_the_same_from_both_sides():
    before, after = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3.0, 3.0, 5.0, 7.0, 7.0, 9.0]
    there, back = paired(before, after), paired(after, before)
    assert there.change.value == -back.change.value
    assert (there.better, back.better) == ("a", "b")


@pytest.mark.parametrize(("count", "passed"), [(0, True), (1, True), (2, False), (-1, False)])
def test_a_gate_holds_between_none_and_its_limit(count, passed):
    assert Gate("pages leaked", count, limit=1).passed is passed


# -- words ------------------------------------------------------------------------------------------------------------


def test_a_sentence_that_was_skipped_is_lost_though_little_was_heard_after_it():
    text = " ".join(f"w{number}" for number in range(40))
    heard = [*(f"w{number}" for number in range(5)), "w30", "w31"]
    assert lost_words(text, heard) == [f"w{number}" for number in range(5, 30)]


def test_of_a_reply_that_was_spoken_whole_the_end_is_lost_too():
    assert lost_words("one two three", ["one", "two"]) == []
    assert lost_words("one two three", ["one", "two"], whole=True) == ["three"]
    assert lost_words("one two three", [], whole=True) == ["one", "two", "three"]


def test_a_word_that_comes_again_later_is_not_taken_for_the_later_one():
    assert lost_words("the cat and the dog and the bird", ["the", "cat", "and"]) == []
    assert lost_words("the cat and the dog and the bird", ["the", "cat", "the"]) == ["and"]


# -- a recorded call --------------------------------------------------------------------------------------------------


def call(length_ms: int, *bursts: tuple[int, int]) -> np.ndarray:
    made = np.zeros(length_ms * 16, np.int16)
    for start_ms, end_ms in bursts:
        made[start_ms * 16 : end_ms * 16] = track(16_000, (0.3, end_ms - start_ms))
    return made


def test_an_overlap_that_the_recording_cuts_off_is_not_judged():
    found = analyse(call(3_000, (2_000, 2_900)), call(3_000, (500, 3_000)), 16_000)
    assert (found.overlaps, found.cut_off) == ((), 1)
    found = analyse(call(3_000, (2_000, 2_900)), call(3_000, (500, 2_700)), 16_000)
    assert (found.overlaps, found.cut_off) == ((), 1), "its turn is over only when nothing follows for 400 ms"
    found = analyse(call(3_000, (2_000, 2_900)), call(3_000, (500, 2_500)), 16_000)
    assert (len(found.overlaps), found.cut_off) == (1, 0)
    found = analyse(call(5_000, (2_000, 2_900)), call(5_000, (500, 5_000)), 16_000)
    assert [item.silent_ms for item in found.overlaps] == [None], "the window was over: it talked on"


def test_an_offset_of_the_sound_card_changes_nothing():
    caller, agent = call(6_000, (2_000, 3_000)), call(6_000, (500, 2_300), (4_000, 5_000))
    plain = analyse(caller, agent, 16_000)
    assert analyse(caller + np.int16(700), agent - np.int16(900), 16_000) == plain
    assert plain.overlaps[0].silent_ms == pytest.approx(300, abs=1)


@pytest.mark.parametrize(("start_ms", "overlaps"), [(1_901, 0), (1_900, 1)])
def test_who_began_less_than_100_ms_before_was_not_interrupted(start_ms, overlaps):
    found = analyse(call(6_000, (2_000, 2_500)), call(6_000, (start_ms, 2_300)), 16_000)
    assert len(found.overlaps) == overlaps


@pytest.mark.parametrize(("end_ms", "silent_ms"), [(4_000, 2_000), (4_001, None)])
def test_the_window_closes_after_exactly_2000_ms(end_ms, silent_ms):
    (overlap,) = analyse(call(9_000, (2_000, 2_500)), call(9_000, (500, end_ms)), 16_000).overlaps
    assert overlap.silent_ms == silent_ms


# -- loads and scenarios ----------------------------------------------------------------------------------------------


def test_every_event_has_a_key_of_its_own_when_one_clip_stands_for_all_that_is_said():
    scenario = Scenario("a", "interruption", "yield", delay_ms=(1, 2), clips=("say:One.", "say:Two.", "cough"))
    for clip in (None, "voiced"):
        plans = plan([scenario], repeat=2, clip=clip)
        assert len({item.key for item in plans}) == len(plans) == 12


def test_a_ramps_steps_differ_between_seeds():
    steps = [[round(at_s % 10, 6) for at_s in ramp(1, 1, 50, seed).starts_s] for seed in (1, 2, 3)]
    assert not set(steps[0]) & set(steps[1])
    assert not set(steps[1]) & set(steps[2])


def test_an_interruption_that_nobody_could_hear_is_no_miss_of_the_agent():
    with pytest.raises(AnchorError, match="audible"):
        record(level_db=-70.0)
    assert record(level_db=-70.0, expect="absent").reply.abort_s is None
