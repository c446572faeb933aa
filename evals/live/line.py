"""A caller's end of a real call, whatever carries it: what a live measurement needs of a room or of a browser.

A module for one way to call (evals/live/WHERES) has `open_line(setting)`: it starts whatever the agent needs, calls it,
yields the line, and ends all of it. Mouth, ear and what the agent tells are kept in the line's Hearing, on one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from evals.live.hearing import Hearing
from evals.live.tracks import Pcm, Tracks

WHERES: Mapping[str, tuple[str, str]] = {
    "room": ("evals.live.room", "a participant of a LiveKit room"),
    "room-browser": ("evals.live.room_browser", "Chromium in a LiveKit room"),
    "pipecat-browser": ("evals.live.pipecat_browser", "Chromium over Pipecat's WebRTC transport"),
    "sip": ("evals.live.sip", "a phone that calls livekit-sip, over SIP and RTP"),
    "in-process": ("evals.live.in_process", "a LiveKit session without a room"),
}


class CannotCallError(RuntimeError):
    """This machine lacks something for this kind of call; the message says what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a line is opened with.

    Attributes:
        preset: The agent's barge-in preset: immediate, selective or framework.
        llm_url: An OpenAI endpoint that answers at an LLM's pace (evals/live/llm.py).
        folder: For config files, logs and sockets of this run.
        narrate: Says what is being started.
    """

    preset: str
    llm_url: str
    folder: Path
    narrate: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Packets:
    """What came over the wire at the caller's end, as its WebRTC stack or our phone counts it."""

    received: int
    lost: int
    samples: int
    """Decoded audio, at `sample_rate`."""
    sample_rate: int = 48_000
    reordered: int | None = None
    """Came after one that was sent later; None where the stack does not tell, as for `late`."""
    late: int | None = None
    """Came after its turn, and was not played."""

    @property
    def ms_each(self) -> float | None:
        """Audio in one packet."""
        return 1000 * self.samples / self.sample_rate / self.received if self.received else None


class Line(Protocol):
    """A call that is up: the agent is there, its audio arrives, the microphone is open and silent."""

    hearing: Hearing

    async def say(self, pcm: Pcm) -> object:
        """Speak a clip (int16, tracks.RATE) with the next frame; returns when it has been said."""
        ...

    async def tracks(self) -> Tracks:
        """Mouth and ear of the whole call so far, on time.monotonic()."""
        ...

    async def packets(self) -> Packets | None:
        """Since the call began; None where the stack does not tell."""
        ...


LineOpener = Callable[[Setting], AbstractAsyncContextManager[Line]]


def opener_of(where: str) -> LineOpener:
    """The `open_line` of one way to call."""
    opener: LineOpener = import_module(WHERES[where][0]).open_line
    return opener
