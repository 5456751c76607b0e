"""A real gRPC server for any descriptor set: it echoes, unless a method has a behaviour of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2

ENDED_BEFORE_CANCELLED = 0.01
"""Seconds. grpc.aio ends a stream of requests that was cancelled as if it were complete; the cancellation comes right behind."""

Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]


@dataclass
class Seen:
    """One call as the backend saw it."""

    method: str
    requests: list[Any]
    metadata: dict[str, Any]
    remaining: float | None
    cancelled: bool = False


class ScriptedBackend(grpc.GenericRpcHandler):
    """Serves every method of a descriptor set. No dataclass: a failing property prints all fields of one, here a whole contract."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.behaviours: dict[str, Any] = {}
        """By the method's name, or by its full name where several services have one of that name."""
        self.seen: list[Seen] = []
        """What arrived."""
        self.impatient: set[str] = set()
        """Methods that have enough before they have read anything."""
        pool = DescriptorPool()
        files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file}
        for file in files.values():  # protoc writes dependencies first
            pool.AddSerializedFile(file.SerializeToString())
        self.pool = pool
        self.methods: dict[str, Any] = {}
        for file in files.values():
            for service in pool.FindFileByName(file.name).services_by_name.values():
                for method in service.methods:
                    self.methods[f"/{service.full_name}/{method.name}"] = method

    def type(self, name: str) -> Any:
        """The message class of a full type name."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, None when the set has no such method."""
        method = self.methods.get(handler_call_details.method)
        if method is None:
            return None
        one = self._one(method)
        many = self._many(method)
        parse = message_factory.GetMessageClass(method.input_type).FromString
        arity = (bool(method.client_streaming), bool(method.server_streaming))
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[arity]
        return make(many if arity[1] else one, request_deserializer=parse, response_serializer=_write)

    def _note(self, method: Any, context: Any) -> Seen:
        metadata = dict(context.invocation_metadata())
        noted = Seen(method.name, [], metadata, context.time_remaining())
        self.seen.append(noted)
        return noted

    def _behaviour(self, method: Any) -> Any:
        return self.behaviours.get(method.full_name) or self.behaviours.get(method.name)

    def _one(self, method: Any) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            noted = self._note(method, context)
            if method.name in self.impatient:
                await abort(context, 11, "enough")
            try:
                if method.client_streaming:
                    async for item in request:
                        noted.requests.append(item)
                    await asyncio.sleep(ENDED_BEFORE_CANCELLED)
                else:
                    noted.requests.append(request)
                last = (
                    noted.requests[-1]
                    if noted.requests
                    else message_factory.GetMessageClass(method.input_type)()
                )
                behaviour = self._behaviour(method)
                return await behaviour(last, context) if behaviour else last
            except asyncio.CancelledError:
                noted.cancelled = True
                raise

        return handle

    def _many(self, method: Any) -> Any:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            noted = self._note(method, context)
            try:
                if method.client_streaming:
                    async for item in request:
                        noted.requests.append(item)
                        yield item
                    await asyncio.sleep(ENDED_BEFORE_CANCELLED)
                else:
                    noted.requests.append(request)
                    async for item in self._behaviour(method)(request, context):
                        yield item
            except (asyncio.CancelledError, GeneratorExit):
                noted.cancelled = True
                raise

        return handle


def _write(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written


async def abort(context: Any, code: int, message: str, *details: Any) -> None:
    """Abort with a google.rpc.Status holding details."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),) if details else ()
    grpc_code = next(one for one in grpc.StatusCode if one.value[0] == code)
    await context.abort(grpc_code, message, trailing)


def echo_behaviours(backend: ScriptedBackend) -> dict[str, Any]:
    """What the methods of echo.proto do apart from echoing."""
    thing, response = (
        backend.type("vivesphere.echo.v1.Thing"),
        backend.type("vivesphere.echo.v1.ThingResponse"),
    )
    http_body = backend.type("google.api.HttpBody")

    async def fail(request: Any, context: Any) -> Any:
        info = error_details_pb2.ErrorInfo(reason="BOT_NOT_FOUND", domain="vivesphere")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(1500)
        details = {"": (), "info": (info,), "retry": (info, retry)}[getattr(request, "with")]
        await abort(context, request.code, "as asked", *details)

    async def fail_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.after):
            yield thing(big=number)
        await fail(request, context)

    async def count(request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.after):
            yield thing(big=number)
            await asyncio.sleep(0.005 if request.after > 1000 else 0)

    async def show(request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-init", "i"), ("x-bytes-bin", b"\x00\x01"), ("etag", '"7"')))
        context.set_trailing_metadata((("x-trail", "t"),))
        if request.id == "none":
            return response()
        return response(thing=thing(id=request.id, big=5), text="plain")

    async def download(request: Any, context: Any) -> Any:
        return http_body(content_type="text/html", data=b"<p>" + request.id.encode())

    async def sleep(request: Any, context: Any) -> Any:
        await asyncio.sleep(request.seconds)
        return request

    return {
        "Fail": fail, "FailStream": fail_stream, "Count": count, "ShowThing": show, "ShowText": show,
        "Download": download, "Sleep": sleep,
    }  # fmt: skip
