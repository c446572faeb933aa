"""An engine in a process of its own for as long as an evaluation runs. Uses `agent-tts serve`, or what is given."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent_tts import Engine
from agent_tts.errors import EngineUnavailableError

SERVE = (sys.executable, "-m", "agent_tts.server")
START_TIMEOUT_S = 120.0


@asynccontextmanager
async def served(command: Sequence[str]) -> AsyncIterator[tuple[Engine, int]]:
    """An engine that `command --socket PATH --with-parent` serves as long as the block runs, and its process's id."""
    with tempfile.TemporaryDirectory(prefix="agent-tts-") as folder:
        path = str(Path(folder) / "engine.sock")
        child = await asyncio.create_subprocess_exec(
            *command, "--socket", path, "--with-parent", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            async with await _connected(f"unix://{path}", child) as engine:
                yield engine, child.pid
        finally:
            if child.stdin is not None:
                child.stdin.close()
            await child.wait()


async def _connected(address: str, child: asyncio.subprocess.Process) -> Engine:
    for _ in range(int(START_TIMEOUT_S / 0.1)):
        if child.returncode is not None:
            raise EngineUnavailableError(address, f"its process ended with exit code {child.returncode}")
        try:
            return await Engine.load(address)
        except EngineUnavailableError:
            await asyncio.sleep(0.1)
    raise EngineUnavailableError(address, f"not ready within {START_TIMEOUT_S:g} s")
