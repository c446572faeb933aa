"""RTP of a phone: a packet of 20 ms every 20 ms, whether anybody speaks or not, and what comes, each with its time.

A thread of its own, so that a busy event loop delays no packet and no time stamp. Knows PCMU and no other codec.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

PACKET_S = 0.02
PACKET = 160
"""Samples in a packet, of one byte each; its RTP time stamp counts them."""
SILENCE = b"\xff" * PACKET
PCMU = 0
_HEADER = struct.Struct("!BBHII")
_VERSION = 0x80


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet that came, at `at_s` of time.monotonic()."""

    at_s: float
    sequence: int
    timestamp: int
    payload: bytes


def packed(sequence: int, timestamp: int, source: int, payload: bytes) -> bytes:
    """A datagram; the counters wrap as RTP has it."""
    return _HEADER.pack(_VERSION, PCMU, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, source) + payload


def unpacked(data: bytes, at_s: float) -> Packet | None:
    """The packet in a datagram; None for anything that is not plain PCMU (RTCP, tones, comfort noise)."""
    if len(data) < _HEADER.size:
        return None
    first, kind, sequence, timestamp, _ = _HEADER.unpack_from(data)
    if first != _VERSION or kind & 0x7F != PCMU:
        return None
    return Packet(at_s, sequence, timestamp, data[_HEADER.size :])


class RtpPort:
    """A socket of 127.0.0.1 and the thread that sends and receives on it once `start()` names the other end.

    Args:
        on_sent: Called in the thread after each packet, with the moment it was sent and the payload's number: None for
            silence, else its index among all that `say()` was given.
        on_packet: Called in the thread with each packet that came from the other end.
    """

    def __init__(self, on_sent: Callable[[float, int | None], None], on_packet: Callable[[Packet], None]) -> None:
        self._on_sent, self._on_packet = on_sent, on_packet
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._remote = ("127.0.0.1", 0)
        self._pending: deque[tuple[int, bytes]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phone-rtp", daemon=True)
        self.sent = 0
        self.stumbles = 0
        """How often a packet was sent a packet's length late or more."""

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def start(self, remote: tuple[str, int]) -> None:
        """Send to the other end from now on, and take what comes from it."""
        self._remote = remote
        self._thread.start()

    def say(self, number: int, payloads: list[bytes]) -> None:
        """Send these instead of silence, with the next packet, numbered from `number` on."""
        self._pending.extend(enumerate(payloads, number))

    def close(self) -> None:
        """End the thread and wait for it; nothing is called back after this."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        sequence, timestamp, source = (random.getrandbits(bits) for bits in (16, 32, 32))
        due_s = time.monotonic()
        while not self._ending.is_set():
            now_s = time.monotonic()
            if now_s < due_s:
                self._receive(due_s - now_s)
                continue
            number, payload = self._pending.popleft() if self._pending else (None, SILENCE)
            self._socket.sendto(packed(sequence, timestamp, source, payload), self._remote)
            self._on_sent(now_s, number)
            sequence, timestamp, self.sent = sequence + 1, timestamp + PACKET, self.sent + 1
            if now_s - due_s >= PACKET_S:  # what a sleeping machine missed is not sent in a bunch
                self.stumbles += 1
                due_s = now_s
            due_s += PACKET_S

    def _receive(self, wait_s: float) -> None:
        if not select.select([self._socket], [], [], wait_s)[0]:
            return
        data, sender = self._socket.recvfrom(2048)
        packet = unpacked(data, time.monotonic())
        if packet is not None and sender == self._remote:
            self._on_packet(packet)
