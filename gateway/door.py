"""The gRPC door: any method, relayed as raw bytes to the service that owns it.

Metadata, deadline, trailing metadata, status and details pass through; what a client must not say is stripped
(`metadata.relayed_metadata`). The descriptor set gives the arity of a method; one it does not know is relayed as a
two-way stream, which carries every arity on the wire. A client that cancels cancels the service's call; a service that
ends ends the client's. Who asks too much is refused as over HTTP (`gateway.edge.admission`). Reflection and health are the
door's own, merged over all services, and always let in.
"""

from __future__ import annotations  # grpc's generic classes are subscriptable for type checkers only

import asyncio
import time
from typing import Any

import grpc

from gateway import failures
from gateway.backends import ANSWER_TIMES, Backend, Backends
from gateway.cancelling import cancel, outlived
from gateway.edge.admission import Admission, Ticket
from gateway.health import HealthService
from gateway.metadata import relayed_metadata
from gateway.metrics import Metrics
from gateway.proxies import Proxies
from gateway.reflection import reflection_handler
from gateway.settings import Limits
from gateway.tls import TlsFiles, grpc_credentials
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.schema import Schema

KEEPALIVE_MILLISECONDS = 60_000
KEEPALIVE_TIMEOUT_MILLISECONDS = 20_000


class GrpcDoor(grpc.GenericRpcHandler):
    """Finds the handler of each incoming call."""

    def __init__(
        self,
        schema: Schema,
        backends: Backends,
        health: HealthService,
        metrics: Metrics,
        proxies: Proxies,
        admission: Admission | None = None,
    ) -> None:
        """Without an `admission` everybody is let in."""
        self._schema = schema
        self._admission = admission
        self._backends = backends
        self._proxies = proxies
        self._metrics = metrics
        self._own = {**reflection_handler(schema.raw, schema.services), **health.handlers()}
        self._made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method; None makes gRPC answer UNIMPLEMENTED."""
        path = str(handler_call_details.method)
        handler = self._own.get(path) or self._made.get(path)
        if handler is not None:
            return handler
        backend = self._backends.of(path[1:].rpartition("/")[0])
        if backend is None:
            return None
        method = self._schema.methods.get(path)
        if method is None:  # not remembered: names the contract does not have are without bound
            return self._relay(backend, path, "bidi_streaming", "other", retryable=False)
        self._made[path] = self._relay(backend, path, method.kind, path, retryable=method.retryable)
        return self._made[path]

    def _relay(
        self, backend: Backend, path: str, kind: str, label: str, *, retryable: bool
    ) -> grpc.RpcMethodHandler[Any, Any]:
        call = backend.call(path, kind, retryable=retryable) if label == path else _uncached(backend, path)
        return _Relay(backend, call, kind, label, self._metrics, self._proxies, self._admission).handler()


class _Relay:
    """Relays one method."""

    def __init__(
        self,
        backend: Backend,
        call: Any,
        kind: str,
        label: str,
        metrics: Metrics,
        proxies: Proxies,
        admission: Admission | None,
    ) -> None:
        self._backend = backend
        self._kind = kind
        self._call = call
        self._label = label
        self._metrics = metrics
        self._proxies = proxies
        self._admission = admission

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        if self._kind == "unary":
            return grpc.unary_unary_rpc_method_handler(self._to_one)
        if self._kind == "client_streaming":
            return grpc.stream_unary_rpc_method_handler(self._to_one)
        many: Any = self._to_many  # what grpc's types know of is a generator
        if self._kind == "server_streaming":
            return grpc.unary_stream_rpc_method_handler(many)
        return grpc.stream_stream_rpc_method_handler(many)

    async def _to_one(self, request: Any, context: Any) -> bytes:
        """One answer; `request` is the message's bytes or an iterator of them."""
        ticket = await self._let_in(context)
        deadline = _deadline(context)
        call = None
        try:
            call = self._begin(request, context)
            answered: bytes = await outlived(call)
        except grpc.aio.AioRpcError as error:
            await self._abort(context, error, deadline)
            raise
        finally:
            _end(call, ticket)
        await context.send_initial_metadata(_sendable(await call.initial_metadata()))
        context.set_trailing_metadata(_sendable(await call.trailing_metadata()))
        self._metrics.relayed(self._label, "OK")
        return answered

    async def _to_many(self, request: Any, context: Any) -> None:
        """A stream of answers.

        They are written rather than yielded: a generator whose client went away between two items is closed when the garbage
        collector finds it, and the service's call would run on until then.
        """
        ticket = await self._let_in(context)
        deadline = _deadline(context)
        call = None
        try:
            call = self._begin(request, context)
            await context.send_initial_metadata(_sendable(await call.initial_metadata()))
            while (item := await call.read()) is not grpc.aio.EOF:
                await context.write(item)
            context.set_trailing_metadata(_sendable(await call.trailing_metadata()))
            self._metrics.relayed(self._label, "OK")
        except grpc.aio.AioRpcError as error:
            await self._abort(context, error, deadline)
        finally:
            _end(call, ticket)

    async def _let_in(self, context: Any) -> Ticket | None:
        """Take a place for the call, or abort it. The ticket must leave()."""
        if self._admission is None:
            return None
        client = peer_address(context.peer())
        if not self._proxies.trusts_nobody:
            lines = [v for k, v in context.invocation_metadata() or () if k == "x-forwarded-for"]
            client = self._proxies.client(client, ",".join(map(str, lines)))
        ticket = None
        try:
            ticket = self._admission.enter(client)
            if self._kind not in ("unary", "client_streaming"):
                ticket.becomes_stream()
        except GatewayError as error:
            if ticket is not None:
                ticket.leave()
            self._metrics.relayed(self._label, grpc.StatusCode.RESOURCE_EXHAUSTED.name)
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        return ticket

    def _begin(self, request: Any, context: Any) -> Any:
        incoming, peer = context.invocation_metadata() or (), peer_address(context.peer())
        metadata, _ = relayed_metadata(incoming, peer, self._proxies)
        return self._call(request, metadata=metadata, timeout=context.time_remaining())

    async def _abort(self, context: Any, error: grpc.aio.AioRpcError, deadline: float | None) -> None:
        """End the client's call as the service's call ended."""
        self._metrics.relayed(self._label, error.code().name)
        trailing = _sendable(error.trailing_metadata())
        own: GatewayError | None = None
        if not any(key == "grpc-status-details-bin" for key, _ in trailing):
            own = failures.own_error(error, self._backend, deadline)
        if own is None:
            await context.abort(error.code(), error.details() or "", trailing)
        else:
            await _refuse(context, error.code(), own, trailing)


