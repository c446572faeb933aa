"""A call judged from its recording alone, on calls made by hand."""

import json
import wave

import numpy as np
import pytest

from evals import recording
from evals.metrics.recording import Kind, analyse

RATE = 16_000


def track(length_ms: float, *bursts: tuple[float, float]) -> np.ndarray:
    """Tones from .. to (ms) in silence."""
    made = np.zeros(round(length_ms * RATE / 1000), np.int16)
    for start_ms, end_ms in bursts:
        start, end = (round(ms * RATE / 1000) for ms in (start_ms, end_ms))
        made[start:end] = 8_000 * np.sin(np.arange(1, end - start + 1) * 2 * np.pi * 300 / RATE)
    return made


def test_time_to_yield_and_talk_over_are_known_to_the_millisecond():
    caller = track(6_000, (100, 900), (2_500, 3_500))
    agent = track(6_000, (1_400, 2_100), (2_150, 2_800), (4_000, 5_000))
    call = analyse(caller, agent, RATE)
    (overlap,) = call.overlaps
    assert overlap.onset_ms == pytest.approx(2_500, abs=1)
    assert overlap.silent_ms == pytest.approx(300, abs=1)
    assert overlap.talk_over_ms == pytest.approx(300, abs=1)
    assert overlap.leftover_ms == 0
    assert overlap.correct
    assert call.response_ms == (pytest.approx(500, abs=1), pytest.approx(500, abs=1))


def test_an_agent_that_talks_on_was_not_interrupted():
    (overlap,) = analyse(track(6_000, (2_000, 2_600)), track(6_000, (500, 5_500)), RATE).overlaps
    assert overlap.silent_ms is None
    assert not overlap.correct
    assert overlap.talk_over_ms == pytest.approx(600, abs=1)


def test_a_burst_after_it_had_yielded_is_a_leftover():
    caller, agent = track(6_000, (2_000, 4_000)), track(6_000, (500, 2_200), (2_900, 3_100), (4_500, 5_500))
    (overlap,) = analyse(caller, agent, RATE).overlaps
    assert overlap.silent_ms == pytest.approx(200, abs=1)
    assert overlap.leftover_ms == pytest.approx(200, abs=1)


def test_a_backchannel_that_stops_the_agent_is_wrong_and_one_that_does_not_is_right():
    caller = track(9_000, (2_000, 2_300), (6_000, 6_300))
    agent = track(9_000, (500, 2_250), (4_000, 8_900))
    labels = {2.1: Kind.NOT_FOR_THE_AGENT, 6.0: Kind.NOT_FOR_THE_AGENT}
    assert [item.correct for item in analyse(caller, agent, RATE, labels=labels).overlaps] == [False, True]


def test_speaking_into_silence_is_no_overlap():
    assert analyse(track(3_000, (100, 500)), track(3_000, (1_000, 2_000)), RATE).overlaps == ()


def saved(path, *tracks):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(tracks))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.stack(tracks, 1).tobytes())
    return str(path)


def test_the_command_reads_a_stereo_call_and_fails_on_a_missed_interruption(tmp_path, capsys):
    good = saved(tmp_path / "good.wav", track(6_000, (2_000, 3_000)), track(6_000, (500, 2_300), (4_000, 5_000)))
    assert recording.main([good]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["figures"]["silent_ms"]["p50"] == pytest.approx(300, abs=1)
    assert recording.main([good, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "recording-good.html").read_text()
    assert "agent silent +300 ms" in page
    assert page.count("data:audio/wav;base64,") == 2, "the call, and its one overlap"
    deaf = saved(tmp_path / "deaf.wav", track(6_000, (2_000, 3_000)), track(6_000, (500, 5_800)))
    assert recording.main([deaf]) == 1


def test_files_that_do_not_fit_say_what_is_needed(tmp_path, capsys):
    mono = saved(tmp_path / "mono.wav", track(100))
    assert recording.main([mono]) == 2
    assert "two are needed" in capsys.readouterr().out
    (tmp_path / "labels.txt").write_text("1.0 perhaps\n")
    both = saved(tmp_path / "both.wav", track(100), track(100))
    assert recording.main([both, "--labels", str(tmp_path / "labels.txt")]) == 2
    assert "allowed: interruption, other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("call.mp3", "call.mp3 is no 16-bit WAV (file does not start with RIFF id); ffmpeg -i IN"),
        ("cut.wav", "cut.wav is no 16-bit WAV (it is cut off)"),
        ("24bit.wav", "24bit.wav has 24-bit samples; allowed: 16-bit PCM; ffmpeg -i IN"),
        ("nowhere.wav", "No such file or directory"),
    ],
)
def test_a_file_that_is_no_recording_says_how_to_make_one(tmp_path, capsys, name, says):
    (tmp_path / "call.mp3").write_bytes(b"ID3" + bytes(999))
    (tmp_path / "cut.wav").write_bytes(b"RIFF")
    with wave.open(str(tmp_path / "24bit.wav"), "wb") as file:
        file.setparams((2, 3, RATE, 0, "NONE", ""))
        file.writeframes(bytes(600))
    assert recording.main([str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().out


def test_a_recording_of_nobody_fails_by_name_and_is_no_crash(tmp_path, capsys):
    for name, tracks in (("silence", (track(500), track(500))), ("agent", (track(500), track(500, (10, 400))))):
        assert recording.main([saved(tmp_path / f"{name}.wav", *tracks), "--out", str(tmp_path)]) == 1
        out = capsys.readouterr().out
        assert "FAIL recordings without a caller: 1" in out
        assert "interrupt the agent in mid-sentence" in out


def test_two_files_may_differ_in_length(tmp_path, capsys):
    caller, agent = (
        saved(tmp_path / "a.wav", track(3_000, (2_000, 2_900))),
        saved(tmp_path / "b.wav", track(4_000, (500, 2_300))),
    )
    assert recording.main(["--caller", caller, "--agent", agent, "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["silent_ms"]["p50"] == pytest.approx(
        300, abs=1
    )


def test_a_label_without_a_time_says_what_one_looks_like(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("soon interruption\n")
    both = saved(tmp_path / "both.wav", track(100), track(100))
    assert recording.main([both, "--labels", str(tmp_path / "labels.txt")]) == 2
    assert "line 1: 'soon' are no seconds; such as 12.3 interruption" in capsys.readouterr().out
