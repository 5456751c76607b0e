"""From messages into the store: compressed or not, without secrets, nothing twice, and nothing lost while PostgreSQL is away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard
from sqlalchemy import make_url, text

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database, open_database
from mesh.ids import new_id
from mesh.messaging import Retry
from mesh.tasks import TaskSet
from services.logging.reading import read_batch
from tests.fakes.engines import messaging_of, settings_of
from tests.fakes.logging import ingest_of
from tests.fakes.proxy import proxy_to
from tests.integration.services.logging.messages import batch, message, record
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

ZSTD = {"Content-Encoding": "zstd"}
MiB = 1024 * 1024
PATIENCE_SECONDS = 30


@pytest.fixture
def call() -> str:
    """Each test's records belong to a call of its own."""
    return new_id()


async def stored(database: Database, call: str, columns: str = "body") -> list[Any]:
    query = text(f"SELECT {columns} FROM records WHERE request_id = :call ORDER BY time, id")  # noqa: S608 - our own names
    async with database.read() as connection:
        return [tuple(row) for row in (await connection.execute(query, {"call": call})).all()]


async def set_aside(database: Database, message_id: str) -> list[tuple[str, bytes]]:
    query = text("SELECT reason, payload FROM rejected WHERE message_id = :id ORDER BY position")
    async with database.read() as connection:
        return [tuple(row) for row in (await connection.execute(query, {"id": message_id})).all()]


async def test_a_compressed_batch_is_stored(database: Database, call: str) -> None:
    """Sources compress what they send; large batches still fit into a message."""
    payload = zstandard.compress(batch(*(record("x" * 10_000, request_id=call) for _ in range(300))))
    await ingest_of(database).logs([message("logs.bot_manager", payload, ZSTD)])
    assert len(await stored(database, call)) == 300


async def test_what_swells_or_is_no_frame_is_set_aside(database: Database, call: str) -> None:
    """A few kilobytes must not become gigabytes of memory, whatever they say of themselves."""
    stream = zstandard.ZstdCompressor().compressobj()
    good = zstandard.compress(batch(record("good", request_id=call)))
    payloads = {
        "a zstd frame without its size, or of more than 4 MiB": [
            zstandard.compress(bytes(4 * MiB + 1)),
            stream.compress(batch(record("bad", request_id=call))) + stream.flush(),
        ],
        "not a zstd frame": [b"", b"zstd", good[:-3], good + b"more", zstandard.compress(bytes(MiB))[:-1]],
        "not a LogBatch": [zstandard.compress(b"\xff\xff")],
        "unknown Content-Encoding": [],
    }
    expected = [(reason, payload) for reason, some in payloads.items() for payload in some]
    marked = [{**ZSTD, "Nats-Msg-Id": new_id()} for _ in expected]
    messages = [message("logs.bot_manager", p, h) for (_, p), h in zip(expected, marked, strict=True)]
    odd = {"Content-Encoding": "br", "Nats-Msg-Id": new_id()}
    last = message("logs.bot_manager", good, ZSTD)
    await ingest_of(database).logs([*messages, message("logs.bot_manager", good, odd), last])
    assert await stored(database, call) == [("good",)]
    for (reason, _), headers in zip(expected, marked, strict=True):
        assert await set_aside(database, headers["Nats-Msg-Id"]) == [(reason, b"")]
    assert await set_aside(database, odd["Nats-Msg-Id"]) == [("unknown Content-Encoding", b"")]


async def test_a_batch_with_too_many_records_is_set_aside(database: Database, call: str) -> None:
    """The contract says a thousand; memory is planned for that."""
    headers = {"Nats-Msg-Id": new_id()}
    many = batch(*(record(str(n), request_id=call) for n in range(1_001)))
    await ingest_of(database).logs([message("logs.bot_manager", many, headers)])
    assert await stored(database, call) == []
    [(reason, _)] = await set_aside(database, headers["Nats-Msg-Id"])
    assert reason == "too many records in a LogBatch"


async def test_a_secret_that_its_source_overlooked_is_stored_nowhere(database: Database, call: str) -> None:
    """Sources redact; one that is older, or not ours, may know a shape less."""
    secret = "c3VwZXItc2VjcmV0LXZhbHVl"
    told = record(f"login with password={secret} failed", request_id=call)
    told.attributes.update({"api_key": secret, "nested": {"list": [f"Authorization: Bearer {secret}A1"]}})
    wrong = record(f"token={secret}", request_id=call, trace_id="no hex")
    wrong.attributes.update({"client_secret": secret})
    headers = {"Nats-Msg-Id": new_id()}
    await ingest_of(database).logs([message("logs.bot_manager", batch(told, wrong), headers)])
    [(body, attributes)] = await stored(database, call, "body, attributes")
    assert body == "login with password=[REDACTED] failed"
    assert secret not in json.dumps(attributes)
    assert attributes["api_key"] == "[REDACTED]"
    [(reason, payload)] = await set_aside(database, headers["Nats-Msg-Id"])
    assert "trace_id" in reason
    assert b"no hex" in payload
    assert secret.encode() not in payload


