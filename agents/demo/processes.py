"""Processes that a call needs beside it: started, waited for, and ended. Knows nothing of calls."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 2.0
SERVE = "import sys; from agent_tts.cli import main; sys.exit(main())"


class ProgramEndedError(RuntimeError):
    """A program ended while it was to start. The message holds its last words."""


@asynccontextmanager
async def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process for the length of the block, told to end politely, then not."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=env, cwd=ROOT)
    try:
        yield process
    finally:
        # The server waits for its rooms and the worker for its jobs; the second signal tells both not to.
        for sent in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if process.returncode is None:
                process.send_signal(sent)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)


@asynccontextmanager
async def engine_process(folder: Path) -> AsyncIterator[str]:
    """Our engine in a process of its own. Yields its address, for AGENT_TTS_ENGINE."""
    path = folder / "engine.sock"
    command = [sys.executable, "-c", SERVE, "serve", "--socket", str(path)]
    log = folder / "engine.log"
    async with running(command, log) as process:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await asyncio.to_thread(path.is_socket):
                await _expect_alive(process, log)
                await asyncio.sleep(0.1)
        yield f"unix://{path}"


async def accepts_connections(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until the process listens on that port of 127.0.0.1. ProgramEndedError when it ends instead."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await _expect_alive(process, log)
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def logs(log: Path, text: str, process: asyncio.subprocess.Process) -> None:
    """Wait until its log says `text`. ProgramEndedError when it ends before."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while text not in await asyncio.to_thread(log.read_text, errors="replace"):
            await _expect_alive(process, log)
            await asyncio.sleep(0.1)


async def _expect_alive(process: asyncio.subprocess.Process, log: Path) -> None:
    if process.returncode is not None:
        words = (await asyncio.to_thread(log.read_text, errors="replace")).strip().splitlines()
        last = words[-1] if words else "without a word"
        raise ProgramEndedError(f"{log.stem} ended at once with status {process.returncode}: {last}; see {log}")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
