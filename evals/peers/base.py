"""What an evaluated TTS has to offer: the one interface between the evaluations and every engine, library or server.

    peer = Peer(...); await peer.open()
    reply = peer.reply()                      # one turn of speech
    reply.push_text("Hello, "); reply.end_text()
    async for piece in reply: ...             # Piece: int16 PCM as it came, never collected into blocks
    reply.abort(); await reply.released()

What a peer cannot do stands in its `Abilities`; the evaluations print it beside the figures.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from agent_tts import WordTime

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a peer can do, and in plain words what not.

    Attributes:
        text: How it takes text: as it is written, sentence by sentence, or whole.
        audio: What it gives out: frames while it computes, sentences, or the whole at once.
        abort: What abort() stops: the step in flight, the sentences after this one, the connection, or nothing.
    """

    text: Literal["stream", "sentences", "whole"]
    audio: Literal["frames", "sentences", "whole"]
    abort: Literal["step", "sentence", "connection", "nothing"]
    pause: bool = False
    words: bool = False
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A portion of audio as the peer handed it over."""

    pcm: Pcm


class PeerUnavailableError(Exception):
    """This peer cannot run here; the message says what is missing and how to get it."""


class ReplyFailedError(RuntimeError):
    """A reply that the peer did not give; the message says why in a few words ("HTTP 429") and holds no text."""


class Reply(Protocol):
    """One turn of speech of a peer. Single consumer."""

    id: str

    def push_text(self, text: str) -> None: ...

    def end_text(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    def abort(self) -> None:
        """Ask for the end. Never waits; nothing may be delivered after it has returned."""
        ...

    async def released(self) -> None:
        """Wait until the peer has stopped working for this reply."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def report_playout(self, played_ms: float) -> None: ...

    def heard_text(self, played_ms: float) -> str:
        """What the peer says was heard by then; an estimate where it times no words."""
        ...

    @property
    def words(self) -> tuple[WordTime, ...]:
        """Words and when they sound; empty where the peer cannot tell."""
        ...

    def facts(self) -> dict[str, float | int | None]:
        """What the peer itself measured: ttfa_first_frame_ms, rtf_compute, generated_ms, frames_wasted, ..."""
        ...


class Peer(Protocol):
    """A TTS under evaluation."""

    name: str
    abilities: Abilities

    @property
    def sample_rate(self) -> int:
        """Hz; known after open()."""
        ...

    async def open(self) -> None:
        """Load or connect. Raises PeerUnavailableError."""
        ...

    async def close(self) -> None: ...

    def reply(self, *, voice: str = "default") -> Reply: ...

    def pages_leaked(self) -> int | None:
        """KV pages that are neither free nor cached while nothing is open; None where there are no pages."""
        ...


class QuietReply:
    """Defaults for replies that cannot pause, time no words and measure nothing of their own."""

    _names = itertools.count(1)

    def __init__(self) -> None:
        self.id = f"reply-{next(self._names)}"
        self.text = ""
        self.generated_ms = 0.0

    def pause(self) -> None:
        """Not offered: the player holds the audio back."""

    def resume(self) -> None:
        """Not offered."""

    def report_playout(self, played_ms: float) -> None:
        """Not wanted."""

    @property
    def words(self) -> tuple[WordTime, ...]:
        return ()

    def heard_text(self, played_ms: float) -> str:
        """By proportion of the audio made so far, cut at a word."""
        if not self.generated_ms or played_ms <= 0:
            return ""
        if played_ms >= self.generated_ms:
            return self.text
        cut = self.text[: int(len(self.text) * played_ms / self.generated_ms)]
        return cut[: cut.rfind(" ") + 1].rstrip()

    def facts(self) -> dict[str, float | int | None]:
        return {"generated_ms": self.generated_ms}


def heard_of(sentences: Sequence[tuple[str, float]], played_ms: float) -> str:
    """What was heard of sentences whose audio is so long, ms: whole ones, and a share of the next, cut at a word."""
    heard = []
    for sentence, made_ms in sentences:
        if played_ms < made_ms:
            cut = sentence[: int(len(sentence) * max(0.0, played_ms) / made_ms)]
            heard.append(cut[: cut.rfind(" ") + 1])
            break
        heard.append(sentence)
        played_ms -= made_ms
    return " ".join(heard).strip()
