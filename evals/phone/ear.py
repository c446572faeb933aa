"""What a phone plays of the packets that came, and when: a fixed jitter buffer of BUFFER_S. Pure.

    arrival   |1|  |2|     |3|4|           5 comes after its turn
    played        |1 ...|2 ...|3 ...|4 ...|      |6 ...|
              <--> BUFFER_S

The first packet sounds BUFFER_S after it came, the others at the distance their RTP time stamps say. In a silence,
where nobody hears it, the phone sets its clock anew: BUFFER_S behind the least late packet of the last second. A packet
that comes after its turn is not heard, and nothing is made up for it; after RESTART in a row the phone begins anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evals.live.tracks import RATE, Frame, Pcm
from evals.phone.mulaw import PHONE_RATE, decode
from evals.phone.rtp import PACKET_S, Packet

BUFFER_S = 0.04
RESTART = 5
QUIET = 5
"""So many silent packets make a silence in which the clock may be set."""
MEMORY = 50


@dataclass(slots=True)
class Played:
    """What was played (at_s: when it began to sound), and what became of the packets."""

    frames: list[Frame] = field(default_factory=list)
    received: int = 0
    lost: int = 0
    reordered: int = 0
    late: int = 0
    """Came, but after its turn."""


def play(packets: Sequence[Packet]) -> Played:
    """Play packets in the order in which they came."""
    played, sequences, media = Played(received=len(packets)), _Unwrapped(16), _Unwrapped(32)
    lags: deque[float] = deque(maxlen=MEMORY)
    offset_s, sounded_s, silent, late, newest = 0.0, -np.inf, 0, 0, -1
    seen: set[int] = set()
    for packet in packets:
        sequence = sequences.of(packet.sequence)
        media_s = media.of(packet.timestamp) / PHONE_RATE
        lags.append(packet.at_s - media_s)
        in_order = sequence > newest
        played.reordered += not in_order and sequence not in seen
        frame = Frame(packet.at_s, at_line_rate(decode(packet.payload)))
        silent = 0 if frame.loud else silent + 1
        if not seen or (in_order and late >= RESTART):
            lags, late = deque([lags[-1]], MEMORY), 0
            offset_s = lags[-1] + BUFFER_S
        elif in_order and silent > QUIET:
            offset_s = max(min(lags) + BUFFER_S, sounded_s - media_s)  # what has been heard stays where it was
        newest = max(newest, sequence)
        seen.add(sequence)
        if packet.at_s > media_s + offset_s:
            played.late, late = played.late + 1, late + 1
            continue
        late = 0
        played.frames.append(Frame(media_s + offset_s, frame.pcm))
        sounded_s = max(sounded_s, media_s + offset_s + PACKET_S) if frame.loud else sounded_s
    played.lost = max(seen) - min(seen) + 1 - len(seen) if seen else 0
    return played


def at_line_rate(pcm: Pcm) -> Pcm:
    """8 kHz to the recording's rate by straight lines, packet by packet: every sample that came stays what it was."""
    times = np.arange(len(pcm) * (RATE // PHONE_RATE)) / (RATE // PHONE_RATE)
    return np.interp(times, np.arange(len(pcm)), pcm).astype(np.int16)


class _Unwrapped:
    """A counter of so many bits, counted on from its first value."""

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._last: int | None = None
        self._value = 0

    def of(self, value: int) -> int:
        if self._last is not None:
            half = self._size // 2
            self._value += (value - self._last + half) % self._size - half
        self._last = value
        return self._value
