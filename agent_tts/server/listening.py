"""Sockets to listen on: made with the right permissions, and never in the place of a server that lives."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat

from agent_tts.errors import ConfigError
from agent_tts.remote.address import Address

BACKLOG = 128
SOCKET_MODE = 0o600
PROBE_S = 1.0


class ListeningSocket:
    """A socket that listens, and the file that goes with it."""

    def __init__(self, address: Address, sock: socket.socket) -> None:
        self.address = address
        self.sock = sock
        self._inode = os.stat(address.path).st_ino if address.is_unix else 0

    def remove_file(self) -> None:
        """Take our socket file away; one that another server has put there since stays."""
        if not self.address.is_unix:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.address.path).st_ino == self._inode:
                os.unlink(self.address.path)


def listen_on(address: Address, *, trust_network: bool = False) -> ListeningSocket:
    """Bind and listen. Raises ConfigError when the address can't be had, and says why."""
    if not trust_network:
        require_private(address)
    try:
        return _listen_unix(address) if address.is_unix else _listen_tcp(address)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {address}: {error.strerror or error}.") from error


def require_private(address: Address) -> None:
    """Raise ConfigError for an address that other machines reach."""
    if not address.is_unix and not _is_loopback(address.host):
        raise ConfigError(
            f"{address.host!r} is not a loopback address, and the protocol knows no password. Use 127.0.0.1, a unix "
            "socket or a tunnel; --trust-network listens there all the same."
        )


def _listen_unix(address: Address) -> ListeningSocket:
    _remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
        # Nobody can connect before listen(), so nobody gets in while the mode is still the umask's.
        os.chmod(address.path, SOCKET_MODE)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return ListeningSocket(address, sock)
    except OSError:
        sock.close()
        raise


def _remove_stale(address: Address) -> None:
    """Remove what a server that died has left; refuse when one answers there, or when it is no socket at all."""
    try:
        mode = os.stat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{address.path!r} exists and is not a socket; it is left as it is. Give another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        outcome = probe.connect_ex(address.path)
    if outcome not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ConfigError(f"A server listens on {address} already. Stop it, or give another path.")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address.path)


def _listen_tcp(address: Address) -> ListeningSocket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return ListeningSocket(Address(host=address.host, port=sock.getsockname()[1]), sock)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