async def _refuse(
    context: Any, code: grpc.StatusCode, error: GatewayError, trailing: tuple[tuple[str, Any], ...] = ()
) -> None:
    """Abort with an error of the gateway's own."""
    detail = ("grpc-status-details-bin", error.to_status().SerializeToString())
    await context.abort(code, error.message, (*trailing, detail))


def _end(call: Any, ticket: Ticket | None) -> None:
    """Nothing is left of a call, whichever way it ended."""
    if call is not None:
        cancel(call)
    if ticket is not None:
        ticket.leave()


def _uncached(backend: Backend, path: str) -> Any:
    return backend.channel.stream_stream(path)


def _deadline(context: Any) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def _sendable(metadata: Any) -> tuple[tuple[str, Any], ...]:
    """Metadata of a service without what gRPC writes itself."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if not key.startswith("grpc-") or key == "grpc-status-details-bin"
    )


def peer_address(peer: str) -> str:
    """`ipv4:127.0.0.1:5000` → `127.0.0.1`, `ipv6:%5B::1%5D:5000` → `::1`; anything else as it is."""
    kind, _, rest = peer.partition(":")
    if kind == "ipv4":
        return rest.rpartition(":")[0]
    if kind == "ipv6":
        return rest.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").strip("[]")
    return peer


class GrpcServer:
    """The server around a GrpcDoor: plaintext, or TLS with `tls`."""

    def __init__(
        self, door: GrpcDoor, host: str, port: int, limits: Limits, tls: TlsFiles | None = None
    ) -> None:
        """Raises OSError for TLS files that cannot be used, RuntimeError when the port is taken."""
        self._limits = limits
        self._server = grpc.aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers((door,))
        address = f"{host}:{port}"
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, grpc_credentials(tls))

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Refuse new calls, let those in flight end within the drain time."""
        await asyncio.wait_for(self._server.stop(self._limits.drain_seconds), self._limits.drain_seconds + 2)


def _options(limits: Limits) -> list[tuple[str, int]]:
    options = [
        ("grpc.so_reuseport", 0),  # a taken port must be an error
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", limits.max_body_bytes * ANSWER_TIMES),
        ("grpc.max_metadata_size", limits.max_header_bytes),
        ("grpc.max_concurrent_streams", 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client that is gone without a word holds its streams no longer than this.
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
    ]
    if limits.grpc_max_connection_age_seconds:
        age = int(limits.grpc_max_connection_age_seconds * 1000)
        options.append(("grpc.max_connection_age_ms", max(1, age)))
    return options
