"""Puts the logging service together: the one place where its concrete classes meet."""

from collections.abc import Collection, Sequence
from functools import partial

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc

from mesh.messaging.hints import Hints
from mesh.paging import PageTokens
from mesh.process import Process
from mesh.redaction.settings import REDACTION_PATTERNS
from services.logging.auditing.checkpointing import Checkpointer
from services.logging.auditing.erasing import Eraser
from services.logging.auditing.outside import StreamOutside
from services.logging.auditing.proving import Prover
from services.logging.auditing.retaining import TrailRetention
from services.logging.auditing.signing import VaultSigner
from services.logging.domain.rates import CallerRates
from services.logging.domain.records import Record
from services.logging.domain.retention import Retention
from services.logging.housekeeping import Housekeeping
from services.logging.ingest import LANES, LINGER, MESSAGES, Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.exporting import Exporting
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.otlp import OtlpServicer
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.servicers.searching import Searching
from services.logging.servicers.tailing import Tailing
from services.logging.settings import (
    AUDIT_RETENTION_DAYS,
    CHECKPOINT_EVENTS,
    CHECKPOINT_SECONDS,
    CONSOLE_RECORDS_PER_MINUTE,
    DEFINITIONS,
    RETENTION,
    SEARCH_MAX_PARALLEL,
    SEARCH_TIMEOUT,
    TAIL_MAX_OPEN,
    TAIL_MAX_RECORDS_PER_SECOND,
)
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.erasing import PostgresRecordEraser
from services.logging.store.following import PostgresStoredBatches
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.partitions import Partitions
from services.logging.store.retention import Pruning
from services.logging.store.search import PostgresRecordSearch
from services.logging.store.statements import PostgresStatementStore
from services.logging.store.writing import PostgresRecordWriter
from services.logging.tailing.hub import Hub
from services.logging.tailing.pace import Pace
from vivesphere.logging.v1 import audit_service_pb2_grpc, log_service_pb2_grpc

NAME = "logging"
HINTS = "hints.logging"


async def assemble(process: Process) -> None:
    """Records and audit events out of JetStream into PostgreSQL, and the services that take, find and follow them."""
    process.define_settings(*DEFINITIONS, REDACTION_PATTERNS)
    hub = _following(process)
    hints = Hints(process.messaging, HINTS, hub.wake)
    process.tasks.spawn_loop(hints.run, name="hints")
    writer = _storing(process, hints)
    audit = PostgresAuditStore(process.database)
    _ingesting(process, Ingest(process.database, writer, audit, process.clock))
    _serving(process, hub, writer)
    _trailing(process, audit)


def _storing(process: Process, hints: Hints) -> PostgresRecordWriter:
    retention = partial(_retention, process)
    partitions = Partitions(process.database)
    keeper = Housekeeping(partitions, Pruning(process.database, partitions), retention, process.clock)
    process.tasks.spawn_loop(keeper.run, name="housekeeping")
    process.tasks.spawn_loop(keeper.merge_words, name="text indexes")
    return PostgresRecordWriter(partitions, retention, process.clock, process.instance, hints.announce)


def _ingesting(process: Process, ingest: Ingest) -> None:
    for lane in range(LANES):
        consuming = process.messaging.consume_batches(
            "LOGS", NAME, ingest.logs, batch=MESSAGES, linger=LINGER
        )
        process.tasks.spawn(consuming, name=f"ingest logs {lane}")
    process.tasks.spawn(process.messaging.consume_batches("AUDIT", NAME, ingest.audit), name="ingest audit")


def _following(process: Process) -> Hub:
    value = process.configuration.value
    pace = Pace(lambda: value(TAIL_MAX_RECORDS_PER_SECOND), process.clock)
    hub = Hub(PostgresStoredBatches(process.database), pace, lambda: value(TAIL_MAX_OPEN), process.clock)

    async def end_tails() -> None:
        await process.stopping.wait()
        hub.close()

    process.tasks.spawn(end_tails(), name="end tails")
    process.tasks.spawn_loop(hub.run, name="tails")
    return hub


def _serving(process: Process, hub: Hub, writer: PostgresRecordWriter) -> None:
    value, clock, database = process.configuration.value, process.clock, process.database
    lanes = SearchLanes(lambda: SearchRules(value(SEARCH_MAX_PARALLEL), value(SEARCH_TIMEOUT)), clock)
    search = PostgresRecordSearch(database)
    rates = CallerRates(lambda: value(CONSOLE_RECORDS_PER_MINUTE), clock.monotonic)

    async def keep(batch: Sequence[Record]) -> Collection[str]:
        async with database.transaction() as connection:
            refused = await writer.add(connection, batch)
        return {refusal.record.id for refusal in refused}

    secret = process.page_secret()
    process.serve(
        log_service_pb2_grpc.add_LogServiceServicer_to_server,
        LogServicer(
            Searching(
                search, PostgresRecordCounter(database), lanes, PageTokens(secret, "logging.records"), clock
            ),
            Exporting(search, lanes, clock),
            Intake(keep, rates, clock),
            Tailing(hub, PostgresStoredBatches(database), search, PageTokens(secret, "logging.tail")),
        ),
    )
    process.serve(logs_service_pb2_grpc.add_LogsServiceServicer_to_server, OtlpServicer(keep, clock))


def _trailing(process: Process, events: PostgresAuditStore) -> None:
    """What reads the chain, signs its end, proves it, and removes what may be removed."""
    value = process.configuration.value
    signer = VaultSigner(process.vault().transit())
    statements, outside = PostgresStatementStore(process.database), StreamOutside(process.messaging)
    checkpointer = Checkpointer(
        events,
        statements,
        signer,
        outside,
        process.clock,
        lambda: (value(CHECKPOINT_SECONDS), value(CHECKPOINT_EVENTS)),
    )
    retention = TrailRetention(
        process.database, events, statements, signer, process.clock, lambda: value(AUDIT_RETENTION_DAYS)
    )
    process.tasks.spawn_loop(checkpointer.run, name="audit checkpoints")
    process.tasks.spawn_loop(retention.run, name="audit retention")
    process.health.add("audit_checkpoints", checkpointer.check, advisory=True)
    process.serve(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        AuditServicer(
            events,
            statements,
            checkpointer,
            Prover(events, statements, signer, outside),
            Eraser(process.database, statements, PostgresRecordEraser()),
            process.page_secret(),
        ),
    )


def _retention(process: Process) -> Retention:
    """What is in force now."""
    value = process.configuration.value
    return Retention({category: value(definition) for category, definition in RETENTION.items()})
