"""Taking in records over gRPC: who sends decides what may be sent, bad records cost only themselves, and nothing is stored half."""

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mesh.database import Database
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.logging.domain.records import Filter, Record
from services.logging.store.search import PostgresRecordSearch
from tests.integration.services.logging.serving import LogServer, log_server
from vivesphere.logging.v1 import log_record_pb2 as records_pb
from vivesphere.logging.v1 import log_service_pb2 as pb

USER = "0190c6a1-0000-7000-8000-000000000001"


@pytest.fixture
async def server(tmp_path: Path, database: Database) -> AsyncIterator[LogServer]:
    async with log_server(tmp_path, database) as server:
        yield server


def line(marker: str, body: str = "a line", **fields: Any) -> records_pb.LogRecord:
    """A record of the console that the filter `request_id=marker` finds."""
    fields = {"category": records_pb.LOG_CATEGORY_CONSOLE, **fields}
    return records_pb.LogRecord(id=new_id(), request_id=marker, body=body, **fields)


async def send(server: LogServer, *lines: records_pb.LogRecord, identity: str = "gateway") -> Any:
    """The answer to a batch."""
    async with server.stub(identity) as stub:
        return await stub.IngestLogBatch(
            pb.IngestLogBatchRequest(records=lines), metadata=server.bearer(), timeout=10
        )


async def found(database: Database, marker: str) -> dict[str, Record]:
    """What was stored, by body."""
    store = PostgresRecordSearch(database)
    return {item.body: item for item in await store.find(Filter(request_id=marker), None, 2_000)}


async def test_what_a_user_sends_is_of_the_console_and_of_that_user(
    server: LogServer, database: Database
) -> None:
    """Whatever it says of itself: nobody can write lines in the name of a service or of somebody else."""
    marker, before = new_id(), datetime.now(UTC) - timedelta(minutes=1)
    forged = line(marker, service="authentication", actor="somebody else", severity=records_pb.SEVERITY_ERROR)
    forged.observed_time.FromDatetime(datetime(2001, 1, 1, tzinfo=UTC))
    answer = await send(server, forged)
    assert (answer.accepted_count, list(answer.rejected)) == (1, [])
    stored = (await found(database, marker))["a line"]
    assert (stored.service, stored.actor, stored.severity) == ("console", USER, 17)
    assert stored.observed_time > before
    assert stored.time > before, "the time within the id"


async def test_bad_records_are_named_and_the_others_stored(server: LogServer, database: Database) -> None:
    """Whoever sends learns which ones and why, and need not send the good ones again."""
    marker = new_id()
    many = line(marker)
    many.attributes.update({f"name {n}": n for n in range(65)})
    fat = line(marker)
    fat.attributes.update({"text": "x" * 20_000})
    trail = line(marker)
    trail.audit.action, trail.audit.outcome = "forged", "OK"
    answer = await send(
        server,
        line(marker, "first"),
        line(marker, category=records_pb.LOG_CATEGORY_DEBUG),
        line(marker, trace_id="not hex"),
        line(marker, category=records_pb.LOG_CATEGORY_USER_ACTIVITY),
        many,
        fat,
        trail,
        line(marker, "x" * 65_537),
        line(marker, "last"),
    )
    assert answer.accepted_count == 2
    assert [(item.index, item.reason, item.field) for item in answer.rejected] == [
        (1, "LOG_CATEGORY_NOT_ALLOWED", "category"),
        (2, "INVALID_FIELD", "trace_id"),
        (3, "LOG_CATEGORY_NOT_ALLOWED", "category"),
        (4, "INVALID_FIELD", "attributes"),
        (5, "INVALID_FIELD", "attributes"),
        (6, "INVALID_FIELD", "audit"),
        (7, "INVALID_FIELD", "body"),
    ]
    assert all(item.message for item in answer.rejected)
    assert set(await found(database, marker)) == {"first", "last"}


async def test_secrets_are_taken_out_before_anything_is_stored(server: LogServer, database: Database) -> None:
    """A browser's error report may quote a request; redaction comes before cutting, which could leave half a secret."""
    marker, token = new_id(), "eyJ" + base64.urlsafe_b64encode(b"x" * 60).decode().rstrip("=")
    secret = f"{token}.{token}.{token}"
    padding = "word " * 1_630  # the secret lies across the place where the body is cut
    quoting = line(marker, f"failed with Authorization: Bearer {secret}")
    quoting.attributes.update({"password": "hunter2 hunter2", "deep": {"cookie": "vs_refresh=abcdef"}})
    await send(server, quoting, line(marker, f"{padding} {secret} {padding}"))
    stored = await found(database, marker)
    text = repr(stored)
    assert len(stored) == 2
    assert token[:20] not in text
    assert "hunter2" not in text
    assert "abcdef" not in text


