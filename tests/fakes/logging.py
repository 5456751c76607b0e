"""The write side of the logging service on a real database, put together as its assembly does."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mesh.clock import Clock, SystemClock
from mesh.database import Database
from mesh.ids import new_id
from mesh.messaging import Message
from services.logging.domain.records import DEBUG, Record
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


def a_record(**fields: Any) -> Record:
    """A record of now; `fields` replace the made-up ones."""
    now = datetime.now(UTC)
    made_up: dict[str, Any] = {
        "id": new_id(),
        "time": now,
        "observed_time": fields.get("time", now),
        "category": DEBUG,
        "severity": 9,
        "severity_text": "INFO",
        "body": "something happened",
        "service": "bot_manager",
        "instance": "test-1",
        "service_version": "",
        "actor": "",
        "bot_id": "",
        "request_id": "",
        "trace_id": "",
        "span_id": "",
    }
    return Record(**(made_up | fields))


def a_message(subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> Message:
    """A delivery that nobody waits for an answer to."""

    async def respond(reply: str, body: bytes) -> None:
        return

    return Message(subject, payload, headers or {}, "$JS.ACK.LOGS.logging.1.1.1.1.1", respond)
