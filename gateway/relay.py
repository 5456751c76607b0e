"""One REST call: bind, call the service with raw bytes, render.

Unary answers come whole. A server stream comes as NDJSON, one flushed line an item; its first item is awaited before the
headers leave, so that a stream which fails at once still has its real HTTP status. A client stream is served where its body is a file,
which is passed on as it comes (`gateway.uploads`); other client streams answer 501.
A client that goes away cancels the call. What a browser's call has to do with cookies is `gateway.browser`'s to say.
"""

import asyncio
import secrets
import time
from dataclasses import replace
from typing import Any

import grpc
from loguru import logger

from gateway import failures
from gateway.backends import Backend, Backends
from gateway.browser.sessions import BrowserCall, Browsers
from gateway.edge.conditional import Conditions, is_not_modified
from gateway.edge.inflate import plain, require_plain
from gateway.edge.traits import traits_of
from gateway.exchange import GONE, Exchange
from gateway.metadata import Metadata, response_headers
from gateway.settings import Limits
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import CodecError
from gateway.transcoding.error_page import wants_page
from gateway.transcoding.errors import UNAVAILABLE, UNIMPLEMENTED, GatewayError, answer, internal, unavailable
from gateway.transcoding.rendering import NDJSON, error_item
from gateway.transcoding.transcoder import Endpoint, Transcoder, wrong_method
from gateway.uploads import messages_of

STOPPING = GatewayError(UNAVAILABLE, "SHUTTING_DOWN", "the gateway is stopping; connect again")