async def test_a_long_line_of_the_console_is_cut_and_says_so(server: LogServer, database: Database) -> None:
    """A browser can report a megabyte of minified source; what was cut is counted."""
    marker = new_id()
    await send(server, line(marker, "ä" * 10_000))
    [stored] = (await found(database, marker)).values()
    assert stored.body == "ä" * 4_096
    assert stored.attributes == {"log.cut_bytes": 20_000 - 8_192}


async def test_more_than_the_rate_is_refused_whole(tmp_path: Path, database: Database) -> None:
    """With the time to wait, and nothing stored, so that sending it again is all there is to do."""
    marker, other = new_id(), new_id()
    async with log_server(tmp_path, database, per_minute=10) as server:
        await send(server, *(line(marker, str(n)) for n in range(7)))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await send(server, *(line(other, str(n)) for n in range(4)))
        error = from_rpc_error(refused.value)
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
        assert error.retry_after is not None
        assert timedelta() < error.retry_after <= timedelta(seconds=6)
        await send(server, *(line(marker, f"more {n}") for n in range(3)))
    assert len(await found(database, marker)) == 10
    assert await found(database, other) == {}


async def test_a_service_speaks_for_itself_in_every_category_but_the_trails(
    server: LogServer, database: Database
) -> None:
    """Known by its certificate. What processes print is passed on by whoever started them."""
    marker = new_id()
    answer = await send(
        server,
        line(
            marker, "debug", category=records_pb.LOG_CATEGORY_DEBUG, actor="spiffe://vivesphere/bot_manager"
        ),
        line(marker, "own", category=records_pb.LOG_CATEGORY_DEBUG, service="bot_manager"),
        line(marker, "passed on", category=records_pb.LOG_CATEGORY_TERMINAL, service="nats"),
        line(marker, "forged", category=records_pb.LOG_CATEGORY_DEBUG, service="authentication"),
        line(marker, "trail", category=records_pb.LOG_CATEGORY_USER_ACTIVITY),
        identity="bot_manager",
    )
    assert [(item.index, item.reason, item.field) for item in answer.rejected] == [
        (3, "INVALID_FIELD", "service"),
        (4, "LOG_CATEGORY_NOT_ALLOWED", "category"),
    ]
    stored = await found(database, marker)
    assert {body: item.service for body, item in stored.items()} == {
        "debug": "bot_manager",
        "own": "bot_manager",
        "passed on": "nats",
    }
    assert stored["debug"].actor == "spiffe://vivesphere/bot_manager"


async def test_a_stream_is_answered_once_with_indexes_over_all_of_it(
    tmp_path: Path, database: Database
) -> None:
    """And the list of what was rejected has an end, however long the stream is."""
    marker = new_id()

    def requests() -> Iterator[pb.IngestLogsRequest]:
        yield pb.IngestLogsRequest(records=[line(marker, "a"), line(marker, trace_id="no")])
        for _ in range(3):
            bad = [line(marker, category=records_pb.LOG_CATEGORY_DEBUG) for _ in range(400)]
            yield pb.IngestLogsRequest(records=bad)
        yield pb.IngestLogsRequest(records=[line(marker, "b")])

    async with log_server(tmp_path, database, per_minute=10_000) as server, server.stub() as stub:
        answer = await stub.IngestLogs(requests(), metadata=server.bearer(), timeout=10)
        nothing = await stub.IngestLogs(iter([]), metadata=server.bearer(), timeout=10)
    assert answer.accepted_count == 2
    assert [item.index for item in answer.rejected] == list(range(1, 1_001))
    assert set(await found(database, marker)) == {"a", "b"}
    assert nothing == pb.IngestLogsResponse()


async def test_what_a_stream_brought_before_it_was_refused_is_stored(
    tmp_path: Path, database: Database
) -> None:
    """The client repeats the stream as a whole; ids drop what arrived the first time."""
    marker = new_id()
    messages = [pb.IngestLogsRequest(records=[line(marker, f"{n} {m}") for m in range(4)]) for n in range(3)]
    async with log_server(tmp_path, database, per_minute=10) as server, server.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IngestLogs(iter(messages), metadata=server.bearer(), timeout=10)
    assert from_rpc_error(refused.value).reason == "OVERLOADED"
    assert len(await found(database, marker)) == 8