async def test_records_without_id_and_time_are_stored_once_too(database: Database, call: str) -> None:
    """The same batch gives them the same ids and times whenever it is delivered."""
    records = [log_record_pb2.LogRecord(category=2, body=str(n), request_id=call) for n in range(3)]
    batch_ = log_batch_pb2.LogBatch(
        id=new_id(), service="bot_manager", instance="one", first_sequence=1, records=records
    )
    batch_.create_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=9))
    for _ in range(2):
        await ingest_of(database).logs([message("logs.bot_manager", batch_.SerializeToString())])
    found = await stored(database, call, "body, time")
    assert sorted(body for body, _ in found) == ["0", "1", "2"]
    assert {time for _, time in found} == {batch_.create_time.ToDatetime(UTC)}


async def test_a_record_without_time_happened_when_its_id_was_made(database: Database, call: str) -> None:
    """A time that no calendar has counts as none; an id that carries no time leaves when it was observed."""
    observed = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    made = {  # the first as in RFC 9562, appendix A.6
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F": datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC),
        "919108f7-52d1-4320-9bac-f847db4148a8": observed,
    }
    records = []
    for identity in made:
        for seconds in (0, 2**60):
            one = record(identity, request_id=call, id=identity[:-1] + ("0" if seconds else "1"))
            one.ClearField("time")
            one.observed_time.FromDatetime(observed)
            if seconds:
                one.time.seconds = seconds
            records.append(one)
    await ingest_of(database).logs([message("logs.bot_manager", batch(*records))])
    found = await stored(database, call, "body, time")
    assert len(found) == 4
    assert dict(found) == made


async def test_numbers_that_json_does_not_have_are_told_as_text(database: Database, call: str) -> None:
    """One NaN must not cost a batch."""
    odd = record("odd", request_id=call)
    odd.attributes.update({"nan": float("nan"), "far": float("-inf"), "count": 3, "part": 0.5, "none": None})
    await ingest_of(database).logs([message("logs.bot_manager", batch(odd))])
    [(attributes,)] = await stored(database, call, "attributes")
    assert attributes == {"nan": "nan", "far": "-inf", "count": 3, "part": 0.5, "none": None}


async def test_messages_wait_while_postgresql_is_frozen(engines: EmbeddedMesh, call: str) -> None:
    """Nothing is acknowledged that is not stored; once it is back, everything is there, once."""
    settings = settings_of(engines, "logging")
    url = make_url(settings.database_url or "")
    async with proxy_to(url.port or 5432) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        database = open_database(settings.model_copy(update={"database_url": through}), "logging")
        try:
            ingest = ingest_of(database)
            delivery = message(
                "logs.bot_manager", batch(*(record(str(n), request_id=call) for n in range(50)))
            )
            await ingest.logs([delivery])
            later = message("logs.bot_manager", batch(record("later", request_id=call)))
            proxy.freeze()
            with pytest.raises(Retry):
                await ingest.logs([delivery, later])
            proxy.thaw()
            await ingest.logs([delivery, later])
            assert len(await stored(database, call)) == 51
        finally:
            await database.close()


async def test_what_is_published_is_queryable(engines: EmbeddedMesh, database: Database, call: str) -> None:
    """From one service's connection through the stream and the durable consumer into the table."""
    async with (
        messaging_of(engines, "bot_manager") as source,
        messaging_of(engines, "logging") as sink,
        TaskSet() as tasks,
    ):
        handler = ingest_of(database).logs
        tasks.spawn(sink.consume_batches("LOGS", "logging", handler, batch=16), name="ingest")
        for number in range(5):
            payload = zstandard.compress(batch(record(str(number), request_id=call)))
            await source.publish("logs.bot_manager", payload, message_id=new_id(), headers=ZSTD)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(await stored(database, call)) < 5:
                await asyncio.sleep(0.02)


async def test_a_record_without_measure_is_set_aside_and_others_get_their_turn(
    database: Database, call: str
) -> None:
    """Redacting megabytes takes long, and the same process answers calls."""
    huge = record("huge", request_id=call)
    huge.attributes.update({"text": "token " * 40_000})
    large = [record(f"{n} token {'x' * 30_000}", request_id=call) for n in range(60)]
    headers = {"Nats-Msg-Id": new_id(), **ZSTD}
    payload = zstandard.compress(batch(huge, *large))
    turns, reading = 0, asyncio.Event()

    async def count_turns() -> None:
        nonlocal turns
        while not reading.is_set():
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    async for _ in read_batch(message("logs.bot_manager", payload, headers), SystemClock()):
        pass
    reading.set()
    await counting
    assert turns > len(large) // 3
    await ingest_of(database).logs([message("logs.bot_manager", payload, headers)])
    assert len(await stored(database, call)) == len(large)
    assert await set_aside(database, headers["Nats-Msg-Id"]) == [("larger than a record may be", b"")]
