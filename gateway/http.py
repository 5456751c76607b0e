"""The HTTP door: an ASGI application, which granian serves in the process's own event loop (`gateway.server`).

Every request passes the same gate: headers, what stands in front (`gateway.edge.front`), path length, admission, own page or route,
then the relay. Probes of the operator's own are always let in. Whatever is raised on the way
becomes one google.rpc.Status answer; an unexpected exception becomes INTERNAL with an incident id and is logged under it
(by its types and places only: its text may quote a token or password).
Granian and hyper bound what comes before: header bytes and count (100 lines; 431), header time, connections, HTTP/2
streams and header lists. Routing uses `raw_path`, because ASGI's `path` is already decoded.
"""

import asyncio
import secrets
import time
from typing import Any, Final

from loguru import logger

from gateway.connections import Connections, Peer
from gateway.edge.admission import Admission
from gateway.edge.cors import UNKNOWN_PATH_METHODS, cors_of
from gateway.edge.front import Front
from gateway.exchange import GONE, ClientGoneError, Exchange, Receive, Scope, Send
from gateway.failures import STOPPING
from gateway.metadata import RequestHeaders
from gateway.metrics import UNMATCHED, Metrics
from gateway.pages import PROBES, Pages
from gateway.protocols.door import ProcedureDoor
from gateway.proxies import Proxies
from gateway.relay import RestRelay
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError, answer, internal, malformed, too_large
from mesh.telemetry.last_words import places

_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpDoor:
    """The ASGI application."""

    def __init__(
        self,
        relay: RestRelay,
        pages: Pages,
        metrics: Metrics,
        limits: Limits,
        procedures: ProcedureDoor | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`admission` is shared with the gateway's other doors; without one this door has its own."""
        self._proxies = Proxies(limits.trusted_proxies)
        self._cors = cors_of(limits.cors_origins)
        self._front = Front(self._proxies, self._cors, limits.hsts)
        self._admission = admission or Admission(limits)
        self._relay = relay
        self._procedures = procedures
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
        exchange.write_timeout = self._limits.write_timeout_seconds
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
            exchange.close()
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
        if self._procedures is not None:
            self._procedures.end_streams()
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
            exchange.extra = self._front.look(exchange.headers, exchange.peer, exchange.scheme)
            self._check_length(exchange)
            exchange.headers.require_sound(exchange.version)
            if exchange.path not in PROBES:
                self._let_in(exchange)
            if self._cors is not None and exchange.method == "OPTIONS" and await self._is_preflight(exchange):
                return label
            page = self._pages.find(exchange)
            if page is not None:
                label = exchange.path
                await page(exchange)
                return label
            if self._procedures is not None and (procedure := self._procedures.find(exchange.path)):
                label = procedure.label
                await self._procedures.serve(exchange, procedure)
                return label
            endpoint, values = self._relay.route(exchange)
            label = endpoint.label
            await self._relay.serve(exchange, endpoint, values)
        except GatewayError as error:
            await self._refuse(exchange, error)
        except ClientGoneError:
            await self._broken_off(exchange)
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
        if self._procedures is not None and await self._procedures.refuse(exchange, error):
            return
        await exchange.respond_error(answer(error))

    async def _defect(self, exchange: Exchange, label: str, error: Exception) -> None:
        incident = secrets.token_hex(8)
        bound = logger.bind(incident=incident, route=label, request_id=exchange.headers.request_id)
        bound.bind(**places(error)).error("request failed unexpectedly")
        if not exchange.status:
            await self._refuse(exchange, internal(incident))
