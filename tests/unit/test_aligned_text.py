"""The pointer's text source: when a frame may be computed, and when words begin and end."""

from __future__ import annotations

import itertools

import pytest

from agent_tts.runtime.aligned_text import AlignedText
from agent_tts.runtime.step import Readiness, RowResult
from agent_tts.text.phonemes import AlignedTextFrontEnd

LOOK_AHEAD = 6


def make_text(*pushes: str, end: bool = True) -> AlignedText:
    source = AlignedText(AlignedTextFrontEnd(), LOOK_AHEAD, window=None)
    for text in pushes:
        source.push(text)
    if end:
        source.end()
    return source


def speak(source: AlignedText, advance: int = 1, limit: int = 1000) -> tuple[list, int]:
    """Step as long as the text allows, with a model that advances by `advance` tokens a frame of 40 ms."""
    words, frames, tokens, pointer = [], 0, 0, 0
    while source.readiness() is Readiness.CAN_STEP and frames < limit:
        work = source.next_work(frames).payload
        if work.begins_segment:
            tokens = pointer = 0
        tokens += len(work.tokens)
        pointer += advance
        done = work.closed and pointer >= tokens
        result = RowResult("u", None, (1,), progress=pointer, segment_done=done)
        words += source.accept(result, 40.0 * frames, 40.0 * (frames + 1))
        frames += 1
    return words, frames


def test_every_word_is_timed_once_in_order_and_without_overlap():
    source = make_text("Hello there, how are you today? I am fine.")
    words, frames = speak(source)
    assert [word.text for word in words] == ["Hello", "there,", "how", "are", "you", "today?", "I", "am", "fine."]
    for before, after in itertools.pairwise(words):
        assert before.start_ms < before.end_ms <= after.start_ms < after.end_ms
    assert words[-1].end_ms <= 40.0 * frames
    assert source.readiness() is Readiness.DONE


def test_speech_waits_before_text_that_is_not_known_yet():
    source = make_text("Could you please tell me the", end=False)
    _, frames = speak(source)
    assert source.readiness() is Readiness.WAITS_FOR_TEXT
    source.push(" way to the station?")
    source.end()
    _, more = speak(source)
    assert frames
    assert more
    assert source.readiness() is Readiness.DONE


@pytest.mark.parametrize("text", ["", "  ", "...", "🙂"])
def test_nothing_to_say_is_done_at_once(text):
    source = make_text(text)
    assert source.readiness() is Readiness.DONE


def test_work_is_given_again_until_it_was_accepted():
    source = make_text("Good morning.")
    assert source.next_work(0) == source.next_work(0)


def test_a_flush_lets_an_unfinished_sentence_be_spoken():
    source = make_text("Good morning my friend", end=False)
    source.flush()
    words, _ = speak(source)
    assert [word.text for word in words] == ["Good", "morning", "my", "friend"]
    assert source.readiness() is Readiness.WAITS_FOR_TEXT


@pytest.mark.parametrize("advance", [1, 2, 3, 9])
def test_a_fast_pointer_loses_no_word(advance):
    words, _ = speak(make_text("It is a b c d e."), advance)
    assert [word.text for word in words] == ["It", "is", "a", "b", "c", "d", "e."]


def test_a_text_that_has_been_spoken_names_no_context_and_retire_may_ask():
    """retire() asks every request; an index into the segments of an ended text killed the engine's thread."""
    source = make_text("Hello there.")
    speak(source)
    assert source.readiness() is Readiness.DONE
    assert source.begins_context()
    assert source.prefix_keys() == ()
