"""Takes log records to the logging service, and never holds up the code that logs.

    loguru sink → Backlog (memory, bounded) → LogBatch → `logs.<service>` on JetStream
                                                   ↘ NATS away: Spool (disk, bounded), replayed in order

A batch is closed at 200 records, at 256 KiB, or 200 ms after its first record. Its id is the message id, so a batch published twice is
stored once. While anything waits in the spool, new batches go behind it. Where there is no room records are shed, counted by
severity, and the count goes out as a record of its own. Nothing here logs from within the sink.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError
from loguru import logger

from mesh.errors import MeshError, Unavailable
from mesh.ids import new_id
from mesh.tasks import set_within
from mesh.telemetry import metrics
from mesh.telemetry.backlog import Backlog
from mesh.telemetry.logs import add_sink
from mesh.telemetry.records import to_log_record
from mesh.telemetry.spool import Spool
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

if TYPE_CHECKING:
    from loguru import Message

KiB: Final = 1024
BATCH_RECORDS: Final = 200
BATCH_BYTES: Final = 256 * KiB
LINGER: Final = timedelta(milliseconds=200)
LOOK: Final = timedelta(seconds=1)
"""How often the spool is looked at when nothing is logged."""
PUBLISH_TIMEOUT: Final = timedelta(seconds=5)
FLUSH_TIMEOUT: Final = timedelta(seconds=3)
SHED: Final = "log records shed"


class Publisher(Protocol):
    """What is needed of messaging."""

    @property
    def connected(self) -> bool: ...

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, timeout: timedelta = PUBLISH_TIMEOUT
    ) -> None: ...


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
        backlog: Backlog | None = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._version = version
        self._publisher = publisher
        self._backlog = backlog if backlog is not None else Backlog()
        self._spool = _open_spool(spool_directory)
        self._sequence = 1
        self._sink: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._turn = asyncio.Lock()

    def attach(self, level: str = "INFO") -> None:
        """Begin to take records of this severity and above."""
        self._sink = add_sink(self.take, level.upper())

    def take(self, message: "Message") -> None:
        """The loguru sink: any thread, never waits, never raises."""
        try:
            self.add(to_log_record(message.record))
        except Exception:
            # Reporting it would log from within a sink; the count shows it.
            self._backlog.shed([log_record_pb2.LogRecord()])

    def add(self, record: log_record_pb2.LogRecord) -> None:
        """Queue a record that was not logged here but is shipped from here; redacted already. Never waits."""
        kept = self._backlog.put(record)
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
        async with self._turn:
            while (batch := self._next_batch()) is not None:
                if not await self._deliver(batch):
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
        self._spill()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _signal(self) -> None:
        self._wake.set()
        if len(self._backlog) >= BATCH_RECORDS:
            self._full.set()

    def _next_batch(self) -> log_batch_pb2.LogBatch | None:
        shed = self._backlog.take_shed()
        records = self._backlog.take(BATCH_RECORDS, BATCH_BYTES)
        if shed:
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
        return batch

    async def _deliver(self, batch: log_batch_pb2.LogBatch) -> bool:
        """Whether the batch is published or spooled; it is counted as shed otherwise."""
        payload = batch.SerializeToString()
        waiting = self._spool is not None and not self._spool.empty
        if self._publisher.connected and not waiting:
            try:
                await self._publish(batch.id, payload)
                return True
            except Unavailable:
                pass  # outcome unknown: from the spool it goes again with the same id
            except MeshError:
                self._lose(batch)
                return False
            except asyncio.CancelledError:
                self._store(batch, payload)
                raise
        return await asyncio.to_thread(self._store, batch, payload)

    async def _replay(self, spool: Spool) -> bool:
        """Publish the oldest segment and delete it. False if NATS went away meanwhile."""
        frames, unreadable = await asyncio.to_thread(spool.oldest)
        if unreadable:
            logger.bind(bytes=unreadable).error("log spool damaged")
        for payload in frames:
            try:
                await self._publish(log_batch_pb2.LogBatch.FromString(payload).id, payload)
            except Unavailable:
                return False
            except (MeshError, DecodeError) as error:
                logger.bind(error_type=type(error).__name__).error("spooled log batch refused")
        await asyncio.to_thread(spool.drop_oldest)
        return True

    async def _publish(self, batch_id: str, payload: bytes) -> None:
        await self._publisher.publish(
            f"logs.{self._service}", payload, message_id=batch_id, timeout=PUBLISH_TIMEOUT
        )

    def _store(self, batch: log_batch_pb2.LogBatch, payload: bytes) -> bool:
        if self._spool is not None and self._spool.append(payload):
            return True
        self._lose(batch)
        return False

    def _lose(self, batch: log_batch_pb2.LogBatch) -> None:
        self._backlog.shed([record for record in batch.records if record.body != SHED])
        for record in batch.records:
            if record.body == SHED:
                counts = record.attributes.fields["by_severity"].struct_value.fields
                self._backlog.unreport({name: int(count.number_value) for name, count in counts.items()})

    def _spill(self) -> None:
        stored = True
        while stored and (batch := self._next_batch()) is not None:
            stored = self._store(batch, batch.SerializeToString())
        self._measure()

    def _measure(self) -> None:
        metrics.log_spool_bytes.set(self._spool.size if self._spool is not None else 0)


def _open_spool(directory: Path) -> Spool | None:
    """None if the directory cannot be used: logs are worth less than the service that writes them."""
    try:
        return Spool(directory)
    except OSError as error:
        logger.bind(error_type=type(error).__name__).error("log spool not available")
        return None


def _shed_record(shed: dict[str, int]) -> log_record_pb2.LogRecord:
    record = log_record_pb2.LogRecord(
        id=new_id(),
        category=log_record_pb2.LOG_CATEGORY_DEBUG,
        severity=log_record_pb2.SEVERITY_WARN,
        severity_text="WARNING",
        body=SHED,
    )
    record.time.FromDatetime(datetime.now(UTC))
    record.observed_time.CopyFrom(record.time)
    record.attributes.update({"count": sum(shed.values()), "by_severity": shed})
    return record
