"""A LiveKit server on loopback, an engine and a worker for it. Starts, waits for and stops them; knows no audio."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from livekit import api

from agents.demo.processes import ROOT, accepts_connections, engine_process, free_port, logs, running

CONFIG_FILE = ROOT / "configs" / "agents" / "livekit.yaml"
AGENT_NAME = "tts-agent"
BUILT = ROOT / ".cache" / "bin" / "livekit-server"
HOW_TO_GET = (
    "No livekit-server found. Run `make livekit-server` (needs Go), or put the release binary from "
    "https://github.com/livekit/livekit on PATH or name it in LIVEKIT_SERVER, "
    "or set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a server that runs."
)

# Loopback only. The STUN address answers nothing: with an empty list the server would hand out public ones.
CONFIG = """
port: {port}
bind_addresses: ["127.0.0.1"]
rtc:
  node_ip: 127.0.0.1
  udp_port: {udp_port}
  tcp_port: 0
  use_external_ip: false
  enable_loopback_candidate: true
  ips: {{includes: ["127.0.0.1/32"]}}
  stun_servers: ["127.0.0.1:3478"]
keys: {{devkey: "{secret}"}}
logging: {{level: warn}}
"""


class MissingServerError(RuntimeError):
    """There is no server here, and the message says how to get one."""


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """Where the rooms are, and the keys to them."""

    url: str
    api_key: str
    api_secret: str

    def environment(self) -> dict[str, str]:
        """For a worker."""
        return {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": self.api_key, "LIVEKIT_API_SECRET": self.api_secret}

    def token(self, *, room: str, identity: str, agent_name: str = AGENT_NAME) -> str:
        """Lets a caller join; the agent of that name is sent to the room with them."""
        dispatch = api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=agent_name)])
        return (
            api.AccessToken(self.api_key, self.api_secret)
            .with_identity(identity)
            .with_grants(api.VideoGrants(room_join=True, room=room))
            .with_room_config(dispatch)
            .with_ttl(timedelta(hours=1))
            .to_jwt()
        )


def find_server() -> Path:
    """The server's binary. MissingServerError when there is none."""
    named = os.environ.get("LIVEKIT_SERVER") or shutil.which("livekit-server")
    for path in (Path(named) if named else None, BUILT):
        if path is not None and path.exists():
            return path
    raise MissingServerError(HOW_TO_GET)


@asynccontextmanager
async def livekit_server(folder: Path, *, redis: str = "") -> AsyncIterator[RoomAccess]:
    """The server that LIVEKIT_URL names, else our own for the length of the block, with its log in `folder`.

    Always our own with the address of a Redis: the way to a livekit-sip beside it.
    """
    if (url := os.environ.get("LIVEKIT_URL")) and not redis:
        yield RoomAccess(url, os.environ.get("LIVEKIT_API_KEY", ""), os.environ.get("LIVEKIT_API_SECRET", ""))
        return
    binary = find_server()
    port, secret = free_port(), secrets.token_hex(16)
    config = folder / "livekit-server.yaml"
    written = CONFIG.format(port=port, udp_port=free_port(socket.SOCK_DGRAM), secret=secret)
    config.write_text(written + (f'redis: {{address: "{redis}"}}\n' if redis else ""))
    log = folder / "livekit-server.log"
    async with running([str(binary), "--config", str(config)], log) as process:
        await accepts_connections(port, process, log)
        yield RoomAccess(f"ws://127.0.0.1:{port}", "devkey", secret)


@asynccontextmanager
async def agent_in_rooms(folder: Path, changes: Mapping[str, Any], *, redis: str = "") -> AsyncIterator[RoomAccess]:
    """agents/livekit_agent.py as a worker beside its engine, with its own config file but for `changes`.

    Yields once it takes calls: at `access`, by AGENT_NAME.
    """
    config = write_config(folder, changes)
    async with livekit_server(folder, redis=redis) as access, engine_process(folder) as engine:
        env = {"AGENT_CONFIG": str(config), "AGENT_TTS_ENGINE": engine}
        async with worker("agents.livekit_agent", access, folder, env):
            yield access


def write_config(folder: Path, changes: Mapping[str, Any]) -> Path:
    """The agent's own config file for one caller on a machine that runs everything; sections are merged.

    The engine is the one that AGENT_TTS_ENGINE names. It runs before the worker does: one that the worker starts makes
    it count as full until it answers, and a caller who comes in that moment stays alone.
    """
    values = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    quiet = {"greeting": "", "aec_warmup_s": None, "publish_events": True}
    own: dict[str, Any] = {**quiet, "engine": "", "worker": {"load_threshold": None, "engine_process": False}}
    for change in (own, changes):
        for key, value in change.items():
            values[key] = values[key] | value if isinstance(value, Mapping) else value
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@asynccontextmanager
async def worker(module: str, access: RoomAccess, folder: Path, env: Mapping[str, str]) -> AsyncIterator[Path]:
    """`python -m module start`, once it is registered; a caller who comes earlier stays alone. Yields the log."""
    log = folder / "worker.log"
    command = [sys.executable, "-m", module, "start"]
    async with running(command, log, {**os.environ, **access.environment(), **env}) as process:
        await logs(log, "registered worker", process)
        yield log
