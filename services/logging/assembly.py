"""Puts the logging service together: the one place where its concrete classes meet."""

from mesh.paging import PageTokens
from mesh.process import Process
from services.logging.audit_settings import (
    CHECKPOINT_EVENTS,
    CHECKPOINT_SECONDS,
    DEFINITIONS,
    RETENTION_DAYS,
)
from services.logging.auditing.checkpointing import Checkpointer
from services.logging.auditing.erasing import Eraser
from services.logging.auditing.outside import StreamOutside
from services.logging.auditing.proving import Prover
from services.logging.auditing.retaining import TrailRetention
from services.logging.auditing.signing import VaultSigner
from services.logging.ingest import Ingest
from services.logging.servicers.audit import AuditServicer
from services.logging.servicers.intake import Intake
from services.logging.servicers.logs import LogServicer
from services.logging.servicers.searching import Searching
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.erasing import PostgresRecordEraser
from services.logging.store.records import PostgresRecordStore
from services.logging.store.statements import PostgresStatementStore
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
    secret = process.page_secret()
    process.serve(
        log_service_pb2_grpc.add_LogServiceServicer_to_server,
        LogServicer(
            Searching(records, PageTokens(secret, "logging.records")),
            Intake(process.database, records, process.clock),
        ),
    )
    _assemble_trail(process, audit)


def _assemble_trail(process: Process, events: PostgresAuditStore) -> None:
    """What reads the chain, signs its end, proves it, and removes what may be removed."""
    value = process.configuration.value
    process.define_settings(*DEFINITIONS)
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
        process.database, events, statements, signer, process.clock, lambda: value(RETENTION_DAYS)
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
