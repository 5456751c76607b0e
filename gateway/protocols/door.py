"""One call by the method's own name: read it in its dialect, call the service with raw bytes, answer in the same dialect.

What holds for REST holds here: a browser's unsafe call must come from this origin, cookies fill and take their fields, a call whose
client goes away is cancelled, streams end with a reason when the gateway stops. Client streams are gRPC's alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import grpc

from gateway.answers import unprintable
from gateway.backends import Backends
from gateway.browser.sessions import BrowserCall, Browsers
from gateway.cancelling import cancel
from gateway.exchange import Exchange
from gateway.failures import STOPPING
from gateway.metrics import Metrics
from gateway.protocols import failure as failures
from gateway.protocols.calls import Call, CallFailedError, begin
from gateway.protocols.choice import Choice
from gateway.protocols.connect import STREAM_TYPE
from gateway.protocols.dialect import Dialect, StreamDialect, UnaryDialect
from gateway.protocols.failure import Failure
from gateway.protocols.grpc_web import TYPE
from gateway.protocols.headers import Header, call_metadata
from gateway.protocols.procedures import Procedure, find_procedures
from gateway.settings import Limits
from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import UNIMPLEMENTED, GatewayError, unavailable
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder

_OF_HTTP: Final = frozenset({405, 415})  # refusals that concern HTTP, and no call
_UNAUTHENTICATED: Final = grpc.StatusCode.UNAUTHENTICATED.value[0]


class ProcedureDoor:
    """Serves procedures from backends; without `browsers` nobody is taken for one."""

    def __init__(
        self,
        schema: Schema,
        procedures: Mapping[str, Procedure],
        backends: Backends,
        limits: Limits,
        metrics: Metrics,
        browsers: Browsers | None = None,
    ) -> None:
        self.find = procedures.get
        """The procedure at a raw path, or None."""
        self._choice = Choice(schema.details)
        self._backends = backends
        self._limits = limits
        self._metrics = metrics
        self._browsers = browsers
        self._streams: set[asyncio.Task[Any]] = set()

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def end_streams(self) -> None:
        """End every open stream with a status that says why."""
        for task in self._streams:
            task.cancel()

    async def serve(self, exchange: Exchange, procedure: Procedure) -> None:
        """Answer the request; raises GatewayError while nothing has been sent, ClientGoneError."""
        dialect = self._choice.for_call(exchange, procedure)
        browser = None
        if self._browsers is not None:
            browser = self._browsers.enter(exchange.headers, exchange.method, procedure)
        method = procedure.method
        if method.kind in ("client_streaming", "bidi_streaming"):
            raise GatewayError(UNIMPLEMENTED, "NOT_IMPLEMENTED", "client streams are served over gRPC only")
        backend = self._backends.of(method.service)
        if backend is None:
            raise unavailable(method.service)
        timeout = self._limits.timeout(dialect.timeout(exchange.headers), streaming=method.kind != "unary")
        if method.kind == "server_streaming" and exchange.ticket is not None:
            exchange.ticket.becomes_stream()
        metadata = call_metadata(exchange.headers, exchange.client)
        wire = await dialect.request(exchange, procedure, self._limits)
        if browser is not None:
            wire = browser.fill(wire)
        call = begin(backend, method, wire, metadata, timeout)
        try:
            if isinstance(dialect, UnaryDialect) and method.kind == "unary":
                await self._unary(exchange, procedure, dialect, call, browser)
            elif isinstance(dialect, StreamDialect):
                await self._stream(exchange, procedure, dialect, call)
        finally:
            cancel(call.handle)

    async def refuse(self, exchange: Exchange, error: GatewayError) -> bool:
        """Say an error in the dialect of a request that nothing was answered to; False when it is in none."""
        if error.http_status in _OF_HTTP:
            return False
        procedure = self.find(exchange.path)
        if procedure is not None:
            try:
                dialect: Dialect | None = self._choice.for_call(exchange, procedure)
            except GatewayError:
                return False
        else:
            dialect = self._choice.of(exchange) if _is_call(exchange) else None
        if dialect is None:
            return False
        failure = failures.own(error)
        self._metrics.relayed(procedure.label if procedure is not None else "other", failure.name)
        await dialect.fail(exchange, failure)
        return True

    async def _unary(
        self,
        exchange: Exchange,
        procedure: Procedure,
        dialect: UnaryDialect,
        call: Call,
        browser: BrowserCall | None,
    ) -> None:
        try:
            with call.failing(exchange):
                answered: bytes = await call.handle
        except CallFailedError as error:
            failure = error.failure
            if browser is not None and failure.code == _UNAUTHENTICATED:
                failure = replace(failure, headers=(*failure.headers, *browser.rejected()))
            self._metrics.relayed(procedure.label, failure.name)
            await dialect.fail(exchange, failure)
            return
        initial, trailing = await call.handle.initial_metadata(), await call.handle.trailing_metadata()
        cookies: Sequence[Header] = ()
        if browser is not None:
            try:
                answered, cookies = browser.keep(answered)
            except CodecError:
                raise unprintable(procedure.method) from None
        await dialect.answer(exchange, procedure, answered, initial, trailing, cookies)
        self._metrics.relayed(procedure.label, "OK")

    async def _stream(
        self, exchange: Exchange, procedure: Procedure, dialect: StreamDialect, call: Call
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            trailing, failure = await self._pump(exchange, procedure, dialect, call)
        except asyncio.CancelledError:
            trailing, failure = (), failures.own(STOPPING)
        finally:
            if task is not None:
                self._streams.discard(task)
        self._metrics.relayed(procedure.label, "OK" if failure is None else failure.name)
        if not exchange.status:
            await dialect.start(exchange, ())
        await dialect.end(exchange, trailing, failure)

    async def _pump(
        self, exchange: Exchange, procedure: Procedure, dialect: StreamDialect, call: Call
    ) -> tuple[Any, Failure | None]:
        """Pass answers on until there are no more; trailing metadata, and how the call failed if it did."""
        try:
            with call.failing(exchange):
                await dialect.start(exchange, await call.initial())
                await exchange.piece(b"")  # the server keeps headers back until there is a body
                while (item := await call.handle.read()) is not grpc.aio.EOF:
                    await dialect.item(exchange, procedure, item)
                return await call.handle.trailing_metadata(), None
        except CallFailedError as error:
            return error.failure.trailing, error.failure
        except GatewayError as error:
            return (), failures.own(error)


def procedure_door(
    transcoder: Transcoder,
    backends: Backends,
    limits: Limits,
    metrics: Metrics,
    *,
    browsers: bool,
    allows: Callable[[str | None], bool] | None = None,
) -> ProcedureDoor:
    """Everything that REST leaves; with `browsers` their cookies and the cross-origin check, for which see there. Raises SchemaError."""
    found = find_procedures(transcoder, cookies=browsers)
    known = Browsers(transcoder.schema, found.values(), allows) if browsers else None
    return ProcedureDoor(transcoder.schema, found, backends, limits, metrics, known)


def _is_call(exchange: Exchange) -> bool:
    """Whether a request to an unknown path means to be a call: plain JSON may just as well be meant for REST."""
    headers = exchange.headers
    kind = headers.content_type
    return kind.startswith((TYPE, STREAM_TYPE)) or headers.get(b"connect-protocol-version") is not None
