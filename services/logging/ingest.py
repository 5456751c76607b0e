"""From JetStream into the store: batches of log records and single audit records, each stored once, acknowledged after the commit.

A message that is no LogBatch, or a record that breaks its contract, is kept in `rejected` with the reason and costs its neighbours
nothing. A message that comes again is harmless: records are known by their ids. While the database is away the messages wait in
the stream, and the consumer asks again.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from google.protobuf.message import DecodeError
from loguru import logger

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import InvalidArgument, MeshError
from mesh.ids import new_id
from mesh.interceptors.stages import validate
from mesh.messaging import Message, Retry
from services.logging import convert
from services.logging.domain.chain import AuditEvent
from services.logging.domain.records import USER_ACTIVITY, Record
from services.logging.store.audit import AuditStore
from services.logging.store.records import Poison, RecordStore
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

DATABASE_AWAY = timedelta(seconds=2)
DAYS_AHEAD = 2
TERMINAL_SENDER = "terminal"
"""The supervisor of a mesh on one machine, which captures what its processes print."""
PARTITION_INTERVAL = timedelta(hours=6)


class Ingest:
    """Handlers for the two streams."""

    def __init__(self, database: Database, records: RecordStore, audit: AuditStore, clock: Clock) -> None:
        self._database = database
        self._records = records
        self._audit = audit
        self._clock = clock

    async def logs(self, messages: Sequence[Message]) -> None:
        """Store batches of records. Raises Retry while the database is away."""
        good: list[Record] = []
        bad: list[Poison] = []
        for message in messages:
            for item in self._read_batch(message):
                if isinstance(item, Poison):
                    bad.append(item)
                else:
                    good.append(item)
        try:
            async with self._database.transaction() as connection:
                await self._records.add(connection, good)
                await self._records.reject(connection, bad)
        except MeshError:
            raise Retry(DATABASE_AWAY) from None

    async def audit(self, messages: Sequence[Message]) -> None:
        """Chain audit records and keep them with the other records too. Raises Retry while the database is away."""
        events: list[AuditEvent] = []
        records: list[Record] = []
        bad: list[Poison] = []
        for message in messages:
            item = self._read_audit(message)
            if isinstance(item, Poison):
                bad.append(item)
            else:
                events.append(item[0])
                records.append(item[1])
        try:
            async with self._database.transaction() as connection:
                await self._audit.append(connection, events)
                await self._records.add(connection, records)
                await self._records.reject(connection, bad)
        except MeshError:
            raise Retry(DATABASE_AWAY) from None

    async def keep_partitions(self) -> None:
        """Make the partitions of today and the next days, again and again until cancelled."""
        while True:
            today = self._clock.now().date()
            try:
                await self._records.ensure_days([today + timedelta(days=n) for n in range(DAYS_AHEAD + 1)])
                pause = PARTITION_INTERVAL
            except MeshError as error:
                logger.bind(reason=error.reason).warning("partitions not made")
                pause = DATABASE_AWAY
            await self._clock.sleep(pause)

    def _read_batch(self, message: Message) -> Iterator[Record | Poison]:
        try:
            batch = log_batch_pb2.LogBatch.FromString(message.payload)
        except DecodeError:
            yield Poison(message.subject, message.id, 0, "not a LogBatch", message.payload)
            return
        sender = message.subject.rpartition(".")[2]
        for position, record in enumerate(batch.records):
            reason = _fault(record, sender)
            if reason:
                yield Poison(message.subject, message.id, position, reason, record.SerializeToString())
            else:
                yield convert.record_from(
                    record,
                    self._clock.now(),
                    id=new_id(),
                    service=sender,
                    instance=batch.instance,
                    service_version=batch.service_version,
                )

    def _read_audit(self, message: Message) -> tuple[AuditEvent, Record] | Poison:
        try:
            record = log_record_pb2.LogRecord.FromString(message.payload)
        except DecodeError:
            return Poison(message.subject, message.id, 0, "not a LogRecord", message.payload)
        reason = _fault(record, message.subject.rpartition(".")[2])
        if not reason and record.category != USER_ACTIVITY:
            reason = "category is not USER_ACTIVITY"
        if not reason and not (record.id and record.HasField("audit") and record.HasField("time")):
            reason = "id, time or audit is missing"
        if reason:
            return Poison(message.subject, message.id, 0, reason, message.payload)
        return convert.audit_event_from(record), convert.record_from(record, self._clock.now(), id=record.id)


def _fault(record: log_record_pb2.LogRecord, sender: str) -> str:
    """Why a record cannot be stored, or "". A service speaks for itself alone: the subject says who it is. Only who captures the
    output of all speaks for others."""
    captured = sender == TERMINAL_SENDER and record.category == log_record_pb2.LOG_CATEGORY_TERMINAL
    if record.service and record.service != sender and not captured:
        return "service is not the one that published"
    try:
        validate(record)
    except InvalidArgument as error:
        return error.message[:500]
    return ""
