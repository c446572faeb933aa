"""The door to an engine in another process: every open line of one connection. Imports no torch.

The lines and whether there is a connection change under one lock: a line is opened on the connection that is there, or
refused; when that breaks, every line of it ends at once, and none can be added to it afterwards.
"""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import replace

from agent_tts.errors import EngineClosedError, EngineUnavailableError
from agent_tts.remote.address import Address, parse_address
from agent_tts.remote.line import RemoteLine
from agent_tts.remote.link import Link
from agent_tts.remote.values import Welcome, error_from_json, metrics_from_json, stats_from_json
from agent_tts.remote.wire import Kind, Message, read_audio, read_json
from agent_tts.runtime.door import Order
from agent_tts.types import EngineStats

logger = logging.getLogger("agent_tts.remote")


class RemoteDoor:
    """Lines to an engine's process over one connection, which is mended when it breaks."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._lines: dict[int, RemoteLine] = {}
        self._numbers = itertools.count(1)
        self._welcome: Welcome | None = None
        self._stats: EngineStats | None = None
        self._connected = False
        self._reason = "not connected yet"
        self._closed = False
        self._link = Link(address, self)

    @classmethod
    def connect(cls, address: str) -> RemoteDoor:
        """Connect; blocks until that is done. Raises ConfigError, EngineUnavailableError."""
        door = cls(parse_address(address))
        door._link.start()
        return door

    # -- what Engine sees ---------------------------------------------------------------------------------------------

    @property
    def sample_rate(self) -> int:
        return self._known().sample_rate

    @property
    def frame_ms(self) -> float:
        return self._known().frame_ms

    @property
    def model_name(self) -> str:
        return self._known().model_name

    @property
    def voices(self) -> tuple[str, ...]:
        return self._known().voices

    @property
    def max_waiting(self) -> int:
        return self._known().max_waiting

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def connected(self) -> bool:
        return self._connected

    def line(self, order: Order) -> RemoteLine:
        return RemoteLine(self, next(self._numbers), order, self.sample_rate, self.frame_ms)

    def stats(self, num_open: int) -> EngineStats:
        """As reported last. Nothing is free, and nothing is open, behind a connection that is broken."""
        assert self._stats is not None
        if self._connected:
            return self._stats
        return replace(self._stats, open=0, running=0, waiting=0, free_slots=0)

    def close(self) -> None:
        self._closed = True
        self._link.close()

    # -- what a line sees ---------------------------------------------------------------------------------------------

    def add(self, line: RemoteLine, opening: bytes) -> None:
        """Open a line on the connection that is there. Raises EngineUnavailableError, EngineClosedError."""
        with self._lock:
            if self._closed:
                raise EngineClosedError
            if not self._connected:
                raise EngineUnavailableError(str(self._address), f"{self._reason}; connecting again")
            self._lines[line.number] = line
            self._link.send(opening)

    def send(self, data: bytes) -> None:
        self._link.send(data)

    # -- the link's thread --------------------------------------------------------------------------------------------

    def on_up(self, welcome: Welcome) -> None:
        with self._lock:
            self._welcome, self._stats = welcome, welcome.stats
            self._connected = True

    def on_down(self, reason: str) -> None:
        with self._lock:
            was_connected, self._connected, self._reason = self._connected, False, reason
            lost, self._lines = list(self._lines.values()), {}
        if was_connected and not self._closed:
            logger.warning("lost the engine at %s: %s", self._address, reason, extra={"num_lost": len(lost)})
        for line in lost:
            error = EngineClosedError() if self._closed else EngineUnavailableError(str(self._address), reason)
            line.lose(error, silently=self._address.when_lost == "silence")

    def on_message(self, message: Message) -> None:
        if message.kind is Kind.STATE:
            self._take_state(message)
            return
        line = self._lines.get(message.number)
        if line is None:
            return  # late, of a line that is gone
        match message.kind:
            case Kind.AUDIO:
                line.take(read_audio(message))
            case Kind.ENDED:
                failure = read_json(message).get("error")
                line.end_audio(None if failure is None else error_from_json(failure, str(self._address)))
            case Kind.RELEASED:
                self._release(line, message)
            case _:
                logger.debug("a %s message from the server was ignored", message.kind.name)

    def on_tick(self) -> bool:
        with self._lock:
            lines = list(self._lines.values())
        positions = b"".join(line.playout_message() for line in lines)
        if positions:
            self._link.send(positions)
        return bool(lines)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _known(self) -> Welcome:
        assert self._welcome is not None, "connect() returns once there was a WELCOME"
        return self._welcome

    def _take_state(self, message: Message) -> None:
        state = read_json(message)
        self._stats = stats_from_json(state.get("stats"))
        voices = tuple(str(voice) for voice in state.get("voices", ()))
        if voices != self._known().voices:
            self._welcome = replace(self._known(), voices=voices)

    def _release(self, line: RemoteLine, message: Message) -> None:
        report = read_json(message)
        self._stats = stats_from_json(report.get("stats"))
        metrics = report.get("metrics")
        with self._lock:
            self._lines.pop(line.number, None)
        line.release(None if metrics is None else metrics_from_json(metrics))
