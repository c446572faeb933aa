"""bind(): what a session's events do to the output and to the engine. A session that is made, no clock, no audio."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from livekit.agents.voice import io

from agent_tts.audio.onset_listener import OnsetListener
from agent_tts.barge_in import Event
from agent_tts.errors import ConfigError
from agent_tts.livekit import BindingEvent, PlayoutReporter, bind
from tests.contract.livekit_fakes import FakeSession, FakeUtterance, frame


async def speaking(session: FakeSession, preset: str, **options: Any) -> FakeUtterance:
    """Bind, and let the agent speak."""
    bind(session, preset=preset, **options)  # type: ignore[arg-type]
    utterance = FakeUtterance("said")
    await session.output.audio.capture_frame(frame(utterance))
    session.agent("thinking", "speaking")
    return utterance


async def test_immediate_ends_the_reply_at_the_vad_and_holds_the_output_until_it_is_cleared() -> None:
    session, told = FakeSession(), list[BindingEvent]()
    utterance = await speaking(session, "immediate", on_event=told.append)
    session.user("listening", "speaking")
    assert session.interrupts == 1
    assert utterance.calls == ["pause", "abort"]
    assert session.sink.calls == ["pause"]
    session.sink.on_playback_finished(playback_position=0.02, interrupted=True)
    assert session.sink.calls == ["pause", "resume"]
    assert [event.name for event in told] == ["vad", "decision", "last_frame", "abort", "cleared"]
    assert told[-1].played_ms == pytest.approx(20.0)
    assert {event.utterance_id for event in told} == {"said"}


async def test_selective_pauses_and_goes_on_after_a_short_sound() -> None:
    session = FakeSession()
    utterance = await speaking(session, "selective")
    session.user("listening", "speaking")
    session.user("speaking", "listening")
    session.hears("Mm-hmm.")
    assert session.interrupts == 0
    assert utterance.calls == ["pause", "resume"]


async def test_selective_ends_the_reply_for_a_word_that_means_something() -> None:
    session = FakeSession()
    utterance = await speaking(session, "selective")
    session.user("listening", "speaking")
    session.user("speaking", "listening")
    session.hears("Stop.")
    assert session.interrupts == 1
    assert utterance.calls == ["pause", "resume", "pause", "abort"]


@pytest.mark.parametrize(
    ("preset", "words", "cleared"),
    [("selective", "Yeah.", 1), ("selective", "Stop.", 0), ("immediate", "Yeah.", 0), ("framework", "Yeah.", 0)],
)
async def test_a_backchannel_over_a_reply_that_goes_on_is_not_left_for_the_next_turn(
    preset: str, words: str, cleared: int
) -> None:
    """LiveKit kept "yeah" and answered it in the middle of the next question, whose words were still to come."""
    session = FakeSession()
    await speaking(session, preset)
    session.user("listening", "speaking")
    session.user("speaking", "listening")
    session.hears(words)
    assert session.cleared_turns == 0, "the framework adds the words after it has told of them"
    await asyncio.sleep(0)
    assert session.cleared_turns == cleared


@pytest.mark.parametrize(
    ("knows", "near", "cleared"), [(True, False, 1), (True, True, 0), (False, False, 0)], ids=["far", "near", "unknown"]
)
async def test_words_from_far_away_over_a_reply_are_not_answered(
    monkeypatch: pytest.MonkeyPatch, knows: bool, near: bool, cleared: int
) -> None:
    """LiveKit took side talk of three words and more for a turn of the caller, and cut the reply for it."""
    monkeypatch.setattr(OnsetListener, "knows_caller", knows)
    session = FakeSession()
    session.input.audio = io.AudioInput(label="microphone")
    binding = bind(session, preset="selective")  # type: ignore[arg-type]
    assert binding.barge_in is not None
    await session.output.audio.capture_frame(frame(FakeUtterance("said")))
    session.agent("thinking", "speaking")
    session.user("listening", "speaking")
    if near:
        binding.barge_in.handle(Event.NEAR, 1.0)
        binding.barge_in.handle(Event.QUIET, 2.0)
    session.user("speaking", "listening")
    session.hears("Did you feed the cat this morning?")
    await asyncio.sleep(0)
    assert session.cleared_turns == cleared


async def test_words_said_before_the_reply_began_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnsetListener, "knows_caller", True)
    session = FakeSession()
    session.input.audio = io.AudioInput(label="microphone")
    bind(session, preset="selective")  # type: ignore[arg-type]
    session.user("listening", "speaking")
    session.user("speaking", "listening")
    session.agent("thinking", "speaking")
    session.hears("And one for my daughter, please.")
    await asyncio.sleep(0)
    assert session.cleared_turns == 0


async def test_late_words_of_an_interruption_are_kept_though_the_next_reply_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing near had been heard over the new reply, so the caller's own question was taken for somebody far away."""
    monkeypatch.setattr(OnsetListener, "knows_caller", True)
    session = FakeSession()
    session.input.audio = io.AudioInput(label="microphone")
    binding = bind(session, preset="selective")  # type: ignore[arg-type]
    assert binding.barge_in is not None
    await session.output.audio.capture_frame(frame(FakeUtterance("said")))
    session.agent("thinking", "speaking")
    session.user("listening", "speaking")
    for event in (Event.SUSPICION, Event.NEAR, Event.TALKING):
        binding.barge_in.handle(event, 1.0)
    session.user("speaking", "listening")
    session.agent("speaking", "thinking")
    session.agent("thinking", "speaking")
    session.hears("And one for my daughter, please.")
    await asyncio.sleep(0)
    assert session.cleared_turns == 0


