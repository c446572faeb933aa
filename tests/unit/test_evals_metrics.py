"""The metrics of evals against hand-made recordings whose answers are known."""

import numpy as np
import pytest

from evals.metrics.audio import Span, audible_ms, audible_spans, gaps, level_db, onset_ms, silence_ms
from evals.metrics.reply import Defect, defect
from evals.metrics.stats import bootstrap, bootstrap_ratio, nearest_rank, paired, spread
from evals.metrics.stream import Arrival, ReplyRecord, Stall, continuity, latency, stalls
from evals.metrics.text import edits, heard_text_error, lost_words, words_of

RATE = 24_000


def recording(*parts: tuple[float, float]) -> np.ndarray:
    """Tone bursts (amplitude, ms) one after the other; amplitude 0 is silence."""
    pieces = [
        amplitude * np.sin(np.arange(round(ms * RATE / 1000)) * 2 * np.pi * 440 / RATE) for amplitude, ms in parts
    ]
    return np.concatenate(pieces).astype(np.float32)


# -- audio ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent_ms", [0, 1, 37, 250, 1234])
def test_onset_is_found_to_the_millisecond(silent_ms):
    assert onset_ms(recording((0, silent_ms), (0.3, 100)), RATE) == pytest.approx(silent_ms, abs=1)


def test_onset_is_the_same_for_int16_and_at_another_rate():
    wave = recording((0, 123), (0.3, 100))
    assert onset_ms((wave * 32767).astype(np.int16), RATE) == onset_ms(wave, RATE)
    assert onset_ms(wave, RATE // 3) == pytest.approx(3 * 123, abs=1)


def test_silence_at_the_ear_is_the_end_of_the_last_audible_sample():
    assert silence_ms(recording((0.3, 400), (0.005, 100), (0, 200)), RATE) == pytest.approx(400, abs=1)


def test_nothing_audible_has_neither_onset_nor_end():
    quiet = recording((0.009, 500))
    assert onset_ms(quiet, RATE) is None
    assert silence_ms(quiet, RATE) is None
    assert audible_spans(np.zeros(0, np.int16), RATE) == []


def test_a_click_is_not_speech_and_a_plosive_closure_is_not_silence():
    wave = recording((0, 50), (0.5, 2), (0, 100), (0.3, 80), (0, 15), (0.3, 80))
    (only,) = audible_spans(wave, RATE)
    assert only.start_ms == pytest.approx(152, abs=1)
    assert only.end_ms == pytest.approx(327, abs=1)


def test_gaps_are_measured_between_audible_runs():
    spans = audible_spans(recording((0.3, 100), (0, 60), (0.3, 100), (0, 30), (0.3, 100)), RATE)
    (gap,) = gaps(spans, min_ms=50)
    assert (gap.start_ms, gap.end_ms) == (pytest.approx(100, abs=1), pytest.approx(160, abs=1))


def test_leak_counts_only_what_is_audible_after_the_stage():
    spans = [Span(0, 100), Span(150, 300)]
    assert audible_ms(spans, start_ms=60) == 40 + 150
    assert audible_ms(spans, start_ms=60, end_ms=200) == 40 + 50
    assert audible_ms(spans, start_ms=300) == 0


def test_level_of_a_full_scale_sine_and_of_silence():
    assert level_db(recording((1.0, 1000))) == pytest.approx(-3.01, abs=0.05)
    assert level_db(np.zeros(10, np.int16)) == -np.inf


# -- one reply --------------------------------------------------------------------------------------------------------


def reply(arrivals: list[tuple[float, float]], text: str = "Hello there.", **more: object) -> ReplyRecord:
    """A reply whose audio came in portions (ms after the first text, ms of audio)."""
    came = tuple(Arrival(10 + at / 1000, round(ms * RATE / 1000)) for at, ms in arrivals)
    total = sum(arrival.num_samples for arrival in came)
    values: dict = {
        "text": text,
        "sample_rate": RATE,
        "planned_s": 9.95,
        "started_s": 9.99,
        "first_text_s": 10.0,
        "last_text_s": 10.1,
        "arrivals": came,
        "pcm": np.concatenate([np.zeros(round(0.03 * RATE)), recording((0.3, 1000 * total / RATE))])[:total],
    }
    return ReplyRecord(**(values | more))


def test_every_clock_of_a_reply_starts_and_stops_where_it_says():
    figures = latency(reply([(40, 10), (55, 10), (60, 380)]))
    assert figures.dispatch_late_ms == pytest.approx(40)
    assert figures.ttfa_first_byte_ms == pytest.approx(40)
    assert figures.ttfa_playable_ms == pytest.approx(55)
    assert figures.ttfa_planned_ms == pytest.approx(105)
    assert figures.leading_silence_ms == pytest.approx(30, abs=1)
    assert figures.ttfa_audible_ms == pytest.approx(85, abs=1)
    assert figures.text_lag_ms == pytest.approx(-40)
    assert figures.e2e_ms == pytest.approx(60)
    assert figures.connect_ms is None
    assert figures.gap_max_ms == pytest.approx(15)
    assert figures.rtf_wall == pytest.approx(60 / 400)
    assert figures.underruns == 0


def test_a_player_that_runs_dry_stands_still_and_goes_on():
    late = reply([(0, 100), (180, 100), (200, 100), (420, 100)])
    assert stalls(late) == [Stall(100, pytest.approx(80)), Stall(300, pytest.approx(40))]
    figures = latency(late)
    assert (figures.underruns, figures.stall_max_ms, figures.stall_total_ms) == (
        2,
        pytest.approx(80),
        pytest.approx(120),
    )


def test_audio_just_in_time_is_no_underrun():
    assert stalls(reply([(5 + 20 * index, 20) for index in range(50)])) == []


def test_a_stall_before_the_first_audible_sample_delays_it():
    assert latency(reply([(10, 20), (50, 200)])).ttfa_audible_ms == pytest.approx(10 + 30 + 20, abs=1)


def test_a_ramp_that_wins_the_first_chunk_and_stutters_is_seen_by_continuity():
    ramp = latency(reply([(5, 20), (105, 80), (305, 300)]))
    assert ramp.ttfa_playable_ms == pytest.approx(5)
    longest = [0.0, 40.0, 80.0, ramp.stall_max_ms]
    assert [continuity(longest, limit) for limit in (50, 100, 200)] == [0.5, 0.75, 1.0]
    assert continuity([], 50) is None


def test_a_record_in_an_impossible_order_is_refused():
    with pytest.raises(ValueError, match="out of order"):
        reply([(-5, 20), (10, 20)])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (reply([(5, 600)]), None),
        (reply([]), Defect.EMPTY),
        (reply([(5, 600)], pcm=np.zeros(14_400, np.int16)), Defect.EMPTY),
        (reply([(5, 200)]), Defect.TRUNCATED),
        (reply([(5, 6_100)]), Defect.RUNAWAY),
        (reply([(5, 600)], error="GenerationError"), Defect.FAILED),
        (reply([], text="... !"), None),
    ],
)
def test_a_reply_that_says_too_little_or_too_much_is_a_failure_by_name(record, expected):
    assert defect(record) is expected


