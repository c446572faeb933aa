"""An engine's process beside this one: started, waited for, asked how full it is, and ended. Knows no framework.

this process ──standard input of the child──▶ agent-tts serve --with-parent        its end is our end
             ◀──────────── socket ──────────▶
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from agent_tts.errors import EngineUnavailableError
from agent_tts.remote.address import parse_address
from agent_tts.remote.door import RemoteDoor
from agent_tts.types import EngineStats

logger = logging.getLogger("agent_tts.remote")

POLL_S = 0.05
RESTART_S = 0.25
LONGEST_DELAY_S = 30.0
LONG_LIFE_S = 60.0
"""An engine that ended sooner is given longer before the next try."""
SERVE = (sys.executable, "-m", "agent_tts.server")
LOAD_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 10.0


def connect_or_start(address: str, *options: str, timeout_s: float = LOAD_TIMEOUT_S) -> EngineProcess:
    """The engine that answers at `address`, which stays as it is when stopped here; else a child that serves there.

    Raises:
        ConfigError, EngineUnavailableError
    """
    where = parse_address(address)
    try:
        return EngineProcess(None, RemoteDoor.connect(address))
    except EngineUnavailableError:
        place = ["--socket", where.path] if where.is_unix else ["--tcp", str(where).removeprefix("tcp://")]
        return EngineProcess.start([*SERVE, *place, *options], address, timeout_s=timeout_s)


def private_address() -> str:
    """An address in a new folder that only this user can enter."""
    return f"unix://{Path(tempfile.mkdtemp(prefix='agent-tts-')) / 'engine.sock'}"


class EngineProcess:
    """An engine that can be asked how full it is; when it is our child it is started anew when it dies, and ended."""

    def __init__(self, child: Child | None, door: RemoteDoor) -> None:
        self._child = child
        self._door = door

    @classmethod
    def start(
        cls, command: Sequence[str], address: str, *, cwd: Path | None = None, timeout_s: float = LOAD_TIMEOUT_S
    ) -> EngineProcess:
        """Run `command`, which must serve at `address`, and block until it does.

        Raises:
            EngineUnavailableError: It ended, or did not answer in time.
        """
        child = Child(command, cwd)
        try:
            door = _wait_for(child, address, timeout_s)
        except BaseException:
            child.stop()
            raise
        child.watch()
        return cls(child, door)

    @property
    def pid(self) -> int | None:
        """Of our child; None of an engine that is somebody else's."""
        return None if self._child is None else self._child.pid

    def stats(self) -> EngineStats:
        """As reported last, within half a second; nothing is free when it does not answer."""
        return self._door.stats(0)

    def load(self) -> float:
        """Share of the slots that are taken, from 0 to 1; waiting utterances fill it up; 1 when it does not answer."""
        stats = self.stats()
        return 1.0 if stats.waiting else 1.0 - stats.free_slots / stats.total_slots

    def stop(self) -> None:
        """Leave it; our child is ended. Later calls do nothing."""
        self._door.close()
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class Child:
    """A process that lives as long as this one, whatever happens to either."""

    def __init__(self, command: Sequence[str], cwd: Path | None) -> None:
        self._command = [*command, "--with-parent"]
        self._cwd = cwd
        self._stopping = threading.Event()
        self._process = self._spawn()
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def watch(self) -> None:
        """From now on start it again when it ends by itself."""
        self._watcher = threading.Thread(target=self._restart, name="agent-tts-engine-process", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End it: politely, then not."""
        self._stopping.set()
        _end(self._process)
        if self._watcher is not None:
            self._watcher.join()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, cwd=self._cwd)

    def _restart(self) -> None:
        delay_s = RESTART_S
        while True:
            started_s = time.monotonic()
            code = self._process.wait()
            lived_long = time.monotonic() - started_s > LONG_LIFE_S
            delay_s = RESTART_S if lived_long else min(LONGEST_DELAY_S, 2 * delay_s)
            if self._stopping.wait(delay_s):
                return
            logger.error("the engine's process ended with exit code %s; starting it again", code)
            _end(self._process)  # nothing but its pipe is left
            self._process = self._spawn()
            if self._stopping.is_set():
                _end(self._process)
                return


def _wait_for(child: Child, address: str, timeout_s: float) -> RemoteDoor:
    deadline_s = time.monotonic() + timeout_s
    while True:
        code = child.exit_code
        if code is not None:
            raise EngineUnavailableError(address, f"its process ended with exit code {code} before it could listen")
        try:
            return RemoteDoor.connect(address)
        except EngineUnavailableError as error:
            if time.monotonic() > deadline_s:
                raise EngineUnavailableError(
                    address, f"{error.reason}, {timeout_s:g} s after it was started"
                ) from error
        time.sleep(POLL_S)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
