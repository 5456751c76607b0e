"""Records reach the bus, the disk, or the count of losses; there is no fourth place."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import protovalidate
import pytest
from loguru import logger

from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.messaging import MessagingUnavailable
from mesh.telemetry.backlog import Backlog
from mesh.telemetry.compression import decompress
from mesh.telemetry.logs import redact_record
from mesh.telemetry.shipper import SHED, WINDOW, LogShipper
from mesh.telemetry.spool import Spool
from tests.unit.mesh.redaction_corpus import WORD
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2


class Bus:
    """A publisher that stores what it gets, once per message id, and fails on demand."""

    def __init__(self) -> None:
        self.connected = True
        self.batches: dict[str, log_batch_pb2.LogBatch] = {}
        self.subjects: set[str] = set()
        self._failures: list[tuple[MeshError, bool]] = []

    def fail_next(self, error: MeshError, *, stored: bool = False) -> None:
        """`stored`: the message arrives, only its acknowledgement is lost."""
        self._failures.append((error, stored))

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        error, stored = self._failures.pop(0) if self._failures else (None, True)
        if stored:
            batch = log_batch_pb2.LogBatch.FromString(decompress(payload, headers or {}))
            assert batch.id == message_id
            self.batches.setdefault(message_id, batch)
            self.subjects.add(subject)
        if error is not None:
            raise error

    @property
    def records(self) -> list[log_record_pb2.LogRecord]:
        return [record for batch in self.batches.values() for record in batch.records]

    @property
    def bodies(self) -> list[str]:
        return [record.body for record in self.records]


def segments(directory: Path) -> list[Path]:
    return list(directory.glob("*.seg"))


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture(autouse=True)
def clean_loguru() -> Iterator[None]:
    logger.remove()
    logger.configure(patcher=redact_record)
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)


def make(bus: Bus, directory: Path, backlog: Backlog | None = None) -> LogShipper:
    shipper = LogShipper("tester", "tester-1", bus, directory, version="0.1.0", backlog=backlog)
    shipper.attach("TRACE")
    return shipper


async def test_a_record_arrives_with_all_its_fields_and_valid(bus: Bus, tmp_path: Path) -> None:
    """The receiver checks every record against the contract and puts bad ones aside."""
    shipper = make(bus, tmp_path)
    bot = new_id()
    call = {"request_id": "r1", "trace_id": "ab" * 16, "span_id": "cd" * 8, "actor": "u1", "bot_id": bot}
    with logger.contextualize(**call):
        logger.bind(post_id="p1", note=f"password={WORD}").warning("post waits")
    logger.bind(trace_id="not hex", bot_id="not a uuid", category="terminal").info("x")
    await shipper.close()
    (batch,) = bus.batches.values()
    first, second = batch.records
    assert bus.subjects == {"logs.tester"}
    assert (batch.service, batch.instance, batch.first_sequence, batch.dropped_count) == (
        "tester",
        "tester-1",
        1,
        0,
    )
    assert {name: getattr(first, name) for name in call} == call
    assert (first.body, first.severity_text) == ("post waits", "WARNING")
    assert first.severity == log_record_pb2.SEVERITY_WARN
    assert first.category == log_record_pb2.LOG_CATEGORY_DEBUG
    assert first.attributes["post_id"] == "p1"
    assert WORD not in str(batch)
    assert second.category == log_record_pb2.LOG_CATEGORY_TERMINAL
    assert (second.trace_id, second.attributes["trace_id"]) == ("", "not hex")
    protovalidate.validate(batch)
    for record in batch.records:
        protovalidate.validate(record)


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "\ud800", "\x00", "ü" * 100_000, "\u202e"],
    ids=["long", "surrogate", "nul", "wide", "rtl"],
)
async def test_any_text_becomes_a_valid_record(bus: Bus, tmp_path: Path, text: str) -> None:
    """A record that the receiver must refuse is lost just when somebody looks for the odd case."""
    shipper = make(bus, tmp_path)
    logger.bind(note=text, request_id=text, **{f"field{n}": text for n in range(100)}).info(text)
    await shipper.close()
    (record,) = bus.records
    protovalidate.validate(record)
    assert record.ByteSize() < 256 * 1024


async def test_batches_are_bounded_and_numbered_without_gaps(bus: Bus, tmp_path: Path) -> None:
    """A gap in the numbers tells that a batch was lost on the way."""
    shipper = make(bus, tmp_path)
    for n in range(450):
        logger.info(f"event {n}")
    await shipper.flush()
    sizes = [len(batch.records) for batch in bus.batches.values()]
    assert sizes == [200, 200, 50]
    assert [batch.first_sequence for batch in bus.batches.values()] == [1, 201, 401]
    assert bus.bodies == [f"event {n}" for n in range(450)]
    await shipper.close()


async def test_an_outage_is_spooled_and_replayed_in_order_even_by_the_next_process(
    bus: Bus, tmp_path: Path
) -> None:
    """The hour in which the bus was down is the hour somebody will ask about."""
    bus.connected = False
    shipper = make(bus, tmp_path)
    for n in range(3):
        logger.info(f"event {n}")
        await shipper.flush()
    logger.info("event 3")
    await shipper.close()
    assert bus.bodies == []
    bus.connected = True
    shipper = make(bus, tmp_path)
    logger.info("event 4")
    await shipper.flush()
    assert bus.bodies == [f"event {n}" for n in range(5)]
    logger.info("event 5")
    await shipper.close()
    assert bus.bodies[-1] == "event 5"
    assert segments(tmp_path) == []


class SlowBus(Bus):
    """Holds every acknowledgement until it is told, and refuses every third batch the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()
        self.in_flight = self.most = self.count = 0

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.count += 1
        refused = self.count % 3 == 0 and not self.release.is_set()
        await self.release.wait()
        self.in_flight -= 1
        if refused:
            raise MessagingUnavailable("away")
        await super().publish(subject, payload, message_id=message_id, headers=headers, timeout=timeout)


