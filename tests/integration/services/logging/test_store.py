"""Records and audit events on real PostgreSQL: each kept once, found again, and the trail cannot be edited."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.ids import new_id
from mesh.messaging import Message
from services.logging.domain.audit_filter import AuditFilter
from services.logging.domain.chain import link
from services.logging.domain.records import Filter
from services.logging.ingest import Ingest
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.search import PostgresRecordSearch
from tests.fakes.logging import ingest_of
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2


@pytest.fixture
def ingest(database: Database) -> Ingest:
    return ingest_of(database)


def message(subject: str, payload: bytes) -> Message:
    async def respond(reply: str, body: bytes) -> None:
        return

    return Message(subject, payload, {}, "$JS.ACK.LOGS.logging.1.1.1.1.1", respond)


def record(body: str, **fields: str) -> log_record_pb2.LogRecord:
    made = log_record_pb2.LogRecord(
        id=new_id(),
        category=log_record_pb2.LOG_CATEGORY_DEBUG,
        severity=log_record_pb2.SEVERITY_INFO,
        body=body,
        **fields,  # type: ignore[arg-type]  # text fields only
    )
    made.time.FromDatetime(datetime.now(UTC))
    return made


def batch(*records: log_record_pb2.LogRecord, service: str = "bot_manager") -> bytes:
    return log_batch_pb2.LogBatch(
        id=new_id(), service=service, instance="test-1", first_sequence=1, records=records
    ).SerializeToString()


def audit_record(actor: str) -> log_record_pb2.LogRecord:
    made = record("CreateBot OK", service="bot_manager", actor=actor)
    made.category = log_record_pb2.LOG_CATEGORY_USER_ACTIVITY
    made.audit.action, made.audit.outcome = "/vivesphere.bot_manager.v1.BotService/CreateBot", "OK"
    made.audit.request.update({"bot": {"handle": "kept", "count": 3}})
    return made


async def test_a_batch_that_comes_twice_is_stored_once(ingest: Ingest, database: Database) -> None:
    """JetStream delivers at least once; readers must not see that."""
    marker = new_id()
    payload = batch(*(record(f"line {n}", request_id=marker) for n in range(7)))
    for _ in range(2):
        await ingest.logs([message("logs.bot_manager", payload)])
    found = await PostgresRecordSearch(database).find(Filter(request_id=marker), None, 100)
    assert sorted(item.body for item in found) == [f"line {n}" for n in range(7)]
    assert {item.instance for item in found} == {"test-1"}


async def test_pages_neither_skip_nor_repeat(ingest: Ingest, database: Database) -> None:
    """Records with the same time are told apart by id, so a page can end between them."""
    marker = new_id()
    records = [record(str(n), request_id=marker) for n in range(9)]
    for item in records:
        item.time.CopyFrom(records[0].time)
    await ingest.logs([message("logs.bot_manager", batch(*records))])
    store, seen, after = PostgresRecordSearch(database), [], None
    while page := await store.find(Filter(request_id=marker), after, 4):
        seen += [item.id for item in page]
        after = (page[-1].time, page[-1].id, page[-1].category)
    assert seen == sorted((item.id for item in records), reverse=True)


async def test_one_bad_record_costs_only_itself(ingest: Ingest, database: Database) -> None:
    """What cannot be stored is kept aside with its reason; its neighbours go through."""
    marker = new_id()
    bad = record("bad", request_id=marker, trace_id="not hex")
    forged = record("forged", request_id=marker, service="authentication")
    good = record("good \x00 nul", request_id=marker)
    await ingest.logs(
        [message("logs.bot_manager", batch(bad, good, forged)), message("logs.bot_manager", b"\xff\xff")]
    )
    found = await PostgresRecordSearch(database).find(Filter(request_id=marker), None, 10)
    assert [item.body for item in found] == ["good ␀ nul"]
    async with database.read() as connection:
        reasons = set((await connection.execute(text("SELECT reason FROM rejected"))).scalars())
    assert "not a LogBatch" in reasons
    assert "service is not the one that published" in reasons
    assert any("trace_id" in reason for reason in reasons)


async def test_filters_find_what_they_name(ingest: Ingest, database: Database) -> None:
    """Each filter restricts, and words are found in the body."""
    marker, bot = new_id(), new_id()
    loud = record("publishing failed badly", request_id=marker, bot_id=bot)
    loud.severity = log_record_pb2.SEVERITY_ERROR
    loud.attributes.update({"attempt": 3})
    await ingest.logs([message("logs.bot_manager", batch(loud, record("all is well", request_id=marker)))])
    store = PostgresRecordSearch(database)
    for wanted in (
        Filter(request_id=marker, min_severity=17),
        Filter(request_id=marker, bot_id=bot),
        Filter(request_id=marker, text="failed publishing"),
        Filter(request_id=marker, attributes={"attempt": "3"}),
        Filter(request_id=marker, service="bot_manager", bot_id=bot, categories=(2,)),
    ):
        assert [item.body for item in await store.find(wanted, None, 10)] == ["publishing failed badly"]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await store.find(Filter(request_id=marker, start_time=later), None, 10) == []


async def test_concurrent_appends_make_one_chain(ingest: Ingest, database: Database) -> None:
    """Replicas chain one after the other: no gap, no fork, nothing twice, and every hash can be computed again."""
    actor = new_id()
    payloads = [audit_record(actor).SerializeToString() for _ in range(12)]
    deliveries = [message("audit.bot_manager", payload) for payload in [*payloads, *payloads[:4]]]
    await asyncio.gather(*(ingest.audit([one]) for one in deliveries))
    events = await PostgresAuditStore(database).find(AuditFilter(oldest_first=True), None, 10_000)
    assert sum(item.event.actor == actor for item in events) == 12
    assert [item.sequence for item in events] == list(range(1, len(events) + 1))
    last = bytes(32)
    for item in events:
        assert item == link(item.sequence, item.event, last, item.salt)
        last = item.hash


async def test_the_service_itself_cannot_edit_the_trail(ingest: Ingest, database: Database) -> None:
    """Append-only is a grant, not a habit."""
    await ingest.audit([message("audit.bot_manager", audit_record(new_id()).SerializeToString())])
    for statement in (
        "UPDATE audit_events SET actor = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with database.transaction() as connection:
                await connection.execute(text(statement))
