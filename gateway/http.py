"""The HTTP door: an ASGI application served by granian in the process's own event loop.

Every request passes the same gate: headers, what stands in front (`gateway.edge.front`), path length, admission, own page or route,
then the relay. Probes of the operator's own are always let in. Whatever is raised on the way
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

from gateway.edge.admission import Admission
from gateway.edge.cors import UNKNOWN_PATH_METHODS, cors_of
from gateway.edge.front import Front
from gateway.exchange import GONE, ClientGoneError, Exchange, Receive, Scope, Send
from gateway.metadata import RequestHeaders
from gateway.metrics import UNMATCHED, Metrics
from gateway.pages import PROBES, Pages
from gateway.proxies import Proxies
from gateway.relay import RestRelay
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError, answer, internal, too_large
from mesh.telemetry.last_words import places

BACKLOG: Final = 1024
HTTP2_STREAMS: Final = 200  # at once on one connection; granian's default
_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpDoor:
    """The ASGI application."""

    def __init__(
        self,
        relay: RestRelay,
        pages: Pages,
        metrics: Metrics,
        limits: Limits,
        admission: Admission | None = None,
    ) -> None:
        """`admission` is shared with the gateway's other doors; without one this door has its own."""
        self._proxies = Proxies(limits.trusted_proxies)
        self._cors = cors_of(limits.cors_origins)
        self._front = Front(self._proxies, self._cors, limits.hsts)
        self._admission = admission or Admission(limits)
        self._relay = relay
        self._pages = pages
        self._metrics = metrics
        self._limits = limits
        self._active: set[asyncio.Task[Any]] = set()

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
        exchange.write_timeout = self._limits.write_timeout_seconds
        task = asyncio.current_task()
        if task is not None:
            self._active.add(task)
        self._metrics.in_flight.inc()
        label = UNMATCHED
        try:
            label = await self._serve(exchange)
        finally:
            exchange.close()
            if task is not None:
                self._active.discard(task)
            self._metrics.in_flight.dec()
            method = exchange.method if exchange.method in _KNOWN_METHODS else "OTHER"
            self._metrics.answered(method, label, exchange.status or GONE, time.perf_counter() - started)

    async def drain(self, seconds: float) -> None:
        """End streams, wait for the other requests in flight, then cancel those that are left."""
        self._relay.end_streams()
        if self._active:
            await asyncio.wait(self._active, timeout=seconds)
        left = list(self._active)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)

    async def _serve(self, exchange: Exchange) -> str:
        """Answer and return the route's label."""
        label = UNMATCHED
        try:
            exchange.extra = self._front.look(exchange.headers, exchange.peer, exchange.scheme)
            self._check_length(exchange)
            if exchange.path not in PROBES:
                self._let_in(exchange)
            if self._cors is not None and exchange.method == "OPTIONS" and await self._is_preflight(exchange):
                return label
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
            exchange.status = GONE
        except asyncio.CancelledError:
            if exchange.status != GONE:
                raise
        except Exception as error:
            await self._defect(exchange, label, error)
        return label

    def _let_in(self, exchange: Exchange) -> None:
        if not self._proxies.trusts_nobody:
            exchange.client = self._proxies.client(exchange.peer, exchange.headers.get(b"x-forwarded-for"))
        exchange.ticket = self._admission.enter(exchange.client)

    async def _is_preflight(self, exchange: Exchange) -> bool:
        """Answer the preflight request of an origin that is allowed; False for any other request."""
        headers = exchange.headers
        wanted = headers.get(b"access-control-request-method")
        if self._cors is None or wanted is None or not self._cors.allows(headers.get(b"origin")):
            return False
        await exchange.respond_nothing(204, self._cors.preflight(self._methods_at(exchange, wanted)))
        return True

    def _methods_at(self, exchange: Exchange, wanted: str) -> str:
        """The methods of a path, as its answer to OPTIONS lists them. `wanted` is named where the path takes any."""
        try:
            if self._pages.find(exchange) is None:
                self._relay.route(exchange)
        except GatewayError as error:
            return dict(error.headers).get(b"allow", UNKNOWN_PATH_METHODS.encode()).decode()
        return wanted if wanted in _KNOWN_METHODS else UNKNOWN_PATH_METHODS

    def _check_length(self, exchange: Exchange) -> None:
        limit = self._limits.max_path_bytes
        if len(exchange.path) + len(exchange.query) > limit:
            raise too_large("path with its query", limit, http_status=414)

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
            log_enabled=False,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(limits.header_timeout_seconds * 1000),
                max_buffer_size=limits.max_header_bytes,
            ),
            http2_settings=HTTP2Settings(
                max_concurrent_streams=HTTP2_STREAMS,
                max_headers_size=limits.max_header_bytes,
                keep_alive_interval=30_000,
            ),
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Begin to serve; the task ends after stop(), or fails when the port cannot be had."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(), name="gateway http server")
        return self._task

    async def stop(self) -> None:
        """Refuse new connections, let requests in flight end within the drain time."""
        await self._door.drain(self._limits.drain_seconds)
        self._server.stop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2.0)
