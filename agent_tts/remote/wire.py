"""The messages between an engine's process and its clients, as bytes. Knows no socket and no engine.

    message = size of payload (u32) | kind (u8) | number of the utterance (u32, 0 = the connection) | payload
              big-endian

docs/server.md describes every kind. Sizes are limited before anything is allocated; a message that is not one of ours
raises ProtocolError, and whoever reads it closes the connection.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from agent_tts.types import AudioChunk, Pcm, WordTime

PROTOCOL = 1
MAX_PAYLOAD = 262_144
MAX_TEXT_PIECE = 4_096
"""Characters of one TEXT message; a client cuts longer text."""
MAX_WORD = 256
"""Characters of a word in AUDIO; its positions stay those of the whole word."""

_HEADER = struct.Struct("!IBI")
_AUDIO = struct.Struct("!IIIIB")  # index, text_end, num_samples, bytes of words, is_final
_PLAYOUT = struct.Struct("!d")


class ProtocolError(Exception):
    """The other side sent what this protocol does not have. The message never holds what it sent as text."""


class Kind(IntEnum):
    """What a message is. The hundreds come from the server."""

    HELLO = 1
    PING = 2
    OPEN = 10
    TEXT = 11
    FLUSH = 12
    END = 13
    ABORT = 14
    PAUSE = 15
    RESUME = 16
    PLAYOUT = 17
    WELCOME = 101
    STATE = 102
    REFUSED = 103
    AUDIO = 110
    ENDED = 111
    RELEASED = 112


@dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """The payload of AUDIO: a chunk without what both sides know already."""

    index: int
    pcm: Pcm
    num_samples: int
    text_end: int
    is_final: bool
    words: tuple[WordTime, ...]


def pack(kind: Kind, number: int = 0, payload: bytes = b"") -> bytes:
    assert len(payload) <= MAX_PAYLOAD, f"a {kind.name} message of {len(payload)} bytes"
    return _HEADER.pack(len(payload), kind, number) + payload


def pack_json(kind: Kind, number: int, value: dict[str, Any]) -> bytes:
    return pack(kind, number, json.dumps(value, separators=(",", ":")).encode())


async def read_message(reader: asyncio.StreamReader, max_payload: int = MAX_PAYLOAD) -> Message | None:
    """The next message, None at the end of the connection. Raises ProtocolError, OSError."""
    try:
        size, kind, number = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if size > max_payload:
            raise ProtocolError(f"a message of {size} bytes; {max_payload} are allowed here")
        payload = await reader.readexactly(size) if size else b""
    except asyncio.IncompleteReadError:
        return None
    try:
        return Message(Kind(kind), number, payload)
    except ValueError:
        raise ProtocolError(f"a message of the unknown kind {kind}") from None


def read_json(message: Message) -> dict[str, Any]:
    """The payload as a JSON object. Raises ProtocolError."""
    try:
        value = json.loads(message.payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ProtocolError(f"a {message.kind.name} message that is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"a {message.kind.name} message that is not a JSON object")
    return value


def read_text(message: Message) -> str:
    try:
        return message.payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError("a TEXT message that is not UTF-8") from None


def text_messages(number: int, text: str) -> bytes:
    """Text of any length as TEXT messages. A lone surrogate, which UTF-8 does not have, becomes a question mark."""
    pieces = (text[start : start + MAX_TEXT_PIECE] for start in range(0, len(text), MAX_TEXT_PIECE))
    return b"".join(pack(Kind.TEXT, number, piece.encode(errors="replace")) for piece in pieces)


def pack_playout(number: int, played_ms: float) -> bytes:
    return pack(Kind.PLAYOUT, number, _PLAYOUT.pack(played_ms))


def read_playout(message: Message) -> float:
    try:
        (played_ms,) = _PLAYOUT.unpack(message.payload)
    except struct.error:
        raise ProtocolError("a PLAYOUT message that is not one number") from None
    if not 0 <= played_ms < 1e12:
        raise ProtocolError("a PLAYOUT message whose position is not possible")
    return float(played_ms)


def pack_audio(number: int, chunk: AudioChunk) -> bytes:
    words = _pack_words(chunk.words)
    head = _AUDIO.pack(chunk.index, chunk.text_end, chunk.num_samples, len(words), chunk.is_final)
    return pack(Kind.AUDIO, number, head + words + chunk.pcm.astype("<i2").tobytes())


def read_audio(message: Message) -> Piece:
    payload = message.payload
    try:
        index, text_end, num_samples, words_size, is_final = _AUDIO.unpack_from(payload)
        pcm = np.frombuffer(payload, "<i2", offset=_AUDIO.size + words_size).astype(np.int16)
        words = _read_words(payload[_AUDIO.size : _AUDIO.size + words_size])
    except (struct.error, ValueError, TypeError):
        raise ProtocolError("an AUDIO message that is not whole") from None
    if num_samples > len(pcm):
        raise ProtocolError("an AUDIO message with fewer samples than it says")
    return Piece(index, pcm, num_samples, text_end, bool(is_final), words)


def _pack_words(words: Sequence[WordTime]) -> bytes:
    if not words:
        return b""
    rows = [[word.text[:MAX_WORD], word.text_start, word.text_end, word.start_ms, word.end_ms] for word in words]
    return json.dumps(rows, separators=(",", ":")).encode()


def _read_words(data: bytes) -> tuple[WordTime, ...]:
    return tuple(WordTime(*row) for row in json.loads(data)) if data else ()


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
