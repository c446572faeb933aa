"""The reporter in front of an audio output: what the engine learns of playout, pauses and clears."""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from livekit import rtc
from livekit.agents.voice import io

from agent_tts.livekit import PlayoutReporter
from tests.contract.livekit_fakes import FakeSink, FakeUtterance, frame
from tests.fakes import SAMPLE_RATE, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
async def reporter(sink: FakeSink, clock: FakeClock) -> PlayoutReporter:
    return PlayoutReporter(sink, clock=clock)


async def test_nothing_counts_as_played_before_the_sink_plays(reporter: PlayoutReporter, clock: FakeClock) -> None:
    utterance = FakeUtterance()
    await reporter.capture_frame(frame(utterance, ms=500))
    clock.advance_ms(300)
    reporter.pause()
    reporter.resume()
    assert utterance.reports == [0.0]  # without this first report the engine would assume that it plays


async def test_the_position_stands_still_while_paused_and_never_passes_what_was_pushed(
    reporter: PlayoutReporter, sink: FakeSink, clock: FakeClock
) -> None:
    utterance = FakeUtterance()
    await reporter.capture_frame(frame(utterance, ms=500))
    sink.on_playback_started(created_at=0.0)
    clock.advance_ms(120)
    assert reporter.position_s() == pytest.approx(0.12)
    reporter.pause()
    clock.advance_ms(5000)
    assert reporter.position_s() == pytest.approx(0.12)
    reporter.resume()
    clock.advance_ms(80)
    assert reporter.position_s() == pytest.approx(0.2)
    clock.advance_ms(5000)
    assert reporter.position_s() == pytest.approx(0.5)
    assert utterance.calls == sink.calls == ["pause", "resume"]


async def test_an_utterance_that_begins_while_the_output_is_paused_is_paused_too(reporter: PlayoutReporter) -> None:
    utterance = FakeUtterance()
    reporter.pause()
    await reporter.capture_frame(frame(utterance))
    reporter.resume()
    assert utterance.calls == ["pause", "resume"]


async def test_a_clear_aborts_the_utterance_before_the_sink_is_asked(reporter: PlayoutReporter, sink: FakeSink) -> None:
    utterance = FakeUtterance()
    await reporter.capture_frame(frame(utterance))
    utterance.calls = sink.calls  # one list for both: it shows the order
    reporter.clear_buffer()
    assert sink.calls == ["abort", "clear"]


async def test_an_interrupted_reply_ends_at_the_last_word_heard(reporter: PlayoutReporter, sink: FakeSink) -> None:
    finished: list[io.PlaybackFinishedEvent] = []
    reporter.on("playback_finished", finished.append)
    utterance = FakeUtterance()
    await reporter.capture_frame(frame(utterance, ms=500))
    sink.on_playback_finished(playback_position=0.3, interrupted=True)
    assert [event.synchronized_transcript for event in finished] == ["the text heard by 300 ms"]
    assert utterance.reports[-1] == pytest.approx(300)


async def test_a_reply_heard_whole_keeps_the_frameworks_transcript(reporter: PlayoutReporter, sink: FakeSink) -> None:
    finished: list[io.PlaybackFinishedEvent] = []
    reporter.on("playback_finished", finished.append)
    await reporter.capture_frame(frame(FakeUtterance()))
    sink.on_playback_finished(playback_position=0.02, interrupted=False, synchronized_transcript="all of it")
    assert [event.synchronized_transcript for event in finished] == ["all of it"]


async def test_a_second_utterance_starts_at_nought(reporter: PlayoutReporter, sink: FakeSink, clock: FakeClock) -> None:
    first, second = FakeUtterance(), FakeUtterance()
    await reporter.capture_frame(frame(first, ms=500))
    sink.on_playback_started(created_at=0.0)
    clock.advance_ms(500)
    reporter.flush()
    sink.on_playback_finished(playback_position=0.5, interrupted=False)
    await reporter.capture_frame(frame(second, ms=500))
    assert reporter.position_s() == 0.0
    assert second.reports == [0.0]
    assert first.reports[-1] == pytest.approx(500)


async def test_frames_of_another_tts_pass_through(reporter: PlayoutReporter, sink: FakeSink) -> None:
    plain = rtc.AudioFrame.create(SAMPLE_RATE, 1, 480)
    await reporter.capture_frame(plain)
    reporter.clear_buffer()
    assert reporter.utterance is None
    assert sink.calls == ["clear"]
