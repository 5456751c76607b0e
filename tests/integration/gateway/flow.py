"""A gateway of its own in front of a service of streams: little patience, small bodies."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from google.rpc import error_details_pb2

from gateway.backends import Backends, single_backend
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.resume import resumable_streams
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, abort
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port
from tests.unit.gateway.support import flow_set

LIMITS = Limits(
    max_body_bytes=100_000,
    event_headers_seconds=30,
    heartbeat_seconds=30,
    write_timeout_seconds=0.5,
    drain_seconds=0.2,
)
LIVELY = LIMITS.model_copy(update={"event_headers_seconds": 0.1, "heartbeat_seconds": 0.1})
"""Headers and signs of life come soon."""

NDJSON, EVENTS, JSON = "application/x-ndjson", "text/event-stream", "application/json"
FORMS = (NDJSON, EVENTS, JSON)

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to load them takes longer than most tests


@dataclass
class Flow:
    """A started gateway and the service behind it. `sent` counts the items that the service has handed to gRPC."""

    url: str
    port: int
    backend: ScriptedBackend
    service: grpc.aio.Server
    relay: RestRelay
    sent: int = 0

    def client(self) -> httpx.AsyncClient:
        """An HTTP client of the gateway."""
        return httpx.AsyncClient(base_url=self.url, timeout=20, verify=_NO_CERTIFICATES)


@asynccontextmanager
async def flowing(limits: Limits = LIMITS) -> AsyncIterator[Flow]:
    """Start both, and stop both."""
    backend = ScriptedBackend(flow_set())
    service, service_port = await start_backend(backend)
    schema = Schema(flow_set())
    one = single_backend(f"127.0.0.1:{service_port}", limits, schema).only
    assert one is not None
    one.name = "flow"
    backends = Backends({"flow": one})
    relay = RestRelay(Transcoder(schema), backends, limits, None, resumable_streams(schema))
    metrics, port = Metrics(), free_port()
    pages = Pages(Readiness(backends), metrics, None)
    server = HttpServer(HttpDoor(relay, pages, metrics, limits), "127.0.0.1", port, limits)
    server.start()
    await wait_for_port(port)
    flow = Flow(f"http://127.0.0.1:{port}", port, backend, service, relay)
    backend.behaviours |= _behaviours(flow)
    yield flow
    await server.stop()
    await backends.close()
    await service.stop(0)


def _behaviours(flow: Flow) -> dict[str, Any]:
    backend = flow.backend
    names = ("Item", "WatchResponse", "FollowResponse")
    item, watched, followed = (backend.type(f"vivesphere.flow.v1.{name}") for name in names)
    http_body = backend.type("google.api.HttpBody")

    async def ending(request: Any, context: Any) -> None:
        """What comes after the items, by topic: an end, a failure, a failure after a while, or nothing for long."""
        if request.topic == "late":
            await asyncio.sleep(0.25)
        if request.topic in ("fail", "late"):
            info = error_details_pb2.ErrorInfo(reason="BOT_NOT_FOUND", domain="vivesphere")
            await abort(context, 5, "as asked", info)
        if request.topic == "hang":
            await asyncio.sleep(60)

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        padding = "x" * 20_000 if request.topic == "flood" else "\n"
        for number in range(1, request.count + 1):
            yield watched(item=item(number=number, text=padding), resume_token=f"t{number}")
            flow.sent += 1
        await ending(request, context)

    async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
        yield followed(bookmark=item(number=request.from_revision + 1))
        yield followed(note="no id")
        yield followed(item=item(number=request.from_revision + 2))

    async def read(request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(request.count):
            yield http_body(content_type="text/csv", data=b"a,b\n")
        await ending(request, context)

    return {"Watch": watch, "Follow": follow, "Read": read}
