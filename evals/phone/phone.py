"""A measuring phone as a caller's end of a call: SIP and RTP (PCMU, 8 kHz, 20 ms) with every packet's time kept.

Mouth: the clean clip, before mu-law. A packet holds the 20 ms before it is sent, as with any phone, so a sample sounds
up to 20 ms before its packet goes out. Ear: what a phone with a fixed jitter buffer plays (ear.py). Both on
time.monotonic(). The phone talks to 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
import soxr

from evals.live.hearing import Hearing
from evals.live.line import Packets
from evals.live.tracks import RATE, Frame, Pcm, Tracks, recording
from evals.phone.ear import at_line_rate, play
from evals.phone.mulaw import PHONE_RATE, decode, encode
from evals.phone.rtp import PACKET, PACKET_S, SILENCE, Packet, RtpPort
from evals.phone.sip import Call, answered_at, offer

FRAME = round(RATE * PACKET_S)
QUIET: Pcm = np.zeros(FRAME, np.int16)


class CallEndedError(RuntimeError):
    """The other end hung up while we still had something to say."""


class Phone:
    """A Line over one SIP call."""

    def __init__(self) -> None:
        self.hearing = Hearing()
        self.came: list[Packet] = []
        """All packets of the other end, in the order in which they came."""
        self.call: Call | None = None
        self.media = RtpPort(self._sent, self._came)
        self._loop = asyncio.get_running_loop()
        self._spoken: list[Pcm] = []
        self._silent = asyncio.Event()

    async def say(self, pcm: Pcm) -> None:
        """Speak a clip (int16, RATE) to its end. CallEndedError when the other end hangs up before that."""
        assert self.call is not None, "nobody was called yet"
        frames, payloads = await asyncio.to_thread(in_packets, pcm)
        self._silent.clear()
        first = len(self._spoken)
        self._spoken += frames
        self.media.say(first, payloads)
        waited = [asyncio.ensure_future(event.wait()) for event in (self._silent, self.call.ended)]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in waited:
            task.cancel()
        if self.call.ended.is_set():
            raise CallEndedError("the other end hung up")

    async def tracks(self) -> Tracks:
        said, heard = self.hearing.said, play(self.came).frames
        return recording(said, _times(said), heard, _times(heard))

    async def packets(self) -> Packets | None:
        found = play(self.came)
        samples = sum(len(packet.payload) for packet in self.came)
        return Packets(found.received, found.lost, samples, PHONE_RATE, found.reordered, found.late)

    # -- from the RTP thread ------------------------------------------------------------------------------------------

    def _sent(self, at_s: float, number: int | None) -> None:
        self._loop.call_soon_threadsafe(self._keep_sent, at_s, number)

    def _came(self, packet: Packet) -> None:
        self._loop.call_soon_threadsafe(self._keep_came, packet)

    def _keep_sent(self, at_s: float, number: int | None) -> None:
        self.hearing.add_said(at_s - PACKET_S, QUIET if number is None else self._spoken[number])
        if number is not None and number == len(self._spoken) - 1:
            self._silent.set()

    def _keep_came(self, packet: Packet) -> None:
        self.came.append(packet)
        self.hearing.add_heard(packet.at_s, at_line_rate(decode(packet.payload)))


@asynccontextmanager
async def phone_call(peer: tuple[str, int], number: str) -> AsyncIterator[Phone]:
    """Dial `number` at a SIP peer of 127.0.0.1; hangs up in the end. CallRefusedError when nobody takes the call."""
    phone = Phone()
    phone.call = Call(peer, number)
    try:
        await phone.call.open()
        phone.media.start(answered_at(await phone.call.dial(offer(phone.media.port))))
        yield phone
    finally:
        await phone.call.hang_up()
        await asyncio.to_thread(phone.media.close)


def in_packets(pcm: Pcm) -> tuple[list[Pcm], list[bytes]]:
    """A clip in packets: as it was, and as the line carries it."""
    padded = np.pad(pcm, (0, -len(pcm) % FRAME))
    narrow = soxr.resample(padded.astype(np.float64), RATE, PHONE_RATE)
    coded = encode(np.clip(np.round(narrow), -32768, 32767).astype(np.int16))
    frames = [padded[at : at + FRAME] for at in range(0, len(padded), FRAME)]
    payloads = [coded[at : at + PACKET].ljust(PACKET, SILENCE[:1]) for at in range(0, len(frames) * PACKET, PACKET)]
    return frames, payloads


def _times(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    return np.array([frame.at_s for frame in frames])
