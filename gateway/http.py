"""The HTTP door: an ASGI application served by granian in the process's own event loop.

Every request passes the same gate: path length, headers, own page or route, then the relay. Whatever is raised on the way
becomes one google.rpc.Status answer; an unexpected exception becomes INTERNAL with an incident id and is logged under it
(by its types and places only: its text may quote a token or password).
Granian and hyper bound what comes before: header bytes and count (100 lines; 431), header time, connections, HTTP/2
streams and header lists. Routing uses `raw_path`, because ASGI's `path` is already decoded.
"""

import asyncio
import logging
import secrets
import socket
import time
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server
from loguru import logger

from gateway.connections import Connections, Peer, most_at_once
from gateway.exchange import GONE, ClientGoneError, Exchange, Receive, Scope, Send
from gateway.metadata import RequestHeaders
from gateway.metrics import UNMATCHED, Metrics
from gateway.pages import Pages
from gateway.relay import STOPPING, RestRelay
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError, answer, internal, malformed, too_large
from mesh.telemetry.last_words import places

BACKLOG: Final = 1024
HTTP2_STREAMS: Final = 200  # at once on one connection; granian's default
HTTP2_SEND_BYTES: Final = (
    64 * 1024
)  # held for a stream whose client opens no window; granian's default is 400 KiB
_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpDoor:
    """The ASGI application."""

    def __init__(self, relay: RestRelay, pages: Pages, metrics: Metrics, limits: Limits) -> None:
        self._relay = relay
        self._pages = pages
        self._metrics = metrics
        self._limits = limits
        self._active: dict[asyncio.Task[Any], Scope] = {}
        metrics.show("gateway_tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        try:
            headers = RequestHeaders(scope["headers"])
        except GatewayError as error:
            await Exchange(scope, receive, send, RequestHeaders(())).respond_error(answer(error))
            return
        exchange = Exchange(scope, receive, send, headers)
        task = asyncio.current_task()
        if task is not None:
            self._active[task] = scope
        self._metrics.in_flight.inc()
        label = UNMATCHED
        try:
            label = await self._serve(exchange)
        except asyncio.CancelledError:  # only a stop cancels, and it waits
            if not exchange.status:
                await exchange.respond_error(answer(STOPPING))
        finally:
            if task is not None:
                self._active.pop(task, None)
            self._metrics.in_flight.dec()
            method = exchange.method if exchange.method in _KNOWN_METHODS else "OTHER"
            self._metrics.answered(method, label, exchange.status or GONE, time.perf_counter() - started)

    def connections(self, port: int) -> Connections:
        """What looks after the connections of the port at which this application is served."""
        return Connections(port, self._limits, self._busy, self._metrics)

    def _busy(self) -> set[Peer]:
        """The connections that have a request under way."""
        clients = (scope.get("client") for scope in self._active.values())
        return {(client[0], int(client[1])) for client in clients if client}  # granian gives the port as text

    async def drain(self, seconds: float) -> None:
        """End streams, wait for the other requests in flight, then cancel those that are left; they answer 503."""
        self._relay.end_streams()
        until = time.monotonic() + seconds
        while (
            self._active and (left := until - time.monotonic()) > 0
        ):  # some may still come on open connections
            await asyncio.wait(self._active, timeout=left)
        cancelled = list(self._active)
        for task in cancelled:
            task.cancel()
        if cancelled:
            await asyncio.wait(cancelled, timeout=1.0)

    async def _serve(self, exchange: Exchange) -> str:
        """Answer and return the route's label."""
        label = UNMATCHED
        try:
            self._check_length(exchange)
            exchange.headers.require_sound(exchange.version)
            page = self._pages.find(exchange)
            if page is not None:
                label = exchange.path
                await page(exchange)
                return label
            endpoint, values = self._relay.route(exchange)
            label = endpoint.label
            await self._relay.serve(exchange, endpoint, values)
        except GatewayError as error:
            await self._refuse(exchange, error)
        except ClientGoneError:
            await self._broken_off(exchange)
        except Exception as error:
            await self._defect(exchange, label, error)
        return label

    def _check_length(self, exchange: Exchange) -> None:
        limit = self._limits.max_path_bytes
        if len(exchange.path) + len(exchange.query) > limit:
            raise too_large("path with its query", limit, http_status=414)

    async def _broken_off(self, exchange: Exchange) -> None:
        """Answer a body that ended before its time or whose chunks are malformed: the server tells both as a client that is gone, and
        whether anybody reads the answer nobody knows."""
        if not exchange.status:
            await exchange.respond_error(
                answer(malformed("the body is not complete, or its chunks are malformed"))
            )
        exchange.status = GONE

    async def _refuse(self, exchange: Exchange, error: GatewayError) -> None:
        if exchange.method == "OPTIONS" and error.http_status == 405:
            await exchange.respond_nothing(204, error.headers)
            return
        await exchange.respond_error(answer(error))

    async def _defect(self, exchange: Exchange, label: str, error: Exception) -> None:
        incident = secrets.token_hex(8)
        bound = logger.bind(incident=incident, route=label, request_id=exchange.headers.request_id)
        bound.bind(**places(error)).error("request failed unexpectedly")
        if not exchange.status:
            await exchange.respond_error(answer(internal(incident)))


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
    """Granian around an HttpDoor."""

    def __init__(self, door: HttpDoor, host: str, port: int, limits: Limits) -> None:
        """Raises OSError when the port is taken."""
        require_free(host, port)
        self._door = door
        self._connections = door.connections(port)
        self._limits = limits
        for name in ("_granian", "granian.access"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._server: Any = Server(  # typed Any: granian's methods carry no annotations
            door,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=BACKLOG,
            backpressure=most_at_once(limits),
            log_enabled=False,
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
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Begin to serve; the task ends after stop(), or fails when the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._server.serve(), name="gateway http server")
        self._looking = loop.create_task(self._connections.watch(), name="gateway connections")
        return self._task

    async def stop(self) -> None:
        """Refuse new connections, let requests in flight end within the drain time."""
        self._server.stop()  # closes the listener and idle connections; others once their answers are out
        await self._door.drain(self._limits.drain_seconds)
        if self._looking is not None:
            self._looking.cancel()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2.0)
