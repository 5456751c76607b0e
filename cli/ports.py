"""Finding free TCP ports on loopback, and telling who holds one that is taken."""

import errno
import random
import socket
from collections.abc import Iterable, Mapping

import psutil

from cli.errors import CliError

# Below the range from which the kernel takes ports for outgoing connections (32768 on Linux), so that a port remembered from
# the last run is not lost to somebody's client socket.
_RANGE = range(20_000, 32_000)
LOOPBACK = "127.0.0.1"


class PortTaken(CliError):
    """A port that was asked for is in use; the message names the port and, as far as permissions allow, the process."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a closed connection's TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def holder(port: int) -> str:
    """`name (pid 7)` of the process that listens on `port`, or a sentence that it cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        connections = []
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
            continue
        if connection.laddr.port == port:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                break
    return "a process of another user"


def require_free(port: int, purpose: str, option: str, host: str = LOOPBACK) -> int:
    """`port` itself if it is free, any free port if it is 0. Raises PortTaken with what to do about it."""
    if port == 0:
        return free_port()
    if not 1 <= port <= 65535:
        raise PortTaken(f"{option}: {port} is not a TCP port (1 to 65535, or 0 for any free one)")
    if not is_free(port, host):
        raise PortTaken(
            f"port {port} for {purpose} is held by {holder(port)}; stop it or choose another with {option}"
        )
    return port


def free_port() -> int:
    """Some free port."""
    return _draw(set())


def _draw(taken: set[int]) -> int:
    for _ in range(1000):
        port = random.choice(_RANGE)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise PortTaken("no free port between 20000 and 32000")


def assign_ports(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """A free port a name: the one remembered from the last run when it is still free, otherwise another."""
    ports: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        if not port or port in ports.values() or not is_free(port):
            port = _draw(set(ports.values()) | set(remembered.values()))
        ports[name] = port
    return ports