class RestRelay:
    """Serves the endpoints of a transcoder from backends; without `browsers` nobody is taken for one."""

    def __init__(
        self, transcoder: Transcoder, backends: Backends, limits: Limits, browsers: Browsers | None = None
    ) -> None:
        self._transcoder = transcoder
        self._backends = backends
        self._limits = limits
        self._browsers = browsers
        self._traits = traits_of(transcoder.schema, transcoder.endpoints)
        self._conditions = Conditions(self._traits)
        self._streams: set[asyncio.Task[Any]] = set()

    def end_streams(self) -> None:
        """End every open stream with an error item that says why; a stream has no end of its own to wait for."""
        for task in self._streams:
            task.cancel()

    def route(self, exchange: Exchange) -> tuple[Endpoint, list[str]]:
        """Find the endpoint; raises GatewayError 404, 405 or 400."""
        return self._transcoder.route(exchange.method, exchange.path)

    async def serve(self, exchange: Exchange, endpoint: Endpoint, values: list[str]) -> None:
        """Answer the request; raises GatewayError while nothing has been sent."""
        exchange.as_page = endpoint.renderer.raw and wants_page(exchange.headers.get(b"accept"))
        browser = None
        if self._browsers is not None:
            browser = self._browsers.enter(exchange.headers, exchange.method, endpoint)
        method = endpoint.method
        backend = self._backends.of(method.service)
        if backend is None:
            raise unavailable(method.service)
        takes_file = method.kind == "client_streaming" and endpoint.binder.file_field
        if method.kind in ("client_streaming", "bidi_streaming") and not takes_file:
            raise GatewayError(UNIMPLEMENTED, "NOT_IMPLEMENTED", "client streams are served over gRPC only")
        if exchange.method == "HEAD" and method.kind != "unary":
            raise wrong_method(["GET"])
        exchange.compressible = self._traits[endpoint].compressible
        exchange.condition = self._conditions.of(exchange.headers, exchange.method, endpoint)
        if method.kind == "server_streaming" and exchange.ticket is not None:
            exchange.ticket.becomes_stream()
        metadata = exchange.headers.metadata(exchange.client)
        timeout = self._timeout(exchange, streaming=method.kind != "unary")
        coding = exchange.headers.get(b"content-encoding")
        if takes_file:
            require_plain(coding)
            await self._upload(exchange, endpoint, backend, values, metadata, timeout, browser)
            return
        body = await exchange.read_body(self._limits.max_body_bytes, self._limits.body_timeout_seconds)
        if coding is not None:
            body = await plain(body, coding, self._limits.max_body_bytes)
        headers = exchange.headers
        parts = RequestParts(exchange.query, body, headers.content_type, headers.idempotency_key)
        wire = endpoint.bind(values, parts)
        if browser is not None:
            wire = browser.fill(wire)
        if exchange.condition is not None:
            wire = exchange.condition.fill(wire)
        if method.kind == "unary":
            await self._unary(exchange, endpoint, backend, wire, metadata, timeout, browser)
        else:
            await self._stream(exchange, endpoint, backend, wire, metadata, timeout)

    def _timeout(self, exchange: Exchange, *, streaming: bool) -> float | None:
        asked = exchange.headers.timeout()
        if asked is None:
            return None if streaming else self._limits.default_deadline_seconds
        return asked if streaming else min(asked, self._limits.max_deadline_seconds)

    async def _unary(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        backend: Backend,
        wire: bytes,
        metadata: Metadata,
        timeout: float | None,
        browser: BrowserCall | None,
    ) -> None:
        deadline = _deadline(timeout)
        call = backend.call(endpoint.method.path, "unary", retryable=endpoint.method.retryable)(
            wire, metadata=metadata, timeout=timeout
        )
        try:
            with exchange.watch(call.cancel):
                answered: bytes = await call
        except grpc.aio.AioRpcError as error:
            await self._fail(exchange, error, backend, deadline, browser)
            return
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            raise
        await self._respond(exchange, endpoint, call, answered, browser)

    async def _upload(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        backend: Backend,
        values: list[str],
        metadata: Metadata,
        timeout: float | None,
        browser: BrowserCall | None,
    ) -> None:
        """Pass the body on as it comes, until the service has enough of it."""
        deadline = _deadline(timeout)
        call = backend.call(endpoint.method.path, "client_streaming")(metadata=metadata, timeout=timeout)
        try:
            if not await self._send_file(exchange, endpoint, call, values):
                await exchange.discard(self._limits.max_body_bytes)
            with exchange.watch(call.cancel):
                answered: bytes = await call
        except grpc.aio.AioRpcError as error:
            await self._fail(exchange, error, backend, deadline, browser)
            return
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            raise
        finally:
            call.cancel()
        await self._respond(exchange, endpoint, call, answered, browser)

    async def _send_file(self, exchange: Exchange, endpoint: Endpoint, call: Any, values: list[str]) -> bool:
        """Whether the service has read all of it; False if it ended the call before."""
        headers = exchange.headers
        said = RequestParts(exchange.query, b"", headers.content_type, headers.idempotency_key)
        header = headers.get(b"content-type") or ""
        pieces = exchange.body_pieces(self._limits.body_timeout_seconds)
        async for parts in messages_of(pieces, said, header, endpoint.binder.file_field):
            wire = endpoint.bind(values, parts)
            try:
                await call.write(wire)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return False
        await call.done_writing()
        return True

    async def _respond(
        self, exchange: Exchange, endpoint: Endpoint, call: Any, answered: bytes, browser: BrowserCall | None
    ) -> None:
        headers = response_headers(await call.initial_metadata(), await call.trailing_metadata())
        try:
            if browser is not None:
                answered, cookies = browser.keep(answered)
                headers += cookies
            etag = self._conditions.tag(endpoint, answered, headers)
            if etag and is_not_modified(exchange.headers, exchange.method, etag):
                await exchange.respond_nothing(304, headers)
                return
            content_type, body = endpoint.renderer.unary(answered)
        except CodecError:
            raise _unprintable(endpoint) from None
        await exchange.respond(200, content_type, body, headers)

    async def _stream(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        backend: Backend,
        wire: bytes,
        metadata: Metadata,
        timeout: float | None,
    ) -> None:
        deadline = _deadline(timeout)
        call = backend.call(endpoint.method.path, "server_streaming")(
            wire, metadata=metadata, timeout=timeout
        )
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            with exchange.watch(call.cancel):
                await self._pump(exchange, endpoint, call, backend, deadline)
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            stopping = answer(STOPPING)
            if exchange.status:
                await self._end_broken(exchange, stopping.body, raw=endpoint.renderer.raw)
            else:
                await exchange.respond_error(stopping)
        finally:
            call.cancel()
            if task is not None:
                self._streams.discard(task)

    async def _pump(
        self, exchange: Exchange, endpoint: Endpoint, call: Any, backend: Backend, deadline: float | None
    ) -> None:
        renderer = endpoint.renderer
        try:
            item = await call.read()
        except grpc.aio.AioRpcError as error:
            await self._fail(exchange, error, backend, deadline)
            return
        content_type = NDJSON
        if renderer.raw and item is not grpc.aio.EOF:
            content_type, _ = renderer.http_body(item)
        headers = [(b"content-type", content_type), *response_headers(await call.initial_metadata(), None)]
        await exchange.start(200, headers)
        try:
            while item is not grpc.aio.EOF:
                await exchange.piece(renderer.http_body(item)[1] if renderer.raw else renderer.item(item))
                item = await call.read()
        except grpc.aio.AioRpcError as error:
            failed = failures.to_http(error, backend, deadline, self._transcoder.statuses)
            await self._end_broken(exchange, failed.body, raw=renderer.raw)
        except CodecError:
            await self._end_broken(exchange, answer(_unprintable(endpoint)).body, raw=renderer.raw)
        else:
            await exchange.piece(b"", last=True)

    async def _end_broken(self, exchange: Exchange, status: dict[str, Any], *, raw: bool) -> None:
        """End a started stream as failed: a last item tells why; raw bytes have no room for one and stay incomplete."""
        if not raw:
            await exchange.piece(error_item(status), last=True)

    async def _fail(
        self,
        exchange: Exchange,
        error: grpc.aio.AioRpcError,
        backend: Backend,
        deadline: float | None,
        browser: BrowserCall | None = None,
    ) -> None:
        if exchange.status == GONE:
            return
        failed = failures.to_http(error, backend, deadline, self._transcoder.statuses)
        if browser is not None and error.code() is grpc.StatusCode.UNAUTHENTICATED:
            failed = replace(failed, headers=(*failed.headers, *browser.rejected()))
        if exchange.condition is not None:
            failed = exchange.condition.judge(failed)
        await exchange.respond_error(failed)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _unprintable(endpoint: Endpoint) -> GatewayError:
    incident = secrets.token_hex(8)
    logger.bind(incident=incident, method=endpoint.method.path).error("response cannot be sent over HTTP")
    return internal(incident)
