"""Puts the logging service together: the one place where its concrete classes meet."""

from collections.abc import Collection, Sequence

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc

from mesh.messaging.hints import Hints
from mesh.paging import PageTokens
from mesh.process import Process
from services.logging.domain.rates import CallerRates
from services.logging.domain.records import Record
from services.logging.ingest import Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.otlp import OtlpServicer
from services.logging.servicers.searching import Searching
from services.logging.servicers.tailing import Tailing
from services.logging.settings import (
    CONSOLE_RECORDS_PER_MINUTE,
    DEFINITIONS,
    TAIL_MAX_OPEN,
    TAIL_MAX_RECORDS_PER_SECOND,
)
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.following import PostgresStoredBatches
from services.logging.store.records import PostgresRecordStore
from services.logging.tailing.hub import Hub
from services.logging.tailing.pace import Pace
from vivesphere.logging.v1 import audit_service_pb2_grpc, log_service_pb2_grpc

NAME = "logging"
HINTS = "hints.logging"


async def assemble(process: Process) -> None:
    """Records and audit events out of JetStream into PostgreSQL, and the two services that read them."""
    process.define_settings(*DEFINITIONS)
    value = process.configuration.value
    records = PostgresRecordStore(process.database)
    audit = PostgresAuditStore(process.database)
    ingest = Ingest(process.database, records, audit, process.clock)
    process.tasks.spawn(ingest.keep_partitions(), name="partitions")
    process.tasks.spawn(process.messaging.consume_batches("LOGS", NAME, ingest.logs), name="ingest logs")
    process.tasks.spawn(process.messaging.consume_batches("AUDIT", NAME, ingest.audit), name="ingest audit")
    stored = PostgresStoredBatches(process.database)
    pace = Pace(lambda: value(TAIL_MAX_RECORDS_PER_SECOND), process.clock)
    hub = Hub(stored, pace, lambda: value(TAIL_MAX_OPEN), process.clock)
    hints = Hints(process.messaging, HINTS, hub.wake)

    async def end_tails() -> None:
        await process.stopping.wait()
        hub.close()

    process.tasks.spawn(end_tails(), name="end tails")
    process.tasks.spawn_loop(hub.run, name="tails")
    process.tasks.spawn_loop(hints.run, name="hints")
    rates = CallerRates(lambda: value(CONSOLE_RECORDS_PER_MINUTE), process.clock.monotonic)

    async def keep(batch: Sequence[Record]) -> Collection[str]:
        async with process.database.transaction() as connection:
            await records.add(connection, batch)
        return ()

    secret = process.page_secret()
    process.serve(
        log_service_pb2_grpc.add_LogServiceServicer_to_server,
        LogServicer(
            Searching(records, PageTokens(secret, "logging.records")),
            Intake(keep, rates, process.clock),
            Tailing(hub, stored, PageTokens(secret, "logging.tail")),
        ),
    )
    process.serve(logs_service_pb2_grpc.add_LogsServiceServicer_to_server, OtlpServicer(keep, process.clock))
    process.serve(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        AuditServicer(audit, PageTokens(secret, "logging.audit_events")),
    )
