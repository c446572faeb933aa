"""The demo's caller and its judge, on sounds made by hand: a judge that cannot fail proves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="the demo's agent runs on Pipecat")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

from agent_tts.metrics import BargeInRow  # noqa: E402
from agents.demo.analysis import Recording, Story, analyse, checks  # noqa: E402
from agents.demo.conversation import Record, Reply  # noqa: E402
from agents.demo.ear import FRAME_SAMPLES, RATE, Ear, Mouth  # noqa: E402
from agents.demo.english import foreign_sentences  # noqa: E402

START_S = 1000.0


def sound(*spans: tuple[float, float], length_s: float = 12.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """A tone within each (start, end), in seconds."""
    times = np.arange(round(length_s * RATE)) / RATE
    on = np.zeros(len(times), bool)
    for start_s, end_s in spans:
        on[round(start_s * RATE) : round(end_s * RATE)] = True
    return (8000 * np.sin(2 * np.pi * 300 * times) * on).astype(np.int16)


def told(*ear_spans: tuple[float, float]) -> tuple[Story, Record]:
    """A call in which the caller asks at 1 s and interrupts at 5 s; the ear hears `ear_spans`."""
    mouth = sound((1.0, 2.0), (5.0, 6.0))
    recording = Recording(START_S, RATE, mouth, sound(*ear_spans))
    row = BargeInRow(
        "u1",
        vad_s=START_S + 5.3,
        decision_s=START_S + 5.3,
        abort_s=START_S + 5.301,
        released_s=START_S + 5.31,
        cleared_s=START_S + 5.302,
    )
    record = Record(
        replies=[Reply(said="one two three", heard="one", interrupted=True), Reply(said="Paris.")],
        bot_started_s=[START_S + 2.9, START_S + 7.9],
        rows=[row],
        events=[
            {"event": "asks", "start": RATE, "file": "a"},
            {"event": "interrupts", "start": 5 * RATE, "file": "b"},
            {"event": "hears_answer"},
        ],
    )
    return analyse(recording, record, {"a": RATE, "b": RATE}), record


def passed(story: Story, record: Record) -> list[bool]:
    return [check.passed for check in checks(story, record)]


def test_a_call_that_went_well_passes_and_is_measured() -> None:
    story, record = told((3.0, 5.45), (8.0, 9.0))
    assert passed(story, record) == [True, True, True, True, True]
    row = story.rows[0]
    assert row is not None
    assert row.since_onset_ms("vad_s") == pytest.approx(300, abs=1)
    assert row.since_onset_ms("silence_s") == pytest.approx(450, abs=1)
    assert row.heard_ms == pytest.approx(2450, abs=2)
    assert row.leaked_ms["abort_s"] == pytest.approx(150, abs=6)
    assert story.question_ends_s == [START_S + 2, START_S + 6]
    assert story.reply_starts_s == [pytest.approx(START_S + 3, abs=0.001), pytest.approx(START_S + 8, abs=0.001)]


def test_an_agent_that_speaks_on_fails_as_stale() -> None:
    story, record = told((3.0, 7.0), (8.0, 9.0))
    assert passed(story, record) == [True, True, False, True, True]
    row = story.rows[0]
    assert row is not None
    assert row.stale_ms == pytest.approx(1000 * (7.0 - 5.302 - 0.5), abs=21)


def test_what_was_sent_in_time_and_came_late_is_not_stale_but_counts_as_heard() -> None:
    _, record = told((3.0, 5.4), (8.0, 9.0))
    recording = Recording(START_S, RATE, sound((1.0, 2.0), (5.0, 6.0)), sound((3.0, 5.4), (6.5, 6.6), (8.0, 9.0)))
    at_s = START_S + np.arange(0, 12, 0.02)
    sent_s = np.where((at_s > START_S + 6.4) & (at_s < START_S + 6.7), START_S + 5.3, at_s)
    late = replace(recording, sent=np.stack([at_s, sent_s, np.full(len(at_s), 0.02)], axis=1))
    row = analyse(late, record, {"a": RATE, "b": RATE}).rows[0]
    assert row is not None
    assert row.stale_ms == 0
    assert row.since_onset_ms("silence_s") == pytest.approx(1600, abs=1)


def test_a_burst_after_the_silence_is_stale() -> None:
    story, record = told((3.0, 5.4), (6.5, 6.6), (8.0, 9.0))
    assert passed(story, record) == [True, True, False, True, True]


def test_frames_handed_on_after_the_abort_are_stale() -> None:
    story, record = told((3.0, 5.4), (8.0, 9.0))
    row = story.rows[0]
    assert row is not None
    assert passed(replace(story, rows=[replace(row, stale_frames=1)]), record) == [True, True, False, True, True]


def test_an_interruption_that_was_not_noticed_fails() -> None:
    story, record = told((3.0, 5.4), (8.0, 9.0))
    assert passed(replace(story, rows=[None]), record) == [False, False, False, True, True]


def test_a_question_without_an_answer_fails() -> None:
    story, record = told((3.0, 5.4))
    record.events = [event for event in record.events if event["event"] != "hears_answer"]
    assert passed(story, record) == [True, True, True, False, True]


def test_an_agent_that_answers_in_french_fails() -> None:
    story, record = told((3.0, 5.45), (8.0, 9.0))
    record.replies[1].said = "Bien s\u00fbr, bonjour. The capital of France is Paris."
    assert passed(story, record) == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Bread is made from flour. I'd say it's kneaded, isn't it?", []),
        ("It stood on the island of La Palma, in Sal\u00e9's harbour.", []),
        ("", []),
        ("Bonjour, bonjour! Welcome to France.", ["Bonjour, bonjour!"]),
        ("La capitale de la France est Paris.", ["La capitale de la France est Paris."]),
    ],
)
def test_sentences_that_are_not_english(text: str, foreign: list[str]) -> None:
    assert foreign_sentences(text) == foreign


def test_the_mouth_says_its_speech_in_frames_and_knows_where_it_began() -> None:
    async def story() -> None:
        mouth = Mouth()
        mouth.next_frame()
        speech = np.arange(1, 1500, dtype=np.int16)
        start = mouth.say(speech)
        frames = [mouth.next_frame() for _ in range(2)]
        await mouth.until_said()
        assert start == FRAME_SAMPLES
        assert np.array_equal(np.concatenate(frames)[: len(speech)], speech)
        assert not mouth.next_frame().any()

    asyncio.run(story())


def test_the_ear_plays_what_arrives_early_behind_what_it_plays_and_late_when_it_comes() -> None:
    async def story() -> None:
        ear = Ear()
        loud = np.full(FRAME_SAMPLES, 5000, np.int16)
        for at_s in (10.0, 10.001, 10.2):
            await ear.hear(loud, at_s, at_s)
        heard = ear.recording(10.0, round(0.3 * RATE))
        assert np.flatnonzero(heard)[[0, -1]].tolist() == [0, round(0.22 * RATE) - 1]
        assert np.count_nonzero(heard) == 3 * FRAME_SAMPLES
        assert ear.heard_ms == 60
        await ear.hear(np.zeros(FRAME_SAMPLES, np.int16), 10.22, 10.22)
        assert ear.quiet_ms == 20

    asyncio.run(story())


def test_a_joined_model_file_must_have_the_known_sum(tmp_path: Any) -> None:
    from agents.demo.models import MissingModelError, _join

    parts = [tmp_path / "a", tmp_path / "b"]
    for part in parts:
        part.write_bytes(b"x")
    with pytest.raises(MissingModelError, match="sha256"):
        _join(parts, tmp_path / "model.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_demo_config_with_a_wrong_key_names_the_right_one(tmp_path: Any) -> None:
    from agent_tts.errors import ConfigError
    from agents.demo.settings import read_settings

    path = tmp_path / "demo.yaml"
    path.write_text("call: {interupt_after_ms: 1}")
    with pytest.raises(ConfigError, match="interrupt_after_ms"):
        read_settings(path)
