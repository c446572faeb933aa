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


def says(*probabilities: float) -> OnsetDetector:
    """A detector whose model says these, window by window, and nothing afterwards."""
    left = iter(probabilities)
    return OnsetDetector(lambda window: next(left, 0.0))


def near(ms: int) -> np.ndarray:
    """As loud as a caller."""
    return noise(ms, -25)


def test_one_probable_window_starts_and_200_ms_without_end() -> None:
    found = changes(says(0.0, 0.35), near(1000))
    assert [change for _, change in found] == [Activity.STARTED, Activity.ENDED]
    started, ended = (at for at, _ in found)
    assert started == 70  # the second window of 32 ms ends in the seventh hop
    assert ended - started == 220  # until the third window says no, in the tenth hop; that one counts as quiet


def test_a_less_probable_window_counts_only_where_the_level_stands_out() -> None:
    assert changes(says(*[0.08] * 40), noise(1000, -40)) == []
    found = changes(says(*[0.08] * 40), np.concatenate([noise(1000, -60), near(200)]))
    assert found[0] == (1010, Activity.STARTED)


def test_sure_speech_grows_near_and_then_talking() -> None:
    found = changes(says(*[0.9] * 40), near(1280))
    assert [change for _, change in found] == [Activity.STARTED, Activity.NEAR, Activity.TALKING]
    started, near_at, talking_at = (at for at, _ in found)
    assert (near_at - started, talking_at - started) == (190, 790)  # the first hop counts


def test_what_is_far_below_the_callers_level_is_never_near() -> None:
    detector = says(*[0.9] * 30)
    found = changes(detector, np.concatenate([noise(960, -41), noise(500, -90)]))
    assert [change for _, change in found] == [Activity.STARTED, Activity.ENDED]


def test_a_quiet_caller_is_near_once_the_agent_has_listened_to_some_turns() -> None:
    turn = np.concatenate([noise(640, -41), noise(640, -90)])
    probabilities = [*[0.9] * 20, *[0.0] * 20] * 4
    listening = changes(says(*probabilities), np.tile(turn, 4))
    assert Activity.NEAR in [change for _, change in listening]
    over_the_agent = says(*probabilities)
    over_the_agent.agent_speaks = True  # as its echo might be
    assert Activity.NEAR not in [change for _, change in changes(over_the_agent, np.tile(turn, 4))]


def test_after_a_false_start_the_same_sound_does_not_start_again_but_speech_does() -> None:
    first = ([*[0.0] * 10, *[0.2] * 10, *[0.0] * 20], np.concatenate([noise(320, -90), near(320), noise(640, -90)]))
    again = ([*[0.2] * 10, *[0.0] * 20], np.concatenate([near(320), noise(640, -90)]))
    speech = ([*[0.9] * 10, *[0.0] * 20], again[1])
    for second, expected in ((again, []), (speech, [Activity.STARTED, Activity.NEAR, Activity.ENDED])):
        detector = says(*first[0], *second[0])
        detector.agent_speaks = True
        kinds = [change for _, change in changes(detector, np.concatenate([first[1], second[1]]))]
        assert kinds == [Activity.STARTED, Activity.ENDED, *expected]


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
