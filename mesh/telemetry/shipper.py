"""Takes log records to the logging service, and never holds up the code that logs.

    loguru sink → Backlog (memory, bounded) → LogBatch, zstd → `logs.<service>` on JetStream
                                                         ↘ NATS away: Spool (disk, bounded), replayed in order

A batch is closed at 200 records, at 256 KiB, or 200 ms after its first record; up to four are in flight. Its id is the message id, so
a batch published twice is stored once. While anything waits in the spool, new batches go behind it. Where there is no room records
are shed, counted by severity, and the count goes out as a record of its own, with where in the instance's count the loss lies.
Nothing here logs from within the sink. A process that ends without `close` leaves what waits in the spool; a forked child ships
nothing, since what waits, the spool and the connection are its parent's.
"""

import asyncio
import atexit
import os
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from google.protobuf.message import DecodeError
from loguru import logger

from mesh.errors import MeshError, Unavailable
from mesh.ids import new_id
from mesh.tasks import set_within
from mesh.telemetry import metrics
from mesh.telemetry.backlog import Backlog, Shed
from mesh.telemetry.compression import compress, decompress, headers_of
from mesh.telemetry.logs import add_sink
from mesh.telemetry.records import severity_of, to_log_record
from mesh.telemetry.snapshot import Snapshot
from mesh.telemetry.spool import Spool
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

KiB: Final = 1024
BATCH_RECORDS: Final = 200
BATCH_BYTES: Final = 256 * KiB
LINGER: Final = timedelta(milliseconds=200)
LOOK: Final = timedelta(seconds=1)
"""How often the spool is looked at when nothing is logged."""
PUBLISH_TIMEOUT: Final = timedelta(seconds=5)
FLUSH_TIMEOUT: Final = timedelta(seconds=1)
WINDOW: Final = 4
"""Batches in flight at a time."""
SHED: Final = "log records shed"
NOT_MADE: Final = "log record could not be made"

Entry = Snapshot | log_record_pb2.LogRecord


class Publisher(Protocol):
    """What is needed of messaging."""

    @property
    def connected(self) -> bool: ...

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None: ...


class _Closed(NamedTuple):
    """A batch that is not added to any more, and the bytes it is sent as."""

    batch: log_batch_pb2.LogBatch
    payload: bytes


