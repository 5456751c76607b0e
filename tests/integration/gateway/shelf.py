"""A gateway for shelf.proto whose limits are a test's own; its service keeps one book and pages of any length."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from google.rpc import error_details_pb2

from gateway.backends import single_backend
from gateway.browser.sessions import Browsers
from gateway.door import GrpcDoor, GrpcServer
from gateway.edge.admission import Admission
from gateway.edge.cors import cors_of
from gateway.health import HealthService
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.proxies import Proxies
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, abort
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port
from tests.unit.gateway.support import shelf_set


@dataclass
class Shelf:
    """A running gateway. `etag` is the book's; calls of LendBook wait while `gate` is clear."""

    client: httpx.AsyncClient
    backend: ScriptedBackend
    port: int
    grpc_port: int
    admission: Admission
    gate: asyncio.Event
    etag: str = "7"
    cancelled: int = 0

    @property
    def request(self) -> Any:
        """The last request that the service saw."""
        return self.backend.seen[-1].requests[-1]


@asynccontextmanager
async def shelf(raw: bytes | None = None, **limits: Any) -> AsyncIterator[Shelf]:
    """Serve shelf.proto, or another set, with these limits."""
    raw = raw or shelf_set()
    backend = ScriptedBackend(raw)
    backend_server, backend_port = await start_backend(backend)
    schema, bounds, metrics = Schema(raw), Limits(drain_seconds=0.2, **limits), Metrics()
    backends = single_backend(f"127.0.0.1:{backend_port}", bounds, schema)
    transcoder, cors = Transcoder(schema), cors_of(bounds.cors_origins)
    browsers = Browsers(schema, transcoder.endpoints, cors.allows if cors is not None else None)
    admission, port = Admission(bounds), free_port()
    relay = RestRelay(transcoder, backends, bounds, browsers)
    readiness = Readiness(backends)
    pages = Pages(readiness, metrics, "127.0.0.1:9090")
    server = HttpServer(
        HttpDoor(relay, pages, metrics, bounds, admission=admission), "127.0.0.1", port, bounds
    )
    server.start()
    health = HealthService(schema, backends, readiness)
    grpc_door = GrpcDoor(schema, backends, health, metrics, Proxies(bounds.trusted_proxies), admission)
    grpc_server = GrpcServer(grpc_door, "127.0.0.1", 0, bounds)
    await grpc_server.start()
    await wait_for_port(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        made = Shelf(client, backend, port, grpc_server.port, admission, asyncio.Event())
        made.gate.set()
        backend.behaviours |= behaviours(made)
        yield made
        made.gate.set()
    await server.stop()
    await grpc_server.stop()
    await backends.close()
    await backend_server.stop(0)


def behaviours(made: Shelf) -> dict[str, Any]:
    """What the methods of shelf.proto do; other contracts bring their own."""
    if "/vivesphere.shelf.v1.ShelfService/GetBook" not in made.backend.methods:
        return {}
    names = ("Book", "BookResponse", "BookRequest", "ListResponse", "Page", "KeyResponse", "Key")
    types = {name: made.backend.type(f"vivesphere.shelf.v1.{name}") for name in names}
    http_body = made.backend.type("google.api.HttpBody")

    def book(book_id: str) -> Any:
        return types["Book"](id=book_id, title="On Growth and Form", etag=made.etag)

    async def get(request: Any, context: Any) -> Any:
        if request.id == "tagged":
            await context.send_initial_metadata((("etag", 'W/"own"'),))
        return types["BookResponse"](book=None if request.id == "none" else book(request.id))

    async def read(request: Any, context: Any) -> Any:
        return book(request.id)

    async def compare(etag: str, context: Any) -> None:
        if etag and etag != made.etag:
            info = error_details_pb2.ErrorInfo(reason="ETAG_MISMATCH", domain="vivesphere")
            await abort(context, 10, "somebody was faster", info)

    async def update(request: Any, context: Any) -> Any:
        await compare(request.book.etag, context)
        return book(request.book.id)

    async def lend(request: Any, context: Any) -> Any:
        try:
            await made.gate.wait()
        except asyncio.CancelledError:
            made.cancelled += 1
            raise
        if request.id == "claimed":
            await abort(context, 10, "x", error_details_pb2.ErrorInfo(reason="ROTATION_CLAIMED"))
        await compare(request.etag, context)
        return book(request.id)

    async def delete(request: Any, context: Any) -> Any:
        await compare(request.etag, context)
        return types["BookRequest"](id=request.id)

    async def create(request: Any, context: Any) -> Any:
        return types["Page"](text=request.id)

    async def list_books(request: Any, context: Any) -> Any:
        return types["ListResponse"](books=[book(str(number)) for number in range(100)])

    async def key(request: Any, context: Any) -> Any:
        return types["KeyResponse"](note="n" * 3000, keys={"k": types["Key"](text="secret")})

    async def pages(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            for _ in range(request.count):
                yield types["Page"](text="x" * request.bytes)
            await made.gate.wait()
        except (asyncio.CancelledError, GeneratorExit):
            made.cancelled += 1
            raise

    async def long_page(request: Any, context: Any) -> Any:
        return types["Page"](text="x" * request.bytes)

    async def print_page(request: Any, context: Any) -> Any:
        return http_body(content_type="text/plain", data=b"x" * request.bytes)

    async def scan(request: Any, context: Any) -> Any:
        return types["Page"](text="scanned")

    return {
        "GetBook": get, "ReadBook": read, "ListBooks": list_books, "UpdateBook": update, "LendBook": lend, "DeleteBook": delete,
        "CreateBook": create, "GetKey": key, "Pages": pages, "LongPage": long_page, "Print": print_page, "Scan": scan,
    }  # fmt: skip
