"""Granian around the HTTP door: its sockets, limits, certificates, and the end of all of them."""

import asyncio
import logging
import socket
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server
from loguru import logger

from gateway.connections import most_at_once
from gateway.http import HttpDoor
from gateway.settings import Limits
from gateway.tls import Renewals, TlsFiles

BACKLOG: Final = 1024
HTTP2_STREAMS: Final = 200  # at once on one connection; granian's default
HTTP2_SEND_BYTES: Final = 64 * 1024
"""Held for a stream whose client opens no window; granian's default is 400 KiB."""
RENEWAL_SECONDS: Final = 10.0  # between two looks at the certificate's files
HANDOVER_SECONDS: Final = 0.5  # both servers accept, so that nobody finds none


def require_free(host: str, port: int) -> None:
    """Raise OSError that names the port when somebody listens on it; the servers' own messages do not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None


class HttpServer:
    """Granian around an HttpDoor: plaintext, or TLS with `tls`.

    A renewed certificate gets a server of its own on the same port (SO_REUSEPORT, which granian sets); the one before takes no new
    connections and ends when those that it has are done.
    """

    def __init__(
        self,
        door: HttpDoor,
        host: str,
        port: int,
        limits: Limits,
        tls: TlsFiles | None = None,
        renewal_seconds: float = RENEWAL_SECONDS,
    ) -> None:
        """Raises OSError when the port is taken, or for TLS files that cannot be used."""
        require_free(host, port)
        self._door = door
        self._connections = door.connections(port)
        self._address = (host, port)
        self._limits = limits
        self._tls = tls
        self._renewals = None if tls is None else Renewals(tls, "http")
        self._renewal_seconds = renewal_seconds
        for name in ("_granian", "granian.access"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._servers: dict[asyncio.Task[None], Any] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._latest: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Future[None]":
        """Begin to serve; the future ends after stop(), or fails when the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._latest = self._begin()
        self._looking = loop.create_task(self._connections.watch(), name="gateway connections")
        if self._renewals is not None:
            self._renewing = loop.create_task(self._renew(self._renewals), name="gateway certificates")
        return self._ended

    async def stop(self) -> None:
        """Refuse new connections, let requests in flight end within the drain time."""
        if self._renewing is not None:
            self._renewing.cancel()
        for server in (
            self._servers.values()
        ):  # closes listeners and idle connections; others once their answers are out
            server.stop()
        await self._door.drain(self._limits.drain_seconds)
        if self._looking is not None:
            self._looking.cancel()
        if self._servers:
            await asyncio.wait(list(self._servers), timeout=2.0)

    def _begin(self) -> "asyncio.Task[None]":
        server = self._make()
        task = asyncio.get_running_loop().create_task(server.serve(), name="gateway http server")
        self._servers[task] = server
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[None]") -> None:
        """Forget a server; the latest one's end is the end."""
        self._servers.pop(task)
        error = None if task.cancelled() else task.exception()
        if task is not self._latest or self._ended.done():
            return
        if error is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _renew(self, renewals: Renewals) -> None:
        while True:
            await asyncio.sleep(self._renewal_seconds)
            if renewals.renewed():
                before = list(self._servers.values())
                made = self._begin()
                await asyncio.sleep(HANDOVER_SECONDS)
                if made.done():
                    logger.error("no server with the renewed certificate; the old one stays")
                    continue
                self._latest = made
                for server in before:
                    server.stop()

    def _make(self) -> Any:  # granian's methods carry no annotations
        host, port = self._address
        limits = self._limits
        return Server(
            self._door,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=BACKLOG,
            backpressure=most_at_once(limits),
            log_enabled=False,
            ssl_cert=self._tls.certificate if self._tls is not None else None,
            ssl_key=self._tls.key if self._tls is not None else None,
            ssl_protocol_min=SSLProtocols.tls12,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(limits.header_timeout_seconds * 1000),
                max_buffer_size=limits.max_header_bytes,
            ),
            http2_settings=HTTP2Settings(
                max_concurrent_streams=HTTP2_STREAMS,
                max_headers_size=limits.max_header_bytes,
                max_send_buffer_size=HTTP2_SEND_BYTES,
                keep_alive_interval=30_000,
            ),
        )
