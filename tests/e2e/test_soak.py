"""The soak, short: every moment of a reply interrupted in virtual time; and what is broken on purpose is caught."""

from __future__ import annotations

import json

import pytest

from agent_tts import Engine
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.request import Request
from agent_tts.runtime.scheduler import Scheduler
from evals import virtual_time
from evals.soak import run as soak
from evals.soak.caller import WRONG, Moment
from evals.soak.run import Soak, count_left, slope, soak_virtually
from tests.fakes import ToneRunner


def test_three_hundred_interruptions_of_both_kinds_of_model_leave_nothing_behind(capsys, tmp_path):
    assert soak.main(["-n", "300", "--out", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    for figures in line["figures"].values():
        assert set(figures["moments"].values()) == {150 // len(Moment)}
        assert figures["control_replies"] >= 2
    prompt, cached, _ = line["figures"]["prompt, virtual time"]["prompt_tokens_cached_evicted"]
    assert 0 < cached < prompt, "voices are taken from the prefix cache"
    assert {gate["name"] for gate in line["gates"]} >= {*WRONG, "pages leaked", "objects of utterances left"}


def run(runner: ToneRunner | None = None) -> Soak:
    found = Soak("broken")
    virtual_time.run(soak_virtually(found, runner or ToneRunner(), 60, seed=1))
    return found


def wrong(found: Soak) -> set[str]:
    return {name for name, count in found.tally.wrong.items() if count}


def test_an_engine_that_is_whole_passes_with_the_runner_of_the_broken_ones():
    assert wrong(run()) == set()


def test_chunks_that_come_after_an_abort_are_caught(monkeypatch):
    abort = AudioStream.abort

    def leak(self: AudioStream) -> bool:
        waiting = list(self._pending)
        done = abort(self)
        if waiting:
            self._pending.extend(waiting)
            self._aborted, self._ended, self._paused = False, True, False
        return done

    monkeypatch.setattr(AudioStream, "abort", leak)
    assert "stale frames" in wrong(run())


def test_an_engine_that_runs_ahead_of_its_listener_is_caught(monkeypatch):
    monkeypatch.setattr(AudioStream, "lead_ms", lambda self: 0.0)
    assert "computed beyond the lead" in wrong(run())


def test_a_pause_that_drops_what_was_waiting_is_caught(monkeypatch):
    pause = AudioStream.pause

    def drop(self: AudioStream) -> None:
        self._pending.clear()
        pause(self)

    monkeypatch.setattr(AudioStream, "pause", drop)
    assert "chunk lost or repeated" in wrong(run())


def test_a_slot_that_keeps_the_state_of_its_last_user_is_heard_in_the_control_reply():
    class Haunted(ToneRunner):
        def close_slot(self, slot: int) -> None:
            self.open_slots.pop(slot, None)

    uneven = 410.0  # whole periods in a frame would sound the same from any frame on
    assert wrong(run(ToneRunner(frequency_hz=uneven))) == set()
    assert wrong(run(Haunted(frequency_hz=uneven))) == {"control reply changed"}


def test_a_slot_that_does_not_come_back_breaks_the_books(monkeypatch):
    retire = Scheduler.retire

    def forget(self: Scheduler, request: Request) -> None:
        retire(self, request)
        if self._free_slots and request.slot is not None:
            self._free_slots.remove(request.slot)

    monkeypatch.setattr(Scheduler, "retire", forget)
    with pytest.raises(AssertionError):
        run()


def test_an_utterance_that_somebody_keeps_is_counted(monkeypatch):
    kept = []
    ended = Engine._utterance_ended
    before = count_left()
    monkeypatch.setattr(Engine, "_utterance_ended", lambda *args: (kept.append(args), ended(*args)))
    run()
    assert count_left() - before >= 3 * len(kept) > 0
    kept.clear()
    assert count_left() == before


def test_the_slope_of_memory_is_that_of_the_last_two_thirds():
    warm_up = [(count, 10**9 + 5_000 * count) for count in range(0, 1_000, 100)]
    flat = [(count, 2 * 10**9 + 7 * count) for count in range(1_000, 3_100, 100)]
    assert slope([*warm_up, *flat]) == pytest.approx(7, abs=1e-3)
    assert slope(warm_up) is None
