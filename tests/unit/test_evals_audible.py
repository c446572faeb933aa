"""What is audible, and from where to where, in signals made by hand, to the millisecond."""

from __future__ import annotations

import numpy as np
import pytest

from evals.metrics.audio import Samples, audible_ms, audible_spans, onset_ms, silence_ms

RATE = 48_000


def tone(ms: float, hz: float = 200.0, amplitude: float = 0.3) -> Samples:
    times = np.arange(round(ms * RATE / 1000)) / RATE
    return (32767 * amplitude * np.sin(2 * np.pi * hz * times)).astype(np.int16)


def quiet(ms: float) -> Samples:
    return np.zeros(round(ms * RATE / 1000), np.int16)


@pytest.mark.parametrize("hz", [90, 200, 1000, 5000])
@pytest.mark.parametrize("at_ms", [0, 1, 137.3, 500])
def test_onset_and_end_of_a_sound_are_found_within_a_millisecond_at_any_pitch(hz: float, at_ms: float) -> None:
    pcm = np.concatenate([quiet(at_ms), tone(300, hz), quiet(100)])
    assert onset_ms(pcm, RATE) == pytest.approx(at_ms, abs=1)
    assert silence_ms(pcm, RATE) == pytest.approx(at_ms + 300, abs=1)


def test_a_sound_that_swells_begins_where_it_crosses_the_threshold() -> None:
    ramp = (tone(1000, 1000).astype(np.float64) * np.linspace(0, 1, RATE)).astype(np.int16)
    crossing_ms = 1000 * 10 ** (-40 / 20) / 0.3
    assert onset_ms(ramp, RATE) == pytest.approx(crossing_ms, abs=1)


def test_a_click_is_neither_an_onset_nor_an_end() -> None:
    pcm = np.concatenate([quiet(100), tone(2, 3000), quiet(200), tone(200), quiet(200), tone(2, 3000), quiet(100)])
    assert onset_ms(pcm, RATE) == pytest.approx(302, abs=1)
    assert silence_ms(pcm, RATE) == pytest.approx(502, abs=1)


def test_audible_time_leaves_pauses_out() -> None:
    pcm = np.concatenate([tone(200), quiet(300), tone(100)])
    spans = audible_spans(pcm, RATE)
    assert audible_ms(spans) == pytest.approx(300, abs=2)
    assert audible_ms(spans, 200, 500) == pytest.approx(0, abs=1)