async def test_a_few_batches_are_in_flight_and_those_that_fail_come_again_once(tmp_path: Path) -> None:
    """Waiting for each acknowledgement costs a round trip a batch; too many in flight cost the memory of all."""
    bus = SlowBus()
    shipper = make(bus, tmp_path)
    for n in range(2000):
        logger.info(f"event {n}")
    flushing = asyncio.get_running_loop().create_task(shipper.flush())
    while bus.in_flight < WINDOW:
        await asyncio.sleep(0)
    bus.release.set()
    await flushing
    await shipper.flush()
    assert bus.most == WINDOW
    assert sorted(bus.bodies, key=lambda body: int(body.split()[1])) == [f"event {n}" for n in range(2000)]
    assert segments(tmp_path) == []
    await shipper.close()


async def test_what_is_in_flight_when_the_task_is_cancelled_is_in_the_spool(bus: Bus, tmp_path: Path) -> None:
    """It may have arrived or not; from the spool it goes again with the same id."""
    slow = SlowBus()
    shipper = make(slow, tmp_path)
    for n in range(1000):
        logger.info(f"event {n}")
    flushing = asyncio.get_running_loop().create_task(shipper.flush())
    while slow.in_flight < WINDOW:
        await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait([flushing])
    slow.connected = False
    await shipper.close()
    shipper = make(bus, tmp_path)
    await shipper.flush()
    assert bus.bodies == [f"event {n}" for n in range(1000)]
    await shipper.close()


async def test_a_lost_acknowledgement_stores_a_batch_once(bus: Bus, tmp_path: Path) -> None:
    """The batch goes again with the same message id, which the stream knows."""
    shipper = make(bus, tmp_path)
    bus.fail_next(MessagingUnavailable("no acknowledgement in time"), stored=True)
    logger.info("once")
    await shipper.flush()
    await shipper.close()
    assert bus.bodies == ["once"]


async def test_nats_lost_during_replay_keeps_the_order(bus: Bus, tmp_path: Path) -> None:
    """What was not delivered stays, and later records stay behind it."""
    bus.connected = False
    shipper = make(bus, tmp_path)
    for n in range(2):
        logger.info(f"event {n}")
        await shipper.flush()
    bus.connected = True
    bus.fail_next(MessagingUnavailable("away"))
    await shipper.flush()
    assert bus.bodies == []
    logger.info("event 2")
    await shipper.flush()
    assert bus.bodies == ["event 0", "event 1", "event 2"]
    await shipper.close()


async def test_what_is_shed_is_counted_by_severity_and_told(bus: Bus, tmp_path: Path) -> None:
    """Loss that nobody can see is worse than loss; and debug goes before errors."""
    shipper = make(bus, tmp_path, Backlog(max_records=10))
    for level in ("DEBUG", "INFO", "ERROR"):
        for n in range(10):
            logger.log(level, f"{level} {n}")
    await shipper.flush()
    assert [body.split()[0] for body in bus.bodies] == ["DEBUG"] * 5 + ["INFO"] * 3 + ["ERROR"] * 2 + ["log"]
    (report,) = [record for record in bus.records if record.body == SHED]
    assert report.attributes["count"] == 20
    assert (report.attributes["first_sequence"], report.attributes["last_sequence"]) == (6, 11)
    assert dict(report.attributes["by_severity"].items()) == {"DEBUG": 5, "INFO": 7, "ERROR": 8}
    assert next(iter(bus.batches.values())).dropped_count == 20
    await shipper.close()


async def test_a_full_disk_loses_records_but_never_the_count(bus: Bus, tmp_path: Path) -> None:
    """The report of a loss may be lost as well; then the next one carries it."""
    holder = Spool(tmp_path)
    bus.connected = False
    shipper = make(bus, tmp_path)  # its spool is taken, so there is nowhere to put anything
    for n in range(3):
        logger.info(f"event {n}")
        await shipper.flush()
    holder.close()
    bus.connected = True
    await shipper.flush()
    (report,) = [record for record in bus.records if record.body == SHED]
    assert report.attributes["count"] == 3
    assert bus.bodies == [SHED]
    await shipper.close()


async def test_records_of_every_thread_arrive(bus: Bus, tmp_path: Path) -> None:
    """Password hashing, Vault and the X client work in threads."""
    shipper = make(bus, tmp_path)

    def work(name: int) -> None:
        for n in range(100):
            logger.info(f"{name} {n}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await shipper.close()
    assert len(set(bus.bodies)) == 400
    for name in range(4):
        assert [body for body in bus.bodies if body.startswith(f"{name} ")] == [
            f"{name} {n}" for n in range(100)
        ]