class LogShipper:
    """Ships what is logged from `attach` on. Run `run` in the background; call `close` before messaging goes down."""

    def __init__(
        self,
        service: str,
        instance: str,
        publisher: Publisher,
        spool_directory: Path,
        *,
        version: str = "",
        backlog: Backlog[Entry] | None = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._version = version
        self._publisher = publisher
        self._backlog: Backlog[Entry] = backlog if backlog is not None else Backlog()
        self._spool = _open_spool(spool_directory)
        self._sequence = 1
        self._sink: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._turn = asyncio.Lock()
        self._forked = False
        _open.add(self)

    def attach(self, level: str = "INFO") -> None:
        """Begin to take records of this severity and above."""
        self._sink = add_sink(self.take, level.upper())

    def take(self, snapshot: Snapshot) -> None:
        """The loguru sink: any thread, never waits, never raises."""
        self._put(snapshot, snapshot.size, severity_of(snapshot.level))

    def add(self, record: log_record_pb2.LogRecord) -> None:
        """Queue a record that was not logged here but is shipped from here; redacted already. Never waits."""
        self._put(record, record.ByteSize(), record.severity)

    def _put(self, entry: Entry, size: int, severity: "log_record_pb2.Severity.ValueType") -> None:
        if self._forked:
            return
        kept = self._backlog.put(entry, size, severity)
        if not kept:
            _count_shed(severity)
        waiting = len(self._backlog)
        if self._loop is not None and (waiting == 1 or waiting % BATCH_RECORDS == 0 or not kept):
            with suppress(RuntimeError):  # the loop is closed: `close` has emptied the queue or nobody will
                self._loop.call_soon_threadsafe(self._signal)

    async def run(self) -> None:
        """Ship until cancelled; what is left then goes to the spool."""
        self._loop = asyncio.get_running_loop()
        self._signal()
        try:
            while True:
                await set_within(self._wake, LOOK)
                self._wake.clear()
                if 0 < len(self._backlog) < BATCH_RECORDS:
                    await set_within(self._full, LINGER)
                self._full.clear()
                await self.flush()
        finally:
            self._spill()

    async def flush(self) -> None:
        """Send everything that waits, or put it into the spool; then what waits in the spool, while there is a connection."""
        if self._forked:
            return
        async with self._turn:
            while batches := self._next_batches():
                if not await self._deliver(batches):
                    break  # no room anywhere; the report of that waits for the next turn
            while self._publisher.connected and self._spool is not None and not self._spool.empty:
                if not await self._replay(self._spool):
                    break
            self._measure()

    async def close(self, timeout: timedelta = FLUSH_TIMEOUT) -> None:
        """Take no more records, flush within `timeout`, keep the rest in the spool."""
        if self._sink is not None:
            with suppress(ValueError):  # somebody removed every sink before
                logger.remove(self._sink)
            self._sink = None
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                await self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Put what waits into the spool and give it free: the process ends, and no event loop runs any more."""
        _open.discard(self)
        if self._forked:
            return
        self._spill()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def forget(self) -> None:
        """For a forked child; see the module."""
        self._forked = True
        self._backlog.forget()

    def _signal(self) -> None:
        self._wake.set()
        if len(self._backlog) >= BATCH_RECORDS:
            self._full.set()

    def _next_batches(self) -> list[_Closed]:
        """As many as may be in flight."""
        batches: list[_Closed] = []
        while len(batches) < WINDOW and (batch := self._next_batch()) is not None:
            batches.append(batch)
        return batches

    def _next_batch(self) -> _Closed | None:
        records = self._next_records()
        if (shed := self._backlog.take_shed()) is not None:
            self._backlog.number()
            records.append(_shed_record(shed))
        if not records:
            return None
        batch = log_batch_pb2.LogBatch(
            id=new_id(),
            service=self._service,
            instance=self._instance,
            service_version=self._version,
            first_sequence=self._sequence,
            records=records,
            dropped_count=self._backlog.shed_total,
        )
        batch.create_time.FromDatetime(datetime.now(UTC))
        self._sequence += len(records)
        return _Closed(batch, compress(batch.SerializeToString()))

    def _next_records(self) -> list[log_record_pb2.LogRecord]:
        """The oldest records, at least one if there is any, within the limits of a batch otherwise."""
        records: list[log_record_pb2.LogRecord] = []
        total = 0
        while len(records) < BATCH_RECORDS and (entry := self._backlog.take()) is not None:
            record = self._record_of(entry)
            size = record.ByteSize()
            if records and total + size > BATCH_BYTES:
                self._backlog.put_back(record, size)
                break
            records.append(record)
            total += size
        return records

    def _record_of(self, entry: Entry) -> log_record_pb2.LogRecord:
        if not isinstance(entry, Snapshot):
            return entry
        try:
            return to_log_record(entry)
        except Exception as error:
            # The record's own data is what could not be told, so only its place and severity are.
            return to_log_record(entry._replace(message=NOT_MADE, extra={"error_type": type(error).__name__}))

    async def _deliver(self, batches: Sequence[_Closed]) -> bool:
        """Whether the batches are published or spooled, in their order; what is not is counted as shed."""
        left = list(batches)
        if self._publisher.connected and (self._spool is None or self._spool.empty):
            try:
                left = await self._publish_all(batches)
            except asyncio.CancelledError:
                for one in batches:  # again with the same ids, whatever has arrived
                    self._store(one)
                raise
        stored = True
        for one in left:
            stored = await asyncio.to_thread(self._store, one) and stored
        return stored

    async def _publish_all(self, batches: Sequence[_Closed]) -> list[_Closed]:
        """Those whose outcome is unknown: from the spool they go again with the same id."""
        outcomes = await asyncio.gather(
            *(self._publish(one.batch.id, one.payload) for one in batches), return_exceptions=True
        )
        unknown: list[_Closed] = []
        for one, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, Unavailable):
                unknown.append(one)
            elif isinstance(outcome, MeshError):
                self._lose(one.batch)
            elif isinstance(outcome, BaseException):
                raise outcome
        return unknown

    async def _replay(self, spool: Spool) -> bool:
        """Publish the oldest segment and delete it. False if NATS went away meanwhile."""
        frames, unreadable = await asyncio.to_thread(spool.oldest)
        if unreadable:
            logger.bind(bytes=unreadable).error("log spool damaged")
        for payload in frames:  # one at a time: what comes late may at least come in order
            try:
                await self._republish(payload)
            except Unavailable:
                return False
            except (MeshError, DecodeError, ValueError) as error:
                logger.bind(error_type=type(error).__name__).error("spooled log batch refused")
        await asyncio.to_thread(spool.drop_oldest)
        return True

    async def _republish(self, payload: bytes) -> None:
        plain = decompress(payload, headers_of(payload))
        await self._publish(log_batch_pb2.LogBatch.FromString(plain).id, payload)

    async def _publish(self, batch_id: str, payload: bytes) -> None:
        await self._publisher.publish(
            f"logs.{self._service}",
            payload,
            message_id=batch_id,
            headers=headers_of(payload),
            timeout=PUBLISH_TIMEOUT,
        )

    def _store(self, closed: _Closed) -> bool:
        if self._spool is not None and self._spool.append(closed.payload):
            return True
        self._lose(closed.batch)
        return False

    def _lose(self, batch: log_batch_pb2.LogBatch) -> None:
        lost = [record.severity for record in batch.records if record.body != SHED]
        if lost:
            self._backlog.shed(lost, (batch.first_sequence, batch.first_sequence + len(batch.records)))
        for severity in lost:
            _count_shed(severity)
        for record in batch.records:
            if record.body == SHED:
                self._backlog.unreport(_shed_of(record))

    def _spill(self) -> None:
        stored = True
        while stored and (closed := self._next_batch()) is not None:
            stored = self._store(closed)
        self._measure()

    def _measure(self) -> None:
        metrics.log_queue_records.set(len(self._backlog))
        metrics.log_spool_bytes.set(self._spool.size if self._spool is not None else 0)


_open: "weakref.WeakSet[LogShipper]" = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for shipper in list(_open):
        shipper.abandon()


def _after_fork() -> None:
    for shipper in list(_open):
        shipper.forget()


os.register_at_fork(after_in_child=_after_fork)


def _count_shed(severity: "log_record_pb2.Severity.ValueType") -> None:
    name = log_record_pb2.Severity.Name(severity).removeprefix("SEVERITY_")
    metrics.log_dropped_records.labels(name).inc()


def _open_spool(directory: Path) -> Spool | None:
    """None if the directory cannot be used: logs are worth less than the service that writes them."""
    try:
        return Spool(directory)
    except OSError as error:
        logger.bind(error_type=type(error).__name__).error("log spool not available")
        return None


def _shed_record(shed: Shed) -> log_record_pb2.LogRecord:
    record = log_record_pb2.LogRecord(
        id=new_id(),
        category=log_record_pb2.LOG_CATEGORY_DEBUG,
        severity=log_record_pb2.SEVERITY_WARN,
        severity_text="WARNING",
        body=SHED,
    )
    record.time.FromDatetime(datetime.now(UTC))
    record.observed_time.CopyFrom(record.time)
    record.attributes.update(
        {
            "count": shed.total,
            "by_severity": shed.by_severity,
            "first_sequence": shed.first_sequence,
            "last_sequence": shed.last_sequence,
        }
    )
    return record


def _shed_of(record: log_record_pb2.LogRecord) -> Shed:
    fields = record.attributes.fields
    counts = fields["by_severity"].struct_value.fields
    return Shed(
        {name: int(count.number_value) for name, count in counts.items()},
        int(fields["first_sequence"].number_value),
        int(fields["last_sequence"].number_value),
    )
