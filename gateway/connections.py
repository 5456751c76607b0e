"""What the HTTP server does not do for its connections: an end to idle ones, and room for new ones when all places are taken.

Granian bounds how many connections stand at once and simply accepts no more: whoever opens that many and says nothing would shut
everybody out, because hyper begins to count time with the first bytes of an HTTP/1.1 request. HTTP/2 clients may stay as long as
they answer pings. So this module looks at the process's own sockets once a second, from a thread:

- the listener gets what every accepted socket inherits: keep-alive probes, and TCP_USER_TIMEOUT, with which the kernel ends a connection
  whose peer takes no bytes (also one with a closed window) for as long as the write timeout says;
- a connection that answers no request and was sent nothing worth the name for the idle time is ended;
- when hardly a place is left, the ones quiet for longest are ended before their time, first those of the address that holds most.

The event loop is only asked, at each look, which connections have a request under way. Linux only, like the rest of the process.
"""

import asyncio
import os
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from loguru import logger

from gateway.metrics import Metrics
from gateway.settings import Limits

Peer = tuple[str, int]

LOOK_SECONDS: Final = 1.0
SELDOM_SECONDS: Final = 2.0
"""Longest pause between two looks: connections cannot take all places unseen for longer."""
LOOK_SHARE: Final = 0.05
"""Share of one core's time that looking aims at: a look costs 17 µs a connection, so with thousands it looks less often."""
CROWDED: Final = 0.9
"""Share of all places from which on idle connections make room."""
ROOMY: Final = 0.5
"""Share of all places that making room aims at."""
QUIET_BYTES: Final = 64
"""An HTTP/2 ping with its frame has 17 bytes (RFC 9113 section 6.7), any answer of ours more than this."""
FILES_SHARE: Final = 0.8
"""Share of the files this process may open that HTTP connections may take; the gRPC door and the services need some too."""
KEEPALIVE_SECONDS: Final = 30
"""Quiet time before the kernel asks whether the peer still lives, and between its questions."""
PAUSE_EVERY: Final = 100
PAUSE_SECONDS: Final = 0.001
_ACKED: Final = (120, 128)
"""Where `tcpi_bytes_acked`, a 64-bit number, stands in struct tcp_info (linux/tcp.h)."""


@dataclass(slots=True)
class _Seen:
    """What was last seen of a connection: bytes its peer has acknowledged, and since when it is quiet."""

    acked: int
    quiet_since: float


class Connections:
    """Looks after the connections of the HTTP port; `busy` says which have a request under way, by address and port of the client."""

    def __init__(
        self, port: int, limits: Limits, busy: Callable[[], Collection[Peer]], metrics: Metrics
    ) -> None:
        self._port = port
        self._limits = limits
        self._places = most_at_once(limits)
        self._busy = busy
        self._seen: dict[Peer, _Seen] = {}
        self._closed = {reason: metrics.connections_closed.labels(reason) for reason in ("idle", "crowded")}
        self._open = metrics.connections

    async def watch(self) -> None:
        """Look, wait, look again, until cancelled."""
        wait = LOOK_SECONDS
        while True:
            await asyncio.sleep(wait)
            busy = frozenset(self._busy())
            try:
                spent = await asyncio.to_thread(self.look, busy, time.monotonic())
            except OSError as error:  # no /proc, or no descriptor left to look with
                logger.bind(errno=error.errno).warning("connections cannot be looked after")
                spent = 0.0
            crowded = len(self._seen) >= self._places * CROWDED
            wait = LOOK_SECONDS if crowded else min(max(LOOK_SECONDS, spent / LOOK_SHARE), SELDOM_SECONDS)

    def look(self, busy: Collection[Peer], now: float) -> float:
        """Look once and end what has to end; `now` is in seconds. Returns the processor seconds that it took."""
        began = time.thread_time()
        seen: dict[Peer, _Seen] = {}
        for number, opened in enumerate(self._sockets()):
            with opened:
                self._note(opened, busy, now, seen)
            if number % PAUSE_EVERY == PAUSE_EVERY - 1:
                time.sleep(PAUSE_SECONDS)  # the event loop's turn
        self._seen = seen
        ending = self._ending(busy, now)
        if ending:
            self._end(ending)
        self._open.set(len(seen))
        return time.thread_time() - began

    def _note(
        self, opened: socket.socket, busy: Collection[Peer], now: float, seen: dict[Peer, _Seen]
    ) -> None:
        try:
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._prepare(opened)
                return
            peer = _peer(opened)
            acked = _acked(opened)
        except OSError:  # it has just ended
            return
        before = self._seen.get(peer)
        if before is None or peer in busy or acked - before.acked > QUIET_BYTES:
            seen[peer] = _Seen(acked, now)
        else:
            seen[peer] = _Seen(acked, before.quiet_since)

    def _ending(self, busy: Collection[Peer], now: float) -> dict[Peer, str]:
        """Which connections to end, and why."""
        idle = self._limits.idle_timeout_seconds
        ending = {peer: "idle" for peer, one in self._seen.items() if now - one.quiet_since >= idle}
        places = self._places
        left = len(self._seen) - len(ending)
        if left < places * CROWDED:
            return ending
        held = Counter(address for address, _ in self._seen)
        quiet = [peer for peer, one in self._seen.items() if one.quiet_since < now and peer not in ending]
        quiet.sort(key=lambda peer: (-held[peer[0]], self._seen[peer].quiet_since))
        for peer in quiet[: left - int(places * ROOMY)]:
            ending[peer] = "crowded"
        return ending

    def _end(self, ending: dict[Peer, str]) -> None:
        for opened in self._sockets():
            with opened:
                try:
                    peer = _peer(opened)
                    reason = ending.get(peer)
                    if reason is not None:
                        opened.shutdown(socket.SHUT_RDWR)  # the server reads the end and closes its side
                        self._closed[reason].inc()
                except OSError:  # it has ended by itself, or is the listener
                    continue

    def _prepare(self, listener: socket.socket) -> None:
        """Set what accepted sockets inherit (tcp(7)); to set it again changes nothing."""
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)
        milliseconds = int(self._limits.write_timeout_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _sockets(self) -> Iterator[socket.socket]:
        """Every TCP socket of this process at the port, as a descriptor of its own; the caller closes each."""
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names alone, thousands of them
            try:
                number = os.dup(int(name))
            except OSError:  # closed since it was listed
                continue
            try:
                opened = socket.socket(fileno=number)
            except OSError:  # a file or pipe
                os.close(number)
                continue
            if _port(opened) == self._port:
                yield opened
            else:
                opened.close()


def raise_file_limit() -> int:
    """Let this process open as many files as it may at all, each connection being one; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def most_at_once(limits: Limits) -> int:
    """How many HTTP connections may stand at once: what the settings say, or what the limit on open files leaves."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits.max_connections
    return max(1, min(limits.max_connections, int(files * FILES_SHARE)))


def _port(opened: socket.socket) -> int:
    """The local port; 0 for what is no TCP socket."""
    if opened.family not in (socket.AF_INET, socket.AF_INET6) or opened.type != socket.SOCK_STREAM:
        return 0
    try:
        port: int = opened.getsockname()[1]
    except OSError:
        return 0
    return port


def _peer(opened: socket.socket) -> Peer:
    address = opened.getpeername()
    return address[0], address[1]


def _acked(opened: socket.socket) -> int:
    start, end = _ACKED
    info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, end)
    acked: int = struct.unpack("=Q", info[start:end])[0]
    return acked
