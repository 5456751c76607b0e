"""Puts the logging service together: the one place where its concrete classes meet."""

from mesh.paging import PageTokens
from mesh.process import Process
from mesh.redaction.settings import REDACTION_PATTERNS
from services.logging.ingest import Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.searching import Searching
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.records import PostgresRecordStore
from vivesphere.logging.v1 import audit_service_pb2_grpc, log_service_pb2_grpc

NAME = "logging"


async def assemble(process: Process) -> None:
    """Records and audit events out of JetStream into PostgreSQL, and the two services that read them."""
    process.define_settings(REDACTION_PATTERNS)
    records = PostgresRecordStore(process.database)
    audit = PostgresAuditStore(process.database)
    ingest = Ingest(process.database, records, audit, process.clock)
    process.tasks.spawn(ingest.keep_partitions(), name="partitions")
    process.tasks.spawn(process.messaging.consume_batches("LOGS", NAME, ingest.logs), name="ingest logs")
    process.tasks.spawn(process.messaging.consume_batches("AUDIT", NAME, ingest.audit), name="ingest audit")
    secret = process.page_secret()
    process.serve(
        log_service_pb2_grpc.add_LogServiceServicer_to_server,
        LogServicer(
            Searching(records, PageTokens(secret, "logging.records")),
            Intake(process.database, records, process.clock),
        ),
    )
    process.serve(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        AuditServicer(audit, PageTokens(secret, "logging.audit_events")),
    )
