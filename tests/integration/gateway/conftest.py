"""One gateway with both doors in front of one real backend, for the session."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from gateway.backends import Backends, single_backend
from gateway.door import GrpcDoor, GrpcServer
from gateway.exchange import Exchange
from gateway.health import HealthService
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.protocols.door import ProcedureDoor, procedure_door
from gateway.proxies import Proxies
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, echo_behaviours
from tests.unit.gateway.support import echo_set


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@dataclass
class Running:
    """A started gateway and what stands behind it."""

    url: str
    grpc_port: int
    backend: ScriptedBackend
    backends: Backends
    readiness: Readiness
    procedures: ProcedureDoor


async def start_backend(backend: ScriptedBackend, port: int = 0) -> tuple[grpc.aio.Server, int]:
    """A plaintext server with health for a scripted backend."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((backend,))
    health = health_aio.HealthServicer()
    for name in ("", *{path[1:].rpartition("/")[0] for path in backend.methods}):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def without_collector() -> AsyncIterator[None]:
    """No request that ends in here waits for the garbage collector: objects that know each other in a circle stay until it comes."""

    def exchanges() -> int:
        return sum(type(one) is Exchange for one in gc.get_objects())

    gc.collect()
    before = exchanges()
    gc.disable()
    try:
        yield
        await until(lambda: exchanges() <= before)
    finally:
        gc.enable()


async def wait_for_port(port: int) -> None:
    """Return once something accepts connections on the port."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Running]:
    """Both doors in this process; `echo` answers, `missing` has nobody behind it."""
    raw = echo_set()
    backend = ScriptedBackend(raw)
    backend.behaviours |= echo_behaviours(backend)
    backend_server, backend_port = await start_backend(backend)
    schema, limits, metrics = Schema(raw), Limits(max_body_bytes=1_000_000, drain_seconds=0.2), Metrics()
    one = single_backend(f"127.0.0.1:{backend_port}", limits, schema).only
    missing = single_backend(f"127.0.0.1:{free_port()}", limits, schema).only
    assert one is not None
    assert missing is not None
    one.name = "echo"
    missing.name = "missing"
    backends = Backends({"echo": one, "missing": missing})
    readiness = Readiness(backends)
    door = GrpcDoor(schema, backends, HealthService(schema, backends, readiness), metrics, Proxies())
    grpc_server = GrpcServer(door, "127.0.0.1", 0, limits)
    await grpc_server.start()
    port = free_port()
    pages = Pages(readiness, metrics, f"127.0.0.1:{grpc_server.port}")
    transcoder = Transcoder(schema)
    procedures = procedure_door(transcoder, backends, limits, metrics, browsers=False)
    http_server = HttpServer(
        HttpDoor(RestRelay(transcoder, backends, limits), pages, metrics, limits, procedures),
        "127.0.0.1",
        port,
        limits,
    )
    http_server.start()
    await wait_for_port(port)
    yield Running(f"http://127.0.0.1:{port}", grpc_server.port, backend, backends, readiness, procedures)
    await http_server.stop()
    await grpc_server.stop()
    await backends.close()
    await backend_server.stop(0)


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the gateway; the backend's memory is fresh."""
    running.backend.seen.clear()
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as made:
        yield made