async def test_words_of_a_caller_who_talks_on_are_kept() -> None:
    session = FakeSession()
    await speaking(session, "selective")
    session.user("listening", "speaking")
    session.user("speaking", "listening")
    session.user_state = "speaking"
    session.hears("Yeah.")
    await asyncio.sleep(0)
    assert session.cleared_turns == 0


async def test_framework_only_reports() -> None:
    session = FakeSession()
    utterance = await speaking(session, "framework")
    session.user("listening", "speaking")
    session.hears("Stop.")
    assert (session.interrupts, utterance.calls, session.sink.calls) == (0, [], [])
    session.output.audio.clear_buffer()  # the framework's own decision
    assert utterance.calls == ["abort"]


async def test_with_framework_its_own_pauses_are_told() -> None:
    session, told = FakeSession(), list[BindingEvent]()
    await speaking(session, "framework", on_event=told.append)
    session.output.audio.pause()
    session.output.audio.resume()
    session.output.audio.resume()
    assert [event.name for event in told] == ["duck", "resumed"]


@pytest.mark.parametrize("preset", ["immediate", "selective"])
async def test_speech_that_may_not_be_interrupted_is_not(preset: str) -> None:
    session = FakeSession()
    session.current_speech = SimpleNamespace(allow_interruptions=False)
    utterance = await speaking(session, preset)
    session.user("listening", "speaking")
    session.hears("Stop.")
    assert (session.interrupts, utterance.calls, session.sink.calls) == (0, [], [])


async def test_a_reply_that_a_tool_protects_while_it_is_paused_goes_on() -> None:
    """The decision was ignored, and with it the pause stayed: nothing was left that would have ended it."""
    session = FakeSession()
    utterance = await speaking(session, "selective")
    session.user("listening", "speaking")
    assert session.sink.calls == ["pause"]
    session.current_speech.allow_interruptions = False
    session.user("speaking", "listening")
    session.user("listening", "speaking")
    session.hears("Stop.")
    assert (session.interrupts, session.sink.calls, utterance.calls) == (0, ["pause", "resume"], ["pause", "resume"])
    session.current_speech.allow_interruptions = True
    session.user("speaking", "listening")
    session.user("listening", "speaking")
    session.hears("Stop.")
    assert session.interrupts == 1, "and can be ended when it may be again"


async def test_a_reply_that_is_protected_in_the_very_pause_goes_on() -> None:
    session = FakeSession()
    utterance = await speaking(session, "selective")
    session.user("listening", "speaking")
    session.current_speech.allow_interruptions = False
    session.hears("Stop.")
    assert (session.interrupts, session.sink.calls, utterance.calls) == (0, ["pause", "resume"], ["pause", "resume"])


async def test_the_frameworks_pause_and_ours_do_not_undo_each_other() -> None:
    session = FakeSession()
    await speaking(session, "selective")
    reporter: PlayoutReporter = session.output.audio
    session.user("listening", "speaking")  # ours
    reporter.pause()  # the framework's
    reporter.resume()
    assert session.sink.calls == ["pause"]
    session.user("speaking", "listening")
    assert session.sink.calls == ["pause", "resume"]


@pytest.mark.parametrize(("preset", "before", "after"), [("selective", 0, 3), ("selective", 5, 5), ("immediate", 0, 0)])
async def test_selective_leaves_short_sounds_to_the_policy_unless_told_otherwise(
    preset: str, before: int, after: int
) -> None:
    session = FakeSession(min_words=before)
    bind(session, preset=preset)  # type: ignore[arg-type]
    assert session.options.interruption["min_words"] == after


async def test_binding_too_early_and_unknown_presets_are_named() -> None:
    session = FakeSession()
    with pytest.raises(ConfigError, match="'selective'"):
        bind(session, preset="eager")  # type: ignore[arg-type]
    session.output.audio = None
    with pytest.raises(ConfigError, match=r"after session\.start"):
        bind(session)  # type: ignore[arg-type]
