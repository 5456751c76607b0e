"""grpc.health.v1 for the whole mesh.

The empty name is everything; the name of a mesh service (`bot_manager`) or of a gRPC service
(`vivesphere.bot_manager.v1.PostService`) asks the one that owns it. Watch asks again every few seconds and reports changes.
"""

from __future__ import annotations  # grpc's generic classes are subscriptable for type checkers only

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from gateway.backends import Backend, Backends
from gateway.readiness import CHECK, WATCH, Readiness, state
from gateway.transcoding.schema import Schema

WATCH_SECONDS = 2.0

_STATUS = {
    "SERVING": health_pb2.HealthCheckResponse.SERVING,
    "SERVICE_UNKNOWN": health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
}


class HealthService:
    """The handlers of the door's health service."""

    def __init__(self, schema: Schema, backends: Backends, readiness: Readiness) -> None:
        self._services = frozenset(schema.services)
        self._backends = backends
        self._readiness = readiness

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Handlers by full method path."""
        parse = health_pb2.HealthCheckRequest.FromString
        write = health_pb2.HealthCheckResponse.SerializeToString
        return {
            CHECK: grpc.unary_unary_rpc_method_handler(
                self._check, request_deserializer=parse, response_serializer=write
            ),
            WATCH: grpc.unary_stream_rpc_method_handler(
                self._watch, request_deserializer=parse, response_serializer=write
            ),
        }

    async def _check(self, request: Any, context: Any) -> Any:
        status = await self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=status)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        last = None
        while True:
            status = await self._status(request.service)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            await asyncio.sleep(WATCH_SECONDS)

    async def _status(self, service: str) -> Any:
        if not service:
            answer = await self._readiness.overall()
        else:
            backend, name = self._owner(service)
            answer = "SERVICE_UNKNOWN" if backend is None else await state(backend, name)
        return _STATUS.get(answer, health_pb2.HealthCheckResponse.NOT_SERVING)

    def _owner(self, service: str) -> tuple[Backend | None, str]:
        """The backend to ask, and the name to ask it for."""
        if service in self._backends.by_service:
            return self._backends.by_service[service], ""
        if service in self._services:
            return self._backends.of(service), service
        return None, service
