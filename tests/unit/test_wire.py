"""Messages and values survive the wire, and what is not one of ours is refused without a look at what it says."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace

import numpy as np
import pytest

from agent_tts.errors import (
    ConfigError,
    ConsentError,
    EngineBusyError,
    EngineClosedError,
    EngineUnavailableError,
    GenerationError,
    UnknownVoiceError,
)
from agent_tts.remote import values, wire
from agent_tts.remote.wire import Kind, Message, ProtocolError
from agent_tts.runtime.door import Order
from agent_tts.types import AudioChunk, EngineStats, FinishReason, SamplingParams, TtsMetrics, WordTime

CHUNK = AudioChunk("u", "v", np.arange(-240, 240, dtype=np.int16), 24_000, 7, 140.0, 12, 301, True)
WORDS = (WordTime("naïve", 0, 5, 0.0, 120.5), WordTime("東京", 6, 8, 120.5, 160.0))


def messages(data: bytes, limit: int = wire.MAX_PAYLOAD) -> list[Message]:
    async def read() -> list[Message]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while (message := await wire.read_message(reader, limit)) is not None:
            found.append(message)
        return found

    return asyncio.run(read())


@pytest.mark.parametrize("words", [(), WORDS])
def test_a_chunk_arrives_as_it_left(words):
    (message,) = messages(wire.pack_audio(3, replace(CHUNK, words=words)))
    piece = wire.read_audio(message)
    assert (message.kind, message.number) == (Kind.AUDIO, 3)
    assert piece.pcm.dtype == np.int16
    assert piece.pcm.tolist() == CHUNK.pcm.tolist()
    assert (piece.index, piece.num_samples, piece.text_end, piece.is_final) == (7, 301, 12, True)
    assert piece.words == words


def test_a_word_without_end_is_shortened_and_its_place_is_not():
    endless = WordTime("a" * 100_000, 0, 100_000, 0.0, 20.0)
    (message,) = messages(wire.pack_audio(1, replace(CHUNK, words=(endless,))))
    (word,) = wire.read_audio(message).words
    assert len(word.text) == wire.MAX_WORD
    assert word.text_end == 100_000


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_chunk_that_is_not_whole_is_refused(cut):
    (message,) = messages(wire.pack_audio(1, replace(CHUNK, words=WORDS)))
    with pytest.raises(ProtocolError):
        wire.read_audio(replace(message, payload=message.payload[:cut]))


@pytest.mark.parametrize("text", ["", "hello", "ö" * 10_000, "😀" * 5_000, "a lone \ud83d surrogate"])
def test_text_of_any_length_arrives_whole(text):
    arrived = messages(wire.text_messages(5, text), 32_768)
    assert "".join(wire.read_text(message) for message in arrived) == text.replace("\ud83d", "?")
    assert {message.number for message in arrived} <= {5}


def test_a_message_that_is_cut_off_is_the_end_and_one_that_is_too_long_is_refused():
    assert messages(wire.pack(Kind.TEXT, 1, b"hello")[:-1]) == []
    with pytest.raises(ProtocolError, match="a message of 11 bytes; 10 are allowed"):
        messages(wire.pack(Kind.TEXT, 1, b"hello world"), 10)


def test_orders_metrics_and_stats_arrive_as_they_left():
    order = Order("u", "v", SamplingParams(seed=3, temperature=0.5), 400.0)
    assert values.order_from_json(values.order_to_json(order)) == order
    stats = EngineStats(**{item.name: index for index, item in enumerate(fields(EngineStats))})
    assert values.stats_from_json(values.stats_to_json(stats)) == stats
    counted = {item.name: None for item in fields(TtsMetrics)} | {"finish_reason": FinishReason.LENGTH}
    metrics = TtsMetrics(**counted)
    assert values.metrics_from_json(values.metrics_to_json(metrics)) == metrics
    newer = {"something_new": 1}
    assert values.metrics_from_json(values.metrics_to_json(metrics) | newer) == metrics
    assert values.stats_from_json(values.stats_to_json(stats) | newer) == stats


@pytest.mark.parametrize(
    "error",
    [
        UnknownVoiceError("x", ["b", "a"]),
        EngineBusyError(3, 2),
        ConfigError("no"),
        ConsentError("it is over"),
        GenerationError("it failed"),
    ],
)
def test_errors_are_the_same_on_the_other_side(error):
    arrived = values.error_from_json(values.error_to_json(error), "unix:///x")
    assert (type(arrived), str(arrived)) == (type(error), str(error))


def test_an_engine_that_closes_is_for_its_clients_one_that_is_gone():
    arrived = values.error_from_json(values.error_to_json(EngineClosedError()), "unix:///x")
    assert isinstance(arrived, EngineUnavailableError)
    assert "unix:///x" in str(arrived)


@pytest.mark.parametrize("broken", [{}, {"kind": "busy"}, {"kind": "unknown_voice", "name": "x"}])
def test_an_error_that_is_not_whole_is_refused(broken):
    with pytest.raises(ProtocolError):
        values.error_from_json(broken, "unix:///x")
