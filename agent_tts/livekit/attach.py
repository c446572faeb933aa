"""attach(server): an engine process beside a LiveKit worker. Starts it, exports its address, reports how full it is.

worker's main process ─▶ engine process ◀─ socket ─ job process (one per call, no torch in it)
    load_fnc ◀─ free slots ──┘
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from livekit.agents import AgentServer
from livekit.agents.worker import ServerOptions

from agent_tts.config import Environment
from agent_tts.errors import ConfigError, EngineUnavailableError
from agent_tts.remote.address import parse_address
from agent_tts.remote.process import EngineProcess, connect_or_start, private_address

logger = logging.getLogger("agent_tts.livekit")

ENGINE_VARIABLE = "AGENT_TTS_ENGINE"
"""Where every TTS of this worker's jobs finds the engine; job processes inherit it."""


class WorkerEngine:
    """The engine of one worker. Until it answers the worker counts as full, so that no call comes too early."""

    def __init__(self, address: str, options: Sequence[str], *, is_private: bool) -> None:
        self.address = address
        self._options = options
        self._is_private = is_private
        self._engine: EngineProcess | None = None
        self._starting: threading.Thread | None = None

    def start(self) -> None:
        """Start it in the background, unless one answers at the address already. Returns at once."""
        if self._starting is None:
            self._starting = threading.Thread(target=self._start, name="agent-tts-attach", daemon=True)
            self._starting.start()
            atexit.register(self.stop)

    def load(self) -> float:
        """Share of the engine's slots that are taken; 1 as long as there is no engine."""
        return 1.0 if self._engine is None else self._engine.load()

    def stop(self) -> None:
        """End it if it was started here. Later calls do nothing."""
        if self._engine is not None:
            self._engine.stop()
        if self._is_private:
            shutil.rmtree(Path(parse_address(self.address).path).parent, ignore_errors=True)

    def _start(self) -> None:
        try:
            self._engine = connect_or_start(self.address, *self._options)
        except EngineUnavailableError as error:
            logger.error("%s The worker takes no calls.", error)


def attach(server: AgentServer, *, model: str = "bundled", options: Sequence[str] = ()) -> WorkerEngine:
    """Give a worker an engine process of its own; every `TTS()` in its jobs uses it.

    Call it where the AgentServer is made; in job processes, which import the same file, it does nothing but read the
    address. An engine that answers at AGENT_TTS_ENGINE already is used as it is and not stopped.

    Args:
        server: Its load becomes the larger of what it was and the share of engine slots that are taken.
        model: "bundled", a checkpoint folder or a hub id.
        options: More options of `agent-tts serve`, such as "--max-slots", "16".
    """
    given = Environment.read().engine
    address = given or private_address()
    if not address.startswith(("unix://", "tcp://")):
        raise ConfigError(f"{ENGINE_VARIABLE} is {address!r}; attach() needs an address such as unix:///run/x.sock.")
    os.environ[ENGINE_VARIABLE] = address  # before the forkserver starts: job processes inherit its environment
    engine = WorkerEngine(address, ("--model", model, *options), is_private=given is None)
    server.load_fnc = _with_engine(server.load_fnc or ServerOptions.load_fnc, engine)
    server.on("worker_started", engine.start)
    return engine


def _with_engine(load_fnc: Callable[..., float], engine: WorkerEngine) -> Callable[[AgentServer], float]:
    wants_server = bool(inspect.signature(load_fnc).parameters)

    def load(server: Any) -> float:
        before = load_fnc(server) if wants_server else load_fnc()
        return max(before, engine.load())

    return load
