"""A reply that should have gone on, on a line: how long it was held back, and whether it ever came back."""

from __future__ import annotations

import pytest

from evals.live.dips import SILENT_S, Dip, Told, dip_of
from evals.metrics.audio import Span

ONSET_S, CALLER_END_S, UNTIL_S = 10.0, 10.5, 13.7


def said(*pauses: tuple[float, float | None], over_s: float | None = None, ended_s: float | None = None) -> Told:
    return Told(pauses, over_s, ended_s)


def dip(told: Told, *sounding_s: tuple[float, float]) -> Dip | None:
    """The ear heard the reply in these stretches; the caller made a sound from 10 to 10.5 s, watched until 13.7 s."""
    spans = [Span(1000 * begin_s, 1000 * end_s) for begin_s, end_s in sounding_s]
    return dip_of(told, spans, onset_s=ONSET_S, caller_end_s=CALLER_END_S, until_s=UNTIL_S)


def values(found: Dip | None) -> tuple[float, float | None, float]:
    assert found is not None
    return found.begin_s, found.restored_s, found.held_ms


def test_a_reply_that_goes_on_has_none() -> None:
    assert dip(said(), (8.0, 13.7)) is None
    assert dip(said(), (8.0, 10.4), (10.51, 10.6)) is None, "heard once the caller had finished"


def test_a_pause_lasts_until_the_ear_hears_the_reply_again() -> None:
    assert values(dip(said((10.1, 10.6)), (8.0, 10.16), (10.68, 13.7))) == pytest.approx((10.16, 10.68, 520))


def test_two_pauses_are_added_up_and_what_was_heard_between_them_is_not() -> None:
    found = dip(said((10.1, 10.4), (11.0, 11.5)), (8.0, 10.16), (10.46, 11.06), (11.56, 13.7))
    assert values(found) == pytest.approx((10.16, 11.56, 300 + 500))


def test_two_pauses_between_which_nothing_was_heard_are_one_silence() -> None:
    found = dip(said((10.1, 10.4), (10.42, 10.9)), (8.0, 10.16), (10.96, 13.7))
    assert values(found) == pytest.approx((10.16, 10.96, 800))


def test_a_pause_that_is_never_taken_back_lasts_until_the_end_and_restores_nothing() -> None:
    assert values(dip(said((10.1, None)), (8.0, 10.16))) == pytest.approx((10.16, None, 3_540), nan_ok=True)


def test_a_second_pause_that_is_never_taken_back_counts_though_the_first_one_was() -> None:
    found = dip(said((10.1, 10.4), (11.0, None)), (8.0, 10.16), (10.46, 11.06))
    assert found is not None
    assert found.restored_s is None
    assert found.held_ms == pytest.approx(300 + 2_640)


def test_an_agent_that_says_it_has_gone_on_and_is_not_heard_has_not() -> None:
    found = dip(said((10.1, 10.6)), (8.0, 10.16))
    assert found is not None
    assert found.restored_s is None


def test_what_was_paused_or_released_a_moment_before_the_end_may_still_come() -> None:
    for last_s, is_back in ((UNTIL_S - SILENT_S + 0.1, True), (UNTIL_S - SILENT_S - 0.1, False)):
        for told in (said((10.1, last_s)), said((last_s, None))):
            found = dip(told, (8.0, told.pauses[0][0] + 0.06))
            assert found is not None
            assert (found.restored_s is not None) == is_back


def test_a_pause_that_nobody_was_told_of_is_one_when_the_reply_is_not_heard_after_the_caller() -> None:
    assert values(dip(said(), (8.0, 10.2)))[:2] == (10.2, None)
    assert values(dip(said(), (8.0, 9.0)))[:2] == (ONSET_S, None), "it counts from the caller's sound on"


def test_a_pause_that_takes_long_to_be_heard_and_has_no_end_is_one() -> None:
    assert values(dip(said((10.1, None)), (8.0, 11.2)))[:2] == (11.2, None)
    assert dip(said((10.1, None)), (8.0, UNTIL_S - SILENT_S + 0.1)) is None


def test_a_reply_at_its_end_is_held_back_no_longer() -> None:
    assert dip(said(ended_s=10.3), (8.0, 10.2)) is None
    assert values(dip(said((10.1, 10.4), ended_s=11.0), (8.0, 10.16))) == pytest.approx((10.16, 11.0, 840))
    assert values(dip(said((10.1, None), ended_s=10.9), (8.0, 10.16))) == pytest.approx((10.16, 10.9, 740))


def test_a_transport_that_gives_a_paused_reply_up_has_not_ended_it() -> None:
    told = said((10.1, None), ended_s=13.1)
    assert not told.completed
    assert values(dip(told, (8.0, 10.16)))[:2] == (10.16, None)


def test_a_reply_that_was_ended_for_the_caller_was_held_until_then() -> None:
    told = said((10.1, None), over_s=10.9)
    assert values(dip(told, (8.0, 10.16)))[1:] == (None, pytest.approx(740))
    assert dip(said(over_s=10.9), (8.0, 10.9)) is None
    assert dip(said((11.0, None), over_s=10.9), (8.0, 10.9)) is None, "a pause after it is none of this reply"
