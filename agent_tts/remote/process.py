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
from agent_tts.remote.door import RemoteDoor
from agent_tts.types import EngineStats

logger = logging.getLogger("agent_tts.remote")

POLL_S = 0.05
RESTART_S = 0.25
LONGEST_DELAY_S = 30.0
LONG_LIFE_S = 60.0
"""An engine that ended sooner is given longer before the next try."""
LOAD_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 10.0


def serve_command(socket_path: str, *options: str) -> list[str]:
    """The command line of `agent-tts serve` for this interpreter."""
    return [sys.executable, "-m", "agent_tts.server", "--socket", socket_path, *options]


def private_address() -> str:
    """An address in a new folder that only this user can enter."""
    return f"unix://{Path(tempfile.mkdtemp(prefix='agent-tts-')) / 'engine.sock'}"


class EngineProcess:
    """A child that serves one engine, and is started anew when it dies. It ends when this process does, however."""

    def __init__(self, command: Sequence[str], address: str, cwd: Path | None) -> None:
        self.address = address
        self._command = [*command, "--with-parent"]
        self._cwd = cwd
        self._stopping = threading.Event()
        self._child = self._spawn()
        self._door: RemoteDoor | None = None
        self._watcher = threading.Thread(target=self._watch, name="agent-tts-engine-process", daemon=True)

    @classmethod
    def start(
        cls, command: Sequence[str], address: str, *, cwd: Path | None = None, timeout_s: float = LOAD_TIMEOUT_S
    ) -> EngineProcess:
        """Run `command`, which must serve at `address`, and block until it does.

        Raises:
            EngineUnavailableError: It ended, or did not answer in time.
        """
        engine = cls(command, address, cwd)
        try:
            engine._door = _wait_for(engine._child, address, timeout_s)
        except BaseException:
            _end(engine._child)
            raise
        engine._watcher.start()
        return engine

    @property
    def pid(self) -> int:
        return self._child.pid

    def stats(self) -> EngineStats:
        """As reported last, within half a second; nothing is free when it does not answer."""
        assert self._door is not None
        return self._door.stats(0)

    def load(self) -> float:
        """Share of the slots that are taken, from 0 to 1; waiting utterances fill it up; 1 when it does not answer."""
        stats = self.stats()
        return 1.0 if stats.waiting else 1.0 - stats.free_slots / stats.total_slots

    def stop(self) -> None:
        """End it: politely, then not. Later calls do nothing."""
        self._stopping.set()
        if self._door is not None:
            self._door.close()
        _end(self._child)
        self._watcher.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, cwd=self._cwd)

    def _watch(self) -> None:
        """Start it again when it ends by itself. Clients find it by themselves."""
        delay_s = RESTART_S
        while True:
            started_s = time.monotonic()
            code = self._child.wait()
            lived_long = time.monotonic() - started_s > LONG_LIFE_S
            delay_s = RESTART_S if lived_long else min(LONGEST_DELAY_S, 2 * delay_s)
            if self._stopping.wait(delay_s):
                return
            logger.error("the engine's process ended with exit code %s; starting it again", code)
            self._close_input()
            self._child = self._spawn()
            if self._stopping.is_set():
                _end(self._child)
                return

    def _close_input(self) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()


def _wait_for(child: subprocess.Popen[bytes], address: str, timeout_s: float) -> RemoteDoor:
    deadline_s = time.monotonic() + timeout_s
    while True:
        code = child.poll()
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
