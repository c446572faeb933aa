"""Where an engine's process listens, as one string. Knows no socket.

unix:///run/agent-tts.sock      tcp://127.0.0.1:7788      unix:///run/agent-tts.sock?when_lost=silence&timeout_s=2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import SplitResult, parse_qsl, urlsplit

from agent_tts.config import unknown_key
from agent_tts.errors import ConfigError

WhenLost = Literal["error", "silence"]
MAX_PATH = 107
"""Bytes of a path that a unix socket can have."""


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a socket, and what a client wants when it breaks.

    Attributes:
        path: Of a unix socket; empty for TCP.
        host, port: Of a TCP socket.
        when_lost: What an open utterance does when the connection breaks: raise, or end as if it had been spoken.
        timeout_s: Silence of the other side after which the connection counts as broken.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    when_lost: WhenLost = "error"
    timeout_s: float = 5.0

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.path}" if self.is_unix else f"tcp://{host}:{self.port}"


def unix_address(path: str) -> Address:
    """A unix socket at `path`. Raises ConfigError when no socket can have that path."""
    if not path.startswith("/"):
        raise ConfigError(f"The socket path {path!r} is not absolute; write it like /run/agent-tts.sock.")
    if len(path.encode()) > MAX_PATH:
        raise ConfigError(f"The socket path {path!r} has {len(path.encode())} bytes; {MAX_PATH} are allowed.")
    return Address(path=path)


def parse_address(text: str) -> Address:
    """Read an address. Raises ConfigError that names the part that is wrong."""
    parts = urlsplit(text)
    if parts.scheme == "unix":
        address = unix_address(parts.netloc + parts.path)
    elif parts.scheme == "tcp":
        address = _tcp_address(parts, text)
    else:
        raise ConfigError(f"The address {text!r} starts with neither unix:// nor tcp://.")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Address(address.path, address.host, address.port, *_options(options, text))


def _tcp_address(parts: SplitResult, text: str) -> Address:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path.strip("/"):
        raise ConfigError(f"The address {text!r} is no host and port; write it like tcp://127.0.0.1:7788.")
    return Address(host=host, port=port)


def _options(options: dict[str, str], text: str) -> tuple[WhenLost, float]:
    for key in options:
        if key not in ("when_lost", "timeout_s"):
            raise ConfigError(unknown_key(key, ["when_lost", "timeout_s"], where=f"Address {text!r}"))
    when_lost = options.get("when_lost", "error")
    if when_lost not in get_args(WhenLost):
        raise ConfigError(f"when_lost is {when_lost!r}; allowed: {', '.join(get_args(WhenLost))}.")
    given = options.get("timeout_s", "5")
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = 0.0
    if not 0.1 <= timeout_s <= 3600:
        raise ConfigError(f"timeout_s is {given!r}; seconds from 0.1 to 3600 are allowed.")
    return cast(WhenLost, when_lost), timeout_s
