"""The onset test, with made sounds and a made speech probability."""

from __future__ import annotations

import numpy as np
import pytest

from agent_tts.audio.onset import HOP, SAMPLE_RATE, WINDOW, Activity, OnsetDetector

RNG = np.random.default_rng(7)


def noise(ms: int, dbfs: float) -> np.ndarray:
    return (32767 * 10 ** (dbfs / 20) * RNG.normal(0, 1, SAMPLE_RATE * ms // 1000)).clip(-32768, 32767).astype(np.int16)


def changes(detector: OnsetDetector, pcm: np.ndarray, *, piece: int = HOP) -> list[tuple[int, Activity]]:
    """What happens, and after how many milliseconds of audio."""
    found = []
    for begin in range(0, len(pcm), piece):
        found += [
            (1000 * (begin + piece) // SAMPLE_RATE, change) for change in detector.push(pcm[begin : begin + piece])
        ]
    return found


def test_one_probable_window_starts_and_200_ms_without_end() -> None:
    probabilities = iter([0.0, 0.35, *[0.0] * 50])
    detector = OnsetDetector(lambda window: next(probabilities))
    found = changes(detector, np.zeros(SAMPLE_RATE, np.int16))
    assert [change for _, change in found] == [Activity.STARTED, Activity.ENDED]
    started, ended = (at for at, _ in found)
    assert started == 70  # the second window of 32 ms ends in the seventh hop
    assert ended - started == 220  # until the third window says no, in the tenth hop; that one counts as quiet


def test_a_less_probable_window_counts_only_where_the_level_stands_out() -> None:
    quiet = OnsetDetector(lambda window: 0.15)
    assert changes(quiet, noise(1000, -60)) == []
    loud = OnsetDetector(lambda window: 0.15)
    found = changes(loud, np.concatenate([noise(1000, -60), noise(300, -30)]))
    assert found[0] == (1010, Activity.STARTED)


def test_the_floor_follows_a_noise_that_stays() -> None:
    detector = OnsetDetector()
    steady = changes(detector, np.concatenate([noise(1000, -70), noise(8000, -40)]))
    assert [change for _, change in steady] == [Activity.STARTED, Activity.ENDED]
    assert changes(detector, noise(200, -15))[0][1] is Activity.STARTED


def test_a_click_is_no_onset_without_a_model() -> None:
    click = np.concatenate([noise(500, -70), noise(15, -10), noise(500, -70)])
    assert changes(OnsetDetector(), click) == []


@pytest.mark.parametrize("piece", [1, 77, HOP, 320, WINDOW, SAMPLE_RATE])
def test_any_portions_give_the_same_changes(piece: int) -> None:
    pcm = np.concatenate([noise(500, -70), noise(300, -20), noise(500, -70), noise(300, -20)])
    whole = [change for _, change in changes(OnsetDetector(), pcm, piece=len(pcm))]
    assert [change for _, change in changes(OnsetDetector(), pcm, piece=piece)] == whole
    assert whole == [Activity.STARTED, Activity.ENDED, Activity.STARTED]


def test_digital_silence_is_quiet() -> None:
    assert changes(OnsetDetector(), np.zeros(SAMPLE_RATE, np.int16)) == []
