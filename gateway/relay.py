"""One REST call: bind, call the service with raw bytes, render.

Unary calls are served here, streams of answers by `gateway.streams`, streams of requests by `gateway.client_streams`.
A client that goes away cancels the call. What a browser's call has to do with cookies is `gateway.browser`'s to say.
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Any

import grpc

from gateway import failures
from gateway.answers import rendered, unprintable
from gateway.backends import Backend, Backends
from gateway.browser.sessions import BrowserCall, Browsers
from gateway.cancelling import cancel
from gateway.client_streams import ClientStreams
from gateway.edge.conditional import Conditions, is_not_modified
from gateway.edge.inflate import plain, require_plain
from gateway.edge.traits import traits_of
from gateway.exchange import GONE, Exchange
from gateway.metadata import Metadata, response_headers
from gateway.resume import resumable_streams
from gateway.settings import Limits
from gateway.streams import StreamAnswers, StreamCall
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import CodecError
from gateway.transcoding.error_page import wants_page
from gateway.transcoding.errors import unavailable
from gateway.transcoding.transcoder import Endpoint, Transcoder, wrong_method


class RestRelay:
    """Serves the endpoints of a transcoder from backends; without `browsers` nobody is taken for one."""

    def __init__(
        self,
        transcoder: Transcoder,
        backends: Backends,
        limits: Limits,
        browsers: Browsers | None = None,
    ) -> None:
        """Raises SchemaError for a stream that cannot go on where it broke though the contract says so."""
        self._transcoder = transcoder
        self._backends = {endpoint: backends.of(endpoint.method.service) for endpoint in transcoder.endpoints}
        self._limits = limits
        self._browsers = browsers
        self._resumable = resumable_streams(transcoder.schema)
        self._traits = traits_of(transcoder.schema, transcoder.endpoints)
        self._conditions = Conditions(self._traits)
        self._answers = StreamAnswers(limits, transcoder.statuses)
        self._client_streams = ClientStreams(limits, transcoder.statuses, self._answers)

    def end_streams(self) -> None:
        """End every open stream of answers with a terminal item that says why."""
        self._answers.end_all()

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
        backend = self._backends[endpoint]
        if backend is None:
            raise unavailable(method.service)
        if exchange.method == "HEAD" and method.kind != "unary":
            raise wrong_method(["GET"])
        exchange.compressible = self._traits[endpoint].compressible
        exchange.condition = self._conditions.of(exchange.headers, exchange.method, endpoint)
        metadata = exchange.headers.metadata(exchange.client)
        timeout = self._limits.timeout(exchange.headers.timeout(), streaming=method.kind != "unary")
        if method.kind != "unary":
            if exchange.ticket is not None:
                exchange.ticket.becomes_stream()
            made = StreamCall(exchange, endpoint, backend, metadata, timeout, _deadline(timeout))
            await self._stream(made, values)
            return
        plain_message = endpoint.binder.plain
        if plain_message is not None and exchange.is_bare:
            wire = plain_message.wire(values)
        else:
            wire = await self._bound(exchange, endpoint, values)
        if browser is not None:
            wire = browser.fill(wire)
        if exchange.condition is not None:
            wire = exchange.condition.fill(wire)
        await self._unary(exchange, endpoint, backend, wire, metadata, timeout, browser)

    async def _bound(self, exchange: Exchange, endpoint: Endpoint, values: list[str]) -> bytes:
        """The one request message of a call; raises GatewayError."""
        body = await exchange.read_body(self._limits.max_body_bytes, self._limits.body_timeout_seconds)
        headers = exchange.headers
        coding = headers.get(b"content-encoding")
        if coding is not None:
            body = await plain(body, coding, self._limits.max_body_bytes)
        parts = RequestParts(exchange.query, body, headers.content_type, headers.idempotency_key)
        if endpoint.binder.takes_bytes:
            parts = replace(parts, full_content_type=headers.get(b"content-type") or "")
        return endpoint.bind(values, parts)

    async def _stream(self, made: StreamCall, values: list[str]) -> None:
        method = made.endpoint.method
        if method.kind != "server_streaming":
            require_plain(made.exchange.headers.get(b"content-encoding"))
        if method.kind == "client_streaming":
            await self._client_streams.serve_one_answer(made, values)
        elif method.kind == "bidi_streaming":
            await self._client_streams.serve_both_ways(made, values)
        else:
            wire = await self._bound(made.exchange, made.endpoint, values)
            made.resume = self._resumable.get(method.path)
            if made.resume is not None:
                headers = made.exchange.headers
                events = "text/event-stream" in (headers.get(b"accept") or "")
                wire = made.resume.fill(wire, headers.get(b"last-event-id"), wins=events)
            factory = made.backend.call(method.path, "server_streaming", retryable=method.retryable)
            await self._answers.send(made, factory(wire, metadata=made.metadata, timeout=made.timeout))

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
            with exchange.watch(partial(cancel, call)):
                answered: bytes = await call
        except grpc.aio.AioRpcError as error:
            await self._fail(exchange, error, backend, deadline, browser)
            return
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            raise
        await self._respond(exchange, endpoint, call, answered, browser)

    async def _respond(
        self, exchange: Exchange, endpoint: Endpoint, call: Any, answered: bytes, browser: BrowserCall | None
    ) -> None:
        headers = response_headers(await call.initial_metadata(), await call.trailing_metadata())
        try:
            if browser is not None:
                answered, cookies = browser.keep(answered)
                headers += cookies
            etag = self._conditions.tag(endpoint, answered, headers)
        except CodecError:
            raise unprintable(endpoint.method) from None
        if etag and is_not_modified(exchange.headers, exchange.method, etag):
            await exchange.respond_nothing(304, headers)
            return
        content_type, body = rendered(endpoint, answered)
        await exchange.respond(200, content_type, body, headers)

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
