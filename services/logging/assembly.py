"""Puts the logging service together: the one place where its concrete classes meet."""

from mesh.paging import PageTokens
from mesh.process import Process
from services.logging.ingest import Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.exporting import Exporting
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.servicers.searching import Searching
from services.logging.settings import SEARCH_MAX_PARALLEL, SEARCH_TIMEOUT
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.histogram import PostgresRecordCounter
from services.logging.store.records import PostgresRecordStore
from services.logging.store.search import PostgresRecordSearch
from vivesphere.logging.v1 import audit_service_pb2_grpc, log_service_pb2_grpc

NAME = "logging"


async def assemble(process: Process) -> None:
    """Records and audit events out of JetStream into PostgreSQL, and the two services that read them."""
    records = PostgresRecordStore(process.database)
    audit = PostgresAuditStore(process.database)
    ingest = Ingest(process.database, records, audit, process.clock)
    process.tasks.spawn(ingest.keep_partitions(), name="partitions")
    process.tasks.spawn(process.messaging.consume_batches("LOGS", NAME, ingest.logs), name="ingest logs")
    process.tasks.spawn(process.messaging.consume_batches("AUDIT", NAME, ingest.audit), name="ingest audit")
    process.define_settings(SEARCH_TIMEOUT, SEARCH_MAX_PARALLEL)
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
            Intake(process.database, records, process.clock),
        ),
    )
    process.serve(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        AuditServicer(audit, PageTokens(secret, "logging.audit_events")),
    )