# -- statistics -------------------------------------------------------------------------------------------------------


def test_percentiles_are_nearest_rank():
    values = [15, 20, 35, 40, 50]
    assert [nearest_rank(values, share) for share in (0.05, 0.30, 0.40, 0.50, 1.00)] == [15, 20, 20, 35, 50]
    assert nearest_rank(range(1, 101), 0.95) == 95
    assert nearest_rank([7], 0.99) == 7
    assert nearest_rank([], 0.5) is None


def test_spread_leaves_out_what_did_not_happen():
    found = spread([3.0, None, 1.0, 2.0])
    assert (found.n, found.p50, found.p95, found.worst) == (3, 2.0, 3.0, 3.0)


def test_bootstrap_interval_holds_the_mean_and_narrows_with_n():
    draw = np.random.default_rng(1).normal(10, 2, 400)
    few, many = bootstrap(draw[:25]), bootstrap(draw)
    assert few.low < 10 < few.high
    assert many.low < 10 < many.high
    assert many.high - many.low < few.high - few.low
    # 1.96 standard errors, within a tenth
    assert many.high - many.low == pytest.approx(2 * 1.96 * draw.std() / 20, rel=0.1)
    assert bootstrap(draw[:25]) == few
    assert bootstrap([]) is None


def test_pooled_error_rate_weighs_sentences_by_their_words():
    rate = bootstrap_ratio([1, 0], [2, 8])
    assert rate.value == 0.1
    assert rate.low == 0.0
    assert rate.high == 0.5


def test_a_paired_verdict_sees_a_small_change_that_hides_in_the_spread():
    rng = np.random.default_rng(2)
    before = rng.normal(100, 40, 60)
    after = before - 3 + rng.normal(0, 2, 60)
    verdict = paired(before, after)
    assert verdict.better == "b"
    assert verdict.change.value == pytest.approx(-3, abs=1)
    assert paired(before, after, lower_is_better=False).better == "a"
    assert paired(before, before).better is None


# -- words ------------------------------------------------------------------------------------------------------------


def test_edits_count_each_kind():
    found = edits("the cat sat down".split(), "the bat sat right down now".split())
    assert (found.substitutions, found.deletions, found.insertions, found.reference) == (1, 0, 2, 4)
    assert edits([], ["a"]).errors == 1
    assert edits(["a"], []).errors == 1


def test_words_are_compared_without_case_and_punctuation():
    assert words_of("Don’t stop -- it's 5 o'clock!") == ["don't", "stop", "it's", "5", "o'clock"]


def test_heard_text_error_is_in_words():
    assert heard_text_error("One two three", ["One", "two", "three"]) == 0
    assert heard_text_error("One two three four", ["One", "two", "three"]) == 1
    assert heard_text_error("One", ["One", "two,", "three"]) == 2


def test_a_word_that_was_skipped_is_named_and_the_unspoken_rest_is_not():
    text = "one two three four five six"
    assert lost_words(text, ["one", "two", "three"]) == []
    assert lost_words(text, ["one", "three", "four"]) == ["two"]
    assert lost_words(text, []) == []
