"""The selective set and what it needs: an STT that is late, voices, and the caller's turn before a reply."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agent_tts.barge_in import Event
from evals import virtual_time
from evals.calls.call import CallSetting, run_event
from evals.calls.clips import SOUNDS, VOICES, clip, speech
from evals.calls.reactions import HEARING_RATE, Signal
from evals.calls.scenario import FOLDER, EventPlan, Scenario, load, plan
from evals.calls.stt import Stt
from evals.metrics.barge_in import judge
from evals.peers.tone import TonePeer

FRAME = np.zeros(HEARING_RATE // 50, np.float32)
FEWEST = 30


def heard(stt: Stt, start: int, end: int, *, frames: int) -> list[tuple[int, str]]:
    """Frames of 20 ms with speech from one to another; which words came with which frame."""
    found = []
    for number in range(frames):
        vad = {start: [Event.SPEECH_STARTED], end: [Event.SPEECH_ENDED]}.get(number, [])
        found += [(number, words) for _, words in stt.hear(FRAME, number * 0.02, vad)]
    return found


def test_a_final_transcript_comes_after_the_end_of_speech_and_the_models_delay() -> None:
    stt = Stt(lambda samples: f"{len(samples)}", delay_s=0.09, partial_s=None)
    assert heard(stt, 50, 80, frames=100) == [(85, f"{(25 + 31) * len(FRAME)}")]


def test_partial_transcripts_come_while_the_caller_speaks() -> None:
    stt = Stt(lambda samples: "words", delay_s=0.09, partial_s=0.29)
    assert [number for number, _ in heard(stt, 50, 82, frames=100)] == [70, 85, 87]


def test_nothing_heard_is_nothing_told() -> None:
    assert heard(Stt(lambda samples: " ", delay_s=0.09, partial_s=None), 50, 80, frames=100) == []


def test_the_set_has_enough_of_every_class_and_several_voices() -> None:
    plans = plan(load(FOLDER / "set"))
    kinds = Counter(item.scenario.kind for item in plans)
    assert set(kinds) == {"interruption", "backchannel", "cough", "noise", "side talk", "echo"}
    assert min(kinds.values()) >= FEWEST
    assert len({item.key for item in plans}) == len(plans)
    voices = {item.clip.partition(":")[0] for item in plans if item.clip.startswith("say")}
    assert len(voices) >= 6
    assert all(voice.partition("@")[2] in VOICES for voice in voices)


@pytest.mark.parametrize("name", sorted(SOUNDS))
def test_every_sound_is_the_same_for_a_seed_and_has_its_level(name: str) -> None:
    made = clip(name, seed=3, level_db=-30.0, ms=3_000.0)
    assert (made == clip(name, seed=3, level_db=-30.0, ms=3_000.0)).all()
    assert 0 < np.abs(made).max() < 1


def test_a_caller_says_the_same_in_the_same_way_in_every_run() -> None:
    pytest.importorskip("hibari")
    made = clip("say@slow:Stop.")
    speech.cache_clear()
    assert (made == clip("say@slow:Stop.")).all()


def test_an_unknown_voice_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="middle"):
        clip("say@nobody:Hello.")


class Notes:
    """A reaction that writes down when it heard sound."""

    name = "notes"

    def __init__(self) -> None:
        self.loud: list[bool] = []

    def hear(self, samples: np.ndarray, at_s: float, *, agent_speaks: bool) -> list[Signal]:
        if np.abs(samples).max() > 0.01:
            self.loud.append(agent_speaks)
        return []


def test_the_callers_turn_before_a_reply_is_heard_while_the_agent_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = np.full(HEARING_RATE // 2, 0.1, np.float32)
    monkeypatch.setattr("evals.calls.call.clip", lambda kind, **_: spoken)
    notes = Notes()
    item = EventPlan(Scenario("test", "class", "absent", before="Hello."), 300, "voiced", 0)
    (event,) = virtual_time.run(run_event(TonePeer(), item, CallSetting(make_reaction=lambda: notes), 1))
    assert judge(event).outcome == "kept"
    assert notes.loud == [False] * 25 + [True] * 25
