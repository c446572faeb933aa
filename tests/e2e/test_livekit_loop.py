"""The conversation of the demo through LiveKit Agents, in process: asked, answered, interrupted, answered again.

Real time is the subject: the caller speaks and listens at the speed of speech. Order, counts and sums are asserted,
durations are not.
"""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.plugins.silero", reason="needs pip install 'agent-tts[livekit]' livekit-plugins-silero")

from agent_tts import Engine, EngineConfig, FinishReason
from agent_tts.audio.frames import CHUNK_MS
from agent_tts.livekit import TTS, bind
from tests.e2e.livekit_loop import Clip, Conversation, FrameworkOutput, OurOutput, caller_clips, conversation
from tests.fakes import FRAME_MS, ToneRunner

LONG = " ".join(f"word{number}" for number in range(80))
SHORT = "and this is the other answer"
STORY = (
    "Once upon a time there was a small harbour at the end of a long road. Every morning the fishermen went out before "
    "the sun came up, and every evening they came back with their boats full of silver fish. Only the old lighthouse "
    "keeper never left, because somebody had to watch over the sea."
)
ANSWER = "That is another question, and I am glad to answer it."
LEAD_MS = EngineConfig().lead_ms
SETTLING_S = 0.12
"""How long frames that were emitted before a clear may take to reach the ear's task on a busy machine; what the output
still held when it was not cleared (200 ms) would be heard longer than that."""


@pytest.mark.parametrize(
    ("preset", "output_type"),
    [
        ("framework", FrameworkOutput),
        ("immediate", FrameworkOutput),
        ("immediate", OurOutput),
        ("selective", OurOutput),
    ],
)
async def test_the_agent_stops_when_the_caller_talks_and_answers_the_new_question(
    preset: str, output_type: type[FrameworkOutput | OurOutput]
) -> None:
    first, second = caller_clips()
    async with Engine.from_runner(ToneRunner()) as engine:
        tts = TTS(engine=engine)
        async with conversation(tts, {first.text: LONG, second.text: SHORT}, output_type=output_type) as talk:
            bind(talk.session, preset=preset)
            await talk.mouth.say(first)
            await talk.ear.hears(1.5)
            await talk.mouth.say(second)
            await talk.agent_is("thinking")
            await talk.agent_is("speaking")
            await talk.agent_is("listening")
            check_order(talk)
            check_sums(talk)
            check_history(talk)
        await tts.aclose()
        stats = engine.stats()
        assert (stats.open, stats.running, stats.waiting) == (0, 0, 0)
        assert stats.free_slots == stats.total_slots


async def test_the_bundled_voice_stops_and_answers_too() -> None:
    first, second = caller_clips()
    async with await Engine.load("bundled") as engine:
        tts = TTS(engine=engine)
        async with conversation(tts, {first.text: STORY, second.text: ANSWER}, output_type=OurOutput) as talk:
            bind(talk.session, preset="immediate")
            await talk.mouth.say(first)
            await talk.ear.hears(1.5)
            await talk.mouth.say(second)
            await talk.agent_is("thinking")
            await talk.agent_is("speaking")
            await talk.agent_is("listening")
            check_order(talk)
            interrupted, whole = talk.utterances
            assert interrupted.finish_reason is FinishReason.ABORTED
            heard_ms = [1000 * event.playback_position for event in talk.finished]
            assert interrupted.generated_audio_ms - heard_ms[0] <= LEAD_MS + FRAME_MS
            assert 0 <= heard_ms[1] - whole.generated_audio_ms < CHUNK_MS  # the last chunk is padded
            (cut, was_cut), (answer, answer_cut) = talk.replies
            assert (was_cut, answer_cut, answer) == (True, False, ANSWER)
            assert cut
            assert STORY.startswith(cut)
        await tts.aclose()


async def test_a_backchannel_costs_a_pause_and_nothing_of_the_reply() -> None:
    first, second = caller_clips()
    short = Clip("Yeah.", second.pcm[: second.onset + 5000])
    reply = " ".join(LONG.split(" ")[:30])
    async with Engine.from_runner(ToneRunner()) as engine:
        tts = TTS(engine=engine)
        async with conversation(tts, {first.text: reply}, output_type=OurOutput) as talk:
            bind(talk.session, preset="selective")
            await talk.mouth.say(first)
            await talk.ear.hears(1.0)
            await talk.mouth.say(short)
            await talk.agent_is("listening")
            assert talk.pauses, "the backchannel was not noticed at all"
            assert talk.replies == [(reply, False)]
            assert [event.interrupted for event in talk.finished] == [False]
            (metrics,) = talk.utterances
            assert metrics.finish_reason is FinishReason.COMPLETED
            assert 1000 * talk.finished[0].playback_position == pytest.approx(metrics.generated_audio_ms)
        await tts.aclose()


def check_order(talk: Conversation) -> None:
    """Stopped after the onset, silent until the next reply, which is heard to its end."""
    onset_s = talk.mouth.onsets_s[1]
    old, new = dict.fromkeys(utterance for _, utterance in talk.output.captured)
    stopped_s = min(at for at in talk.output.paused_s + talk.output.cleared_s if at > onset_s)
    cleared_s = min(at for at in talk.output.cleared_s if at > onset_s)
    next_s = min(at for at, utterance in talk.output.captured if utterance == new)
    assert onset_s < stopped_s <= cleared_s < next_s
    assert not [at for at, utterance in talk.output.captured if utterance == old and at > cleared_s]
    assert talk.ear.loud(until_s=onset_s), "nothing was heard of the reply that was interrupted"
    stale = talk.ear.loud(since_s=cleared_s + SETTLING_S, until_s=next_s)
    assert not stale, f"{len(stale)} audible frames after the clear"
    assert talk.ear.loud(since_s=next_s), "the second question got no audible answer"
    assert [event.interrupted for event in talk.finished] == [True, False]


def check_sums(talk: Conversation) -> None:
    """What was generated but not heard stays within the lead limit; the second reply is heard whole."""
    interrupted, whole = talk.utterances
    heard_ms = [1000 * event.playback_position for event in talk.finished]
    assert interrupted.finish_reason is FinishReason.ABORTED
    assert interrupted.generated_audio_ms - heard_ms[0] <= LEAD_MS + FRAME_MS
    assert whole.finish_reason is FinishReason.COMPLETED
    assert whole.generated_audio_ms == pytest.approx(heard_ms[1])


def check_history(talk: Conversation) -> None:
    """The interrupted reply ends with the last word that was heard to its end."""
    (cut, was_cut), (answer, answer_cut) = talk.replies
    assert (was_cut, answer_cut) == (True, False)
    assert answer == SHORT
    word_ms = 4 * FRAME_MS
    heard_words = int(1000 * talk.finished[0].playback_position // word_ms)
    assert cut == " ".join(LONG.split(" ")[:heard_words])
