"""OpenTelemetry's own exporter sends through the gateway's gRPC door; what arrives can be searched like everything else."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from mesh.clock import SystemClock
from mesh.context import background_call
from mesh.database import Database
from mesh.errors import ResourceExhausted
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.logging.domain.records import Filter, Record
from services.logging.servicers.otlp import MAX_EXPORTS, OtlpServicer
from services.logging.store.search import PostgresRecordSearch
from tests.integration.services.logging.serving import LogServer, gateway, log_server

Request = logs_service_pb2.ExportLogsServiceRequest


@pytest.fixture
async def server(tmp_path: Path, database: Database) -> AsyncIterator[LogServer]:
    async with log_server(tmp_path, database) as server:
        yield server


@contextmanager
def sdk(address: str, token: str, **resource: str) -> Iterator[Any]:
    """A logger of the OpenTelemetry SDK that exports to the address; all is sent when the block ends."""
    exporter = OTLPLogExporter(address, insecure=True, headers=(("authorization", f"Bearer {token}"),))
    attributes = {name.replace("_", "."): value for name, value in resource.items()}
    provider = LoggerProvider(Resource.create(attributes), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=60_000))
    try:
        yield provider.get_logger("shop.checkout", "3.1")
    finally:
        provider.shutdown()


async def found(database: Database, marker: str) -> list[Record]:
    """What was stored with the marker in its attributes, oldest first."""
    wanted = Filter(attributes={"marker": marker}, oldest_first=True)
    return await PostgresRecordSearch(database).find(wanted, None, 100)


def request(
    marker: str, count: int = 1, service: str = "shop", attributes: Mapping[str, str] = {}
) -> Request:
    """An export as a collector sends it."""
    made = Request()
    logs = made.resource_logs.add()
    logs.resource.attributes.add(key="service.name").value.string_value = service
    scope = logs.scope_logs.add()
    for n in range(count):
        record = scope.log_records.add(time_unix_nano=1_700_000_000_000_000_000 + n * 1_000)
        record.body.string_value = f"line {n}"
        for key, value in {"marker": marker, **attributes}.items():
            record.attributes.add(key=key).value.string_value = value
    return made


async def export(server: LogServer, made: Request, *roles: str, identity: str = "gateway") -> Any:
    """The answer to an export."""
    async with server.local.channel(identity, "logging") as channel:
        make: Any = logs_service_pb2_grpc.LogsServiceStub
        stub = make(channel)
        return await stub.Export(made, metadata=server.bearer(*(roles or ("exporter",))), timeout=10)


async def test_what_the_sdk_exports_through_the_gateway_is_stored(
    server: LogServer, database: Database
) -> None:
    """With an API key and nothing of ours on the other side."""
    marker, key = new_id(), server.local.api_keys.add("exporter", user_id="the exporter")
    moment = datetime(2026, 11, 25, 12, 30, 15, 123_456, tzinfo=UTC)

    def log(address: str) -> None:
        with sdk(address, key, service_name="shop", service_version="1.2", host_name="web-1") as logger:
            logger.emit(
                LogRecord(
                    timestamp=int(moment.timestamp() * 1_000_000) * 1_000,
                    severity_number=SeverityNumber.WARN,
                    severity_text="WARNING",
                    body="stock is low",
                    trace_id=0x0AF7651916CD43DD8448EB211C80319C,
                    span_id=0xB7AD6B7169203331,
                    attributes={
                        "marker": marker,
                        "left": 3,
                        "items": ["a", "b"],
                        "vivesphere.category": "TERMINAL",
                    },
                )
            )

    async with gateway(server) as (_, address):
        await asyncio.to_thread(log, address)
    [stored] = await found(database, marker)
    assert (stored.service, stored.service_version, stored.body) == ("shop", "1.2", "stock is low")
    assert (stored.severity, stored.severity_text, stored.category) == (13, "WARNING", 3)
    assert stored.time == moment
    assert stored.observed_time > moment
    assert stored.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert stored.span_id == "b7ad6b7169203331"
    assert stored.actor == "the exporter"
    assert stored.attributes["left"] == 3
    assert stored.attributes["items"] == ["a", "b"]
    assert stored.attributes["host.name"] == "web-1"
    assert stored.attributes["otel.scope.name"] == "shop.checkout"
    assert "vivesphere.category" not in stored.attributes


async def test_records_that_may_not_be_sent_are_counted_and_the_others_stored(
    server: LogServer, database: Database
) -> None:
    """The trail and the names of our own services are nobody's to write in."""
    marker = new_id()
    made = request(marker, 2)
    made.MergeFrom(request(marker, service="authentication"))
    made.MergeFrom(request(marker, service="Console"))
    made.MergeFrom(request(marker, attributes={"vivesphere.category": "USER_ACTIVITY"}))
    answer = await export(server, made)
    assert answer.partial_success.rejected_log_records == 3
    assert "service.name" in answer.partial_success.error_message
    assert [item.body for item in await found(database, marker)] == ["line 0", "line 1"]
    own = new_id()
    answer = await export(server, request(own, service="bot_manager"), identity="bot_manager")
    assert not answer.HasField("partial_success")
    assert len(await found(database, own)) == 1


async def test_exporting_needs_the_permission(server: LogServer) -> None:
    """The foreign method has our law, although its contract knows nothing of it."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await export(server, request(new_id()), "reader")
    error = from_rpc_error(refused.value)
    assert (error.code, error.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")
    assert error.metadata == {"permission": "logs.ingest"}


async def test_too_many_exports_at_once_are_told_when_to_come_back(database: Database) -> None:
    """What an exporter is not told to repeat is lost; what it is told costs it a moment."""
    let_go = asyncio.Event()

    async def keep(batch: Sequence[Record]) -> Collection[str]:
        await let_go.wait()
        return ()

    servicer = OtlpServicer(keep, SystemClock())
    with background_call("test"):
        running = [
            asyncio.ensure_future(servicer.Export(request(new_id()), None)) for _ in range(MAX_EXPORTS)
        ]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted) as refused:
            await servicer.Export(request(new_id()), None)
        assert refused.value.retry_after
        let_go.set()
        await asyncio.gather(*running)
        assert await servicer.Export(request(new_id()), None) == logs_service_pb2.ExportLogsServiceResponse()


async def test_secrets_are_taken_out_and_nul_does_no_harm(server: LogServer, database: Database) -> None:
    """Other people's programs do not redact, and nothing of an export is lost for a byte that PostgreSQL cannot store."""
    marker = new_id()
    made = request(marker, attributes={"password": "hunter2 hunter2"})
    made.resource_logs[0].scope_logs[0].log_records[0].body.string_value = "a\0b password=hunter2secret"
    answer = await export(server, made)
    assert not answer.HasField("partial_success")
    [stored] = await found(database, marker)
    assert stored.body.startswith("a␀b")
    assert "hunter2" not in repr(stored)
