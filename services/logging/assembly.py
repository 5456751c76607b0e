"""Puts the logging service together: the one place where its concrete classes meet."""

from functools import partial

from mesh.paging import PageTokens
from mesh.process import Process
from services.logging.domain.retention import Retention
from services.logging.housekeeping import Housekeeping
from services.logging.ingest import LANES, LINGER, MESSAGES, Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.exporting import Exporting
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.servicers.searching import Searching
from services.logging.settings import RETENTION, SEARCH_MAX_PARALLEL, SEARCH_TIMEOUT
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.partitions import Partitions
from services.logging.store.retention import Pruning
from services.logging.store.search import PostgresRecordSearch
from services.logging.store.writing import PostgresRecordWriter
from vivesphere.logging.v1 import audit_service_pb2_grpc, log_service_pb2_grpc

NAME = "logging"


async def assemble(process: Process) -> None:
    """Records and audit events out of JetStream into PostgreSQL, and the two services that read them."""
    process.define_settings(*RETENTION.values(), SEARCH_TIMEOUT, SEARCH_MAX_PARALLEL)
    retention = partial(_retention, process)
    partitions = Partitions(process.database)
    writer = PostgresRecordWriter(partitions, retention, process.clock, process.instance)
    audit = PostgresAuditStore(process.database)
    ingest = Ingest(process.database, writer, audit, process.clock)
    keeper = Housekeeping(partitions, Pruning(process.database, partitions), retention, process.clock)
    process.tasks.spawn_loop(keeper.run, name="housekeeping")
    process.tasks.spawn_loop(keeper.merge_words, name="text indexes")
    for lane in range(LANES):
        consuming = process.messaging.consume_batches(
            "LOGS", NAME, ingest.logs, batch=MESSAGES, linger=LINGER
        )
        process.tasks.spawn(consuming, name=f"ingest logs {lane}")
    process.tasks.spawn(process.messaging.consume_batches("AUDIT", NAME, ingest.audit), name="ingest audit")
    value = process.configuration.value
    lanes = SearchLanes(lambda: SearchRules(value(SEARCH_MAX_PARALLEL), value(SEARCH_TIMEOUT)), process.clock)
    search = PostgresRecordSearch(process.database)
    secret = process.page_secret()
    process.serve(
        log_service_pb2_grpc.add_LogServiceServicer_to_server,
        LogServicer(
            Searching(
                search,
                PostgresRecordCounter(process.database),
                lanes,
                PageTokens(secret, "logging.records"),
                process.clock,
            ),
            Exporting(search, lanes, process.clock),
            Intake(process.database, writer, process.clock),
        ),
    )
    process.serve(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        AuditServicer(audit, PageTokens(secret, "logging.audit_events")),
    )


def _retention(process: Process) -> Retention:
    """What is in force now."""
    value = process.configuration.value
    return Retention({category: value(definition) for category, definition in RETENTION.items()})
