"""The write side of the logging service on a real database, put together as its assembly does."""

from collections.abc import Callable

from mesh.clock import Clock, SystemClock
from mesh.database import Database
from services.logging.domain.retention import Retention
from services.logging.ingest import Ingest
from services.logging.settings import RETENTION
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.partitions import Partitions
from services.logging.store.writing import OnStored, PostgresRecordWriter

DEFAULT = Retention({category: definition.default for category, definition in RETENTION.items()})


def writer_of(
    database: Database,
    *,
    clock: Clock | None = None,
    writer: str = "test",
    on_stored: OnStored | None = None,
    retention: Callable[[], Retention] = lambda: DEFAULT,
) -> PostgresRecordWriter:
    """What stores records."""
    return PostgresRecordWriter(Partitions(database), retention, clock or SystemClock(), writer, on_stored)


def ingest_of(database: Database, *, writer: PostgresRecordWriter | None = None) -> Ingest:
    """What takes messages."""
    return Ingest(database, writer or writer_of(database), PostgresAuditStore(database), SystemClock())
