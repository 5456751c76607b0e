"""Streams of requests over HTTP: the body becomes messages as it comes, and nothing of it is held but the message under way.

A body is a file where the method takes one (`gateway.uploads`), else JSON values (`gateway.items`). Each value is bound as the body of a
unary request would be: google/api/http.proto says how one HTTP request maps to a request message, so path and query fill their fields in
every message of the stream, and no value may contradict them. (A file is one message cut into pieces; its path and query go with the first.)

The service is not asked faster than it reads, and the body is read no faster than that. A service that has heard enough, or whose time
is over, answers while the client is still sending; a body that breaks off or cannot be read cancels the call, so half of it never counts.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from gateway.answers import rendered
from gateway.exchange import GONE, ClientGoneError, Exchange
from gateway.items import at_item, values_of
from gateway.metadata import response_headers
from gateway.settings import Limits
from gateway.streams import StreamAnswers, StreamCall
from gateway.transcoding import fields
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.errors import DEADLINE_EXCEEDED, GatewayError, StatusRenderer
from gateway.uploads import messages_of


class ClientStreams:
    """Serves methods that take a stream, whether they answer once or with a stream."""

    def __init__(self, limits: Limits, statuses: StatusRenderer, answers: StreamAnswers) -> None:
        self._limits = limits
        self._statuses = statuses
        self._answers = answers

    async def serve_both_ways(self, made: StreamCall, values: list[str]) -> None:
        """Requests and answers at the same time, neither waiting for the other's end."""
        body = _Body(made.exchange, self._limits.body_timeout_seconds)
        messages = self._messages(made, values, body)
        call = self._begin(made, "bidi_streaming")

        async def feeding() -> None:
            try:
                await _send(call, messages)
            except GatewayError:
                await self._read_away(made, body)
                raise
            if not body.ended:
                return  # the service has heard enough
            with made.exchange.watch(call.cancel):
                await call.code()

        await self._answers.send(made, call, feeding)

    async def serve_one_answer(self, made: StreamCall, values: list[str]) -> None:
        """All requests, then the answer. Raises GatewayError while nothing has been sent."""
        body = _Body(made.exchange, self._limits.body_timeout_seconds)
        messages = self._messages(made, values, body)
        call = self._begin(made, "client_streaming")
        loop = asyncio.get_running_loop()
        feeding = loop.create_task(_send(call, messages), name="gateway stream feed")
        answering = loop.create_task(_answer(call), name="gateway stream answer")
        error: BaseException | None = None
        try:
            await asyncio.wait({feeding, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not feeding.done():
                await _stopped(feeding)  # the service has heard enough
            error = None if feeding.cancelled() else feeding.exception()
            if not isinstance(error, ClientGoneError):
                await self._read_away(made, body)
            if error is not None:
                raise error
            await self._answered(made, call, answering)
        finally:
            call.cancel()
            feeding.cancel()
            answering.cancel()
            await asyncio.wait({feeding, answering}, timeout=1.0)
            # What was raised knows this frame, and this frame what was raised: together they would hold the request, and with it the
            # client's connection, long after the answer.
            del feeding, answering, error

    async def _answered(self, made: StreamCall, call: Any, answering: "asyncio.Task[bytes]") -> None:
        exchange = made.exchange
        with exchange.watch(call.cancel):
            patience = self._limits.default_deadline_seconds if made.timeout is None else None
            await asyncio.wait({answering}, timeout=patience)
        if not answering.done():
            raise _too_slow(made.backend.name)
        try:
            answered = answering.result()
        except grpc.aio.AioRpcError as error:
            if exchange.status != GONE:
                await exchange.respond_error(made.failed(error, self._statuses))
            return
        except asyncio.CancelledError:
            if exchange.status == GONE:
                return
            raise
        headers = response_headers(await call.initial_metadata(), await call.trailing_metadata())
        content_type, body = rendered(made.endpoint, answered)
        await exchange.respond(200, content_type, body, headers)

    async def _read_away(self, made: StreamCall, body: "_Body") -> None:
        """Let a client that is still sending get to read the answer."""
        if not body.ended:
            await made.exchange.discard(self._limits.max_body_bytes)

    def _begin(self, made: StreamCall, kind: str) -> Any:
        method = made.endpoint.method
        return made.backend.call(method.path, kind)(metadata=made.metadata, timeout=made.timeout)

    def _messages(self, made: StreamCall, values: list[str], body: "_Body") -> AsyncIterator[bytes]:
        """The wire bytes of each message; raises GatewayError at once for a path or query that no message can have."""
        endpoint, headers = made.endpoint, made.exchange.headers
        binder = endpoint.binder
        is_file = bool(binder.file_field) or endpoint.method.input.type_name == fields.HTTP_BODY
        said = RequestParts(made.exchange.query, b"", headers.content_type, headers.idempotency_key)
        if is_file:
            return _pieces_of_a_file(made, values, said, body)
        said = RequestParts(said.query, idempotency_key=said.idempotency_key)
        endpoint.bind(values, said)
        return self._values(made, values, said, body)

    async def _values(
        self, made: StreamCall, values: list[str], said: RequestParts, body: "_Body"
    ) -> AsyncIterator[bytes]:
        content_type, limit = made.exchange.headers.content_type, self._limits.max_body_bytes
        index = 0
        async for value in values_of(body.pieces(), content_type, limit):
            try:
                wire = made.endpoint.bind(values, replace(said, body=value))
            except GatewayError as error:
                raise at_item(error, index) from None
            yield wire
            index += 1


class _Body:
    """The body of a request, which remembers whether more of it may come."""

    def __init__(self, exchange: Exchange, timeout: float) -> None:
        self._exchange = exchange
        self._timeout = timeout
        self.ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._exchange.body_pieces(self._timeout):
                yield piece
        except GatewayError:  # what did not come in time is not waited for again: nobody is sending
            self.ended = True
            raise
        self.ended = True


async def _pieces_of_a_file(
    made: StreamCall, values: list[str], said: RequestParts, body: _Body
) -> AsyncIterator[bytes]:
    header = made.exchange.headers.get(b"content-type") or ""
    file_field = made.endpoint.binder.file_field
    async for parts in messages_of(body.pieces(), said, header, file_field):
        yield made.endpoint.bind(values, parts)


async def _send(call: Any, messages: AsyncIterator[bytes]) -> None:
    """Write every message, until the service has heard enough; what it says then is the answer."""
    async for message in messages:
        try:
            await call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return
    await call.done_writing()


async def _answer(call: Any) -> bytes:
    answered: bytes = await call
    return answered


async def _stopped(task: "asyncio.Task[None]") -> None:
    """Let a task end before somebody else reads what it was reading."""
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)


def _too_slow(service: str) -> GatewayError:
    return GatewayError(
        DEADLINE_EXCEEDED,
        "DEADLINE_TOO_SHORT",
        f"the deadline passed before {service} answered",
        metadata={"service": service},
    )
