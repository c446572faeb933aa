"""The ledger refuses what cannot have happened, and its arithmetic."""

from __future__ import annotations

import json

import pytest

from agent_tts.metrics import BargeInRow, Ledger, percentile


def row(shift_s: float = 0.0, **changes: object) -> BargeInRow:
    moments = {
        "onset_s": 10.0,
        "vad_s": 10.2 + shift_s,
        "decision_s": 10.201 + shift_s,
        "abort_s": 10.202 + shift_s,
        "released_s": 10.21 + shift_s,
        "cleared_s": 10.205 + shift_s,
        "last_frame_s": 10.19 + shift_s,
        "silence_s": 10.3 + shift_s,
        "next_audio_s": 12.0 + shift_s,
    }
    return BargeInRow("u", **(moments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "impossible",
    [
        {"onset_s": 10.25},
        {"vad_s": 9.9},
        {"abort_s": 10.2},
        {"released_s": 10.2},
        {"cleared_s": 10.2},
        {"silence_s": 9.9},
        {"next_audio_s": 10.2},
        {"suspicion_s": 10.1, "duck_s": 10.05},
    ],
)
def test_an_impossible_order_is_refused(impossible: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot have happened"):
        row(**impossible)


def test_our_own_onset_test_may_decide_before_the_frameworks_vad() -> None:
    """When it does, a row that refused the VAD's later start lost the whole measurement."""
    assert row(vad_s=10.2015).since_onset_ms("vad_s") == pytest.approx(201.5)


def test_moments_that_were_not_seen_leave_the_order_of_the_others_checked() -> None:
    assert row(vad_s=None, abort_s=None).since_onset_ms("released_s") == pytest.approx(210)
    with pytest.raises(ValueError, match="decision_s"):
        row(vad_s=None, decision_s=9.0)


def test_milliseconds_count_from_the_onset() -> None:
    assert row().since_onset_ms("silence_s") == pytest.approx(300)
    assert row(onset_s=None).since_onset_ms("silence_s") is None
    assert row(generated_ms=3000.0, heard_ms=2500.0).ahead_ms == 500


def test_the_spread_names_worst_and_count() -> None:
    ledger = Ledger(row(shift_s=index / 100) for index in range(10))
    spread = ledger.spread("vad_s")
    assert spread["n"] == 10
    assert spread["worst"] == pytest.approx(290)
    assert spread["p50"] == pytest.approx(240)
    assert json.loads(ledger.to_json())["stages_ms"]["vad_s"]["n"] == 10


def test_the_table_lists_stages_in_the_order_they_happened() -> None:
    table = Ledger([row(leaked_ms={"vad_s": 95.0})]).table()
    assert table.index("last frame") < table.index("VAD") < table.index("abort()") < table.index("silence")
    assert "95 ms" in table


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([], 0.5) is None
