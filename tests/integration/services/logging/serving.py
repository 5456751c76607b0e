"""LogService in this process: the real chain over mutual TLS, the real store behind it."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc

from cli.ports import LOOPBACK
from cli.registry import PROJECT_ROOT
from gateway.backends import Backend, Backends
from gateway.door import GrpcDoor, GrpcServer
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
from mesh.clock import SystemClock
from mesh.contract import services_of
from mesh.database import Database
from mesh.paging import PageTokens
from mesh.server import Registrar
from services.logging.domain.rates import CallerRates
from services.logging.domain.records import Record
from services.logging.servicers.exporting import Exporting
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.otlp import OtlpServicer
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.servicers.searching import Searching
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.search import PostgresRecordSearch
from services.logging.tailing.hub import PATIENCE
from tests.fakes.mesh import LocalServer, serving
from tests.integration.gateway.conftest import free_port, wait_for_port
from tests.integration.services.logging.stored import SECRET, Replica, replica, store
from vivesphere.logging.v1.log_service_pb2_grpc import LogServiceStub, add_LogServiceServicer_to_server

ROLES = {"reader": frozenset({"logs.read"}), "exporter": frozenset({"logs.ingest"})}
IMAGE = PROJECT_ROOT / "generated" / "vivesphere.binpb"


@dataclass(frozen=True, slots=True)
class LogServer:
    """The server, and the part of it that follows."""

    local: LocalServer
    replica: Replica

    @asynccontextmanager
    async def stub(self, identity: str = "gateway") -> AsyncIterator[LogServiceStub]:
        """LogService as `identity` reaches it."""
        async with self.local.channel(identity, "logging") as channel:
            yield LogServiceStub(channel)

    def bearer(self, *roles: str, **claims: Any) -> tuple[tuple[str, str], ...]:
        """Metadata of a signed-in user."""
        return (("authorization", f"Bearer {self.local.issuer.token(*roles, **claims)}"),)


@asynccontextmanager
async def log_server(
    folder: Path, database: Database, *, per_minute: int = 600, patience: timedelta = PATIENCE
) -> AsyncIterator[LogServer]:
    """A running server; a user may send `per_minute` records."""
    clock = SystemClock()

    async def keep(batch: Sequence[Record]) -> Collection[str]:
        await store(database, *batch)
        return ()

    search = PostgresRecordSearch(database)
    lanes = SearchLanes(lambda: SearchRules(4, 10), clock)
    async with replica(database, patience=patience) as following:
        servicer = LogServicer(
            Searching(
                search, PostgresRecordCounter(database), lanes, PageTokens(SECRET, "logging.records"), clock
            ),
            Exporting(search, lanes, clock),
            Intake(keep, CallerRates(lambda: per_minute, clock.monotonic), clock),
            following.tailing,
        )
        names = [name for name in services_of("logging") if not name.endswith("AuditService")]
        servicers: list[tuple[Registrar, Any]] = [
            (add_LogServiceServicer_to_server, servicer),
            (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, OtlpServicer(keep, clock)),
        ]
        async with serving(folder, "logging", names, servicers, roles=ROLES, max_calls=300) as local:
            yield LogServer(local, following)


@asynccontextmanager
async def gateway(server: LogServer) -> AsyncIterator[tuple[str, str]]:
    """The gateway's two doors in front of the server: the base address of REST, and the address of gRPC."""
    schema, limits, metrics = Schema(IMAGE.read_bytes()), Limits(drain_seconds=0.2), Metrics()
    async with server.local.channel("gateway", "logging") as channel:
        backends = Backends({"logging": Backend("logging", channel)}, adopted=schema.adopted)
        readiness = Readiness(backends)
        health = HealthService(schema, backends, readiness)
        door = GrpcServer(GrpcDoor(schema, backends, health, metrics, Proxies()), LOOPBACK, 0, limits)
        await door.start()
        port = free_port()
        relay = RestRelay(Transcoder(schema), backends, limits)
        rest = HttpServer(
            HttpDoor(relay, Pages(readiness, metrics, None), metrics, limits), LOOPBACK, port, limits
        )
        rest.start()
        try:
            await wait_for_port(port)
            yield f"http://{LOOPBACK}:{port}", f"{LOOPBACK}:{door.port}"
        finally:
            await rest.stop()
            await door.stop()
