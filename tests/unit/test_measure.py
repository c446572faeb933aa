"""Onsets, ends and gaps of signals made by hand, to the millisecond."""

from __future__ import annotations

import numpy as np
import pytest

from evals.measure import Samples, audible_ms, last_audible, silences, speech_onset, speech_spans

RATE = 48_000


def tone(ms: float, hz: float = 200.0, amplitude: float = 0.3) -> Samples:
    times = np.arange(round(ms * RATE / 1000)) / RATE
    return (32767 * amplitude * np.sin(2 * np.pi * hz * times)).astype(np.int16)


def quiet(ms: float) -> Samples:
    return np.zeros(round(ms * RATE / 1000), np.int16)


def ms(sample: int | None) -> float:
    assert sample is not None
    return 1000 * sample / RATE


@pytest.mark.parametrize("hz", [90, 200, 1000, 5000])
@pytest.mark.parametrize("at_ms", [0, 1, 137.3, 500])
def test_onset_is_found_within_a_millisecond(hz: float, at_ms: float) -> None:
    pcm = np.concatenate([quiet(at_ms), tone(300, hz), quiet(100)])
    assert ms(speech_onset(pcm, RATE)) == pytest.approx(at_ms, abs=1)


@pytest.mark.parametrize("hz", [90, 200, 1000, 5000])
def test_end_is_found_within_a_millisecond_of_the_last_loud_sample(hz: float) -> None:
    pcm = np.concatenate([quiet(50), tone(300, hz), quiet(400)])
    assert ms(last_audible(pcm, RATE)) == pytest.approx(350, abs=1)


def test_a_sound_that_swells_begins_where_it_crosses_the_threshold() -> None:
    ramp = (tone(1000, 1000).astype(np.float64) * np.linspace(0, 1, RATE)).astype(np.int16)
    crossing_ms = 1000 * 10 ** (-40 / 20) / 0.3
    assert ms(speech_onset(ramp, RATE)) == pytest.approx(crossing_ms, abs=1)


def test_a_click_is_neither_an_onset_nor_an_end() -> None:
    pcm = np.concatenate([quiet(100), tone(2, 3000), quiet(200), tone(200), quiet(200), tone(2, 3000), quiet(100)])
    assert ms(speech_onset(pcm, RATE)) == pytest.approx(302, abs=1)
    assert ms(last_audible(pcm, RATE)) == pytest.approx(502, abs=1)


def test_what_is_below_the_threshold_is_silence() -> None:
    pcm = tone(500, amplitude=0.002)  # -54 dB
    assert speech_onset(pcm, RATE) is None
    assert last_audible(pcm, RATE) is None
    assert audible_ms(pcm, RATE) == 0


def test_searching_starts_and_ends_where_it_is_told() -> None:
    pcm = np.concatenate([tone(100), quiet(100), tone(100), quiet(100)])
    half = round(0.15 * RATE)
    assert ms(speech_onset(pcm, RATE, half)) == pytest.approx(200, abs=1)
    assert ms(last_audible(pcm, RATE, 0, half)) == pytest.approx(100, abs=1)
    assert last_audible(pcm, RATE, round(0.31 * RATE)) is None


def test_silences_are_measured_to_the_sample() -> None:
    burst = np.full(480, 5000, np.int16)
    pcm = np.concatenate([quiet(30), burst, quiet(100), burst, quiet(10), burst])
    spans = silences(pcm, RATE, min_ms=20)
    assert [(span.start, span.end) for span in spans] == [(0, 1440), (1920, 6720)]
    assert spans[1].ms(RATE) == 100


def test_short_pauses_belong_to_the_speech_around_them() -> None:
    pcm = np.concatenate([quiet(500), tone(300), quiet(200), tone(300), quiet(600), tone(100)])
    spans = speech_spans(pcm, RATE, join_ms=400)
    assert [(ms(span.start), ms(span.end)) for span in spans] == [
        (pytest.approx(500, abs=1), pytest.approx(1300, abs=1)),
        (pytest.approx(1900, abs=1), pytest.approx(2000, abs=1)),
    ]


def test_audible_time_leaves_pauses_out() -> None:
    pcm = np.concatenate([tone(200), quiet(300), tone(100)])
    assert audible_ms(pcm, RATE) == pytest.approx(300, abs=10)
    assert audible_ms(pcm, RATE, round(0.2 * RATE), round(0.5 * RATE)) == 0


def test_nothing_is_silent() -> None:
    empty = np.zeros(0, np.int16)
    assert speech_onset(empty, RATE) is None
    assert last_audible(empty, RATE) is None
    assert silences(empty, RATE) == []
    assert audible_ms(empty, RATE) == 0
