"""Records are written by COPY, each once, in batches whose numbers have no gap; what PostgreSQL refuses costs only itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.ids import new_id
from services.logging.store.writing import PostgresRecordWriter
from tests.fakes.logging import a_record, ingest_of, writer_of
from tests.integration.services.logging.messages import batch, message, record


@pytest.fixture
def service() -> str:
    """Each test's records are of a service of its own."""
    return f"test-{new_id()}"


async def rows(database: Database, sql: str, **values: Any) -> list[Any]:
    async with database.read() as connection:
        return list((await connection.execute(text(sql), values)).all())


async def count(database: Database, service: str) -> tuple[int, int]:
    """How many records of the service there are, and how many the counts tell."""
    [(stored,)] = await rows(database, "SELECT count(*) FROM records WHERE service = :s", s=service)
    [(told,)] = await rows(
        database, "SELECT coalesce(sum(count), 0)::bigint FROM record_counts WHERE service = :s", s=service
    )
    return stored, told


async def add(database: Database, writer: PostgresRecordWriter, batch: list[Any]) -> list[str]:
    """Add in a transaction; the reasons of what was refused."""
    async with database.transaction() as connection:
        return [refusal.reason for refusal in await writer.add(connection, batch)]


@contextmanager
def refused_by_postgres(engines: EmbeddedMesh, body: str) -> Iterator[None]:
    """PostgreSQL refuses records with this body, as it would data that we did not think of."""
    with engines.admin.connect(autocommit=True) as admin:
        admin.execute(
            f"ALTER TABLE logging.records ADD CONSTRAINT refuses CHECK (body <> '{body}') NOT VALID"
        )
        try:
            yield
        finally:
            admin.execute("ALTER TABLE logging.records DROP CONSTRAINT refuses")


async def test_what_is_there_already_is_left_out_and_not_counted_again(
    database: Database, service: str
) -> None:
    """Within a batch and between batches, in part or as a whole: a record is told by its time and id."""
    writer = writer_of(database)
    records = [a_record(service=service, body=str(n)) for n in range(2_500)]
    await add(database, writer, records[:1_500] + records[:10])
    await add(database, writer, records[1_400:] + records[1_400:])
    await add(database, writer, records)
    assert await count(database, service) == (2_500, 2_500)
    [(again,)] = await rows(
        database, "SELECT sum(record_count)::bigint FROM batches WHERE id IN (SELECT batch FROM records"
        " WHERE service = :s)", s=service,
    )  # fmt: skip
    assert again == 2_500


async def test_a_batch_without_news_takes_no_number(database: Database, service: str) -> None:
    """Readers are told of batches by number; one that holds nothing would send them looking."""
    heard: list[int] = []
    writer, records = writer_of(database, on_stored=heard.append), [a_record(service=service)]
    await add(database, writer, records)
    await add(database, writer, records)
    await add(database, writer, [])
    assert len(heard) == 1
    [(number,)] = await rows(
        database,
        "SELECT number FROM batches JOIN records ON batch = batches.id WHERE service = :s",
        s=service,
    )
    assert heard == [number]


async def test_nobody_hears_of_what_was_rolled_back(database: Database, service: str) -> None:
    """A hint before the commit would send readers to look for what is not there."""
    heard: list[int] = []
    writer = writer_of(database, on_stored=heard.append)

    async def block() -> None:
        async with database.transaction() as connection:
            await writer.add(connection, [a_record(service=service)])
            assert heard == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    assert heard == []
    assert await count(database, service) == (0, 0)


async def test_writers_of_the_same_records_store_each_once_and_number_without_gaps(
    database: Database, service: str
) -> None:
    """Replicas get the same records after a redelivery. Whoever has seen a number has all before it, at every moment."""
    records = [a_record(service=service, body=str(n)) for n in range(900)]
    [(before,)] = await rows(database, "SELECT last FROM batch_numbers")
    heard: list[int] = []
    done = asyncio.Event()

    async def write(number: int) -> None:
        writer = writer_of(database, writer=f"replica {number}", on_stored=heard.append)
        for start in range(number * 10, 900, 150):
            await add(database, writer, records[start : start + 300])

    async def watch() -> int:
        looks = 0
        while not done.is_set() or not looks:
            seen = await rows(
                database, "SELECT number, batch FROM batches LEFT JOIN LATERAL (SELECT batch FROM records WHERE"
                " batch = batches.id LIMIT 1) AS any_record ON true WHERE number > :n ORDER BY number", n=before,
            )  # fmt: skip
            assert [number for number, _ in seen] == list(range(before + 1, before + 1 + len(seen)))
            assert None not in [stored for _, stored in seen]
            looks += 1
        return looks

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(number) for number in range(4)))
    done.set()
    await watching
    assert await count(database, service) == (900, 900)
    assert len(heard) == len(set(heard))
    [(last,)] = await rows(database, "SELECT last FROM batch_numbers")
    assert sorted(heard) == list(range(before + 1, last + 1))


async def test_a_refused_record_stands_alone_in_the_end(
    engines: EmbeddedMesh, database: Database, service: str
) -> None:
    """Whatever PostgreSQL does not take must not hold up the thousands beside it, nor be tried for ever."""
    bad = f"refused {service}"
    records = [a_record(service=service, body=bad if n in (3, 4, 1_200) else str(n)) for n in range(1_500)]
    with refused_by_postgres(engines, bad):
        reasons = await add(database, writer_of(database), records)
    assert reasons == ["CheckViolation"] * 3
    assert await count(database, service) == (1_497, 1_497)


async def test_what_postgres_refuses_is_kept_aside_with_its_reason(
    engines: EmbeddedMesh, database: Database, service: str
) -> None:
    """Also when the message comes again: its good records are there already, its bad one is kept aside once."""
    bad = f"refused {service}"
    payload = batch(record("good", request_id=service), record(bad, request_id=service))
    with refused_by_postgres(engines, bad):
        for _ in range(2):
            await ingest_of(database).logs([message("logs.bot_manager", payload)])
    assert await rows(database, "SELECT body FROM records WHERE request_id = :s", s=service) == [("good",)]
    kept = await rows(database, "SELECT reason, position, payload FROM rejected")
    mine = [(reason, position) for reason, position, payload in kept if bad.encode() in payload]
    assert mine == [("refused by the database: CheckViolation", 1)]


async def test_hostile_texts_come_back_as_they_were(database: Database, service: str) -> None:
    """COPY has its own syntax, of which no text may be taken for a part."""
    texts = [
        "\\.",
        "\\N",
        "a\tb",
        "a\nb\r\nc",
        "\\\\x41",
        "\\",
        "'; DROP TABLE records; --",
        "\x1b[31m",
        "‮",
        "\x7f\x01",
    ]
    records = [a_record(service=service, body=body, actor=body, attributes={body: [body]}) for body in texts]
    assert await add(database, writer_of(database), records) == []
    found = await rows(database, "SELECT body, actor, attributes FROM records WHERE service = :s", s=service)
    assert {(body, actor, str(attributes)) for body, actor, attributes in found} == {
        (body, body, str({body: [body]})) for body in texts
    }


async def test_counts_are_by_minute_category_severity_and_service(database: Database, service: str) -> None:
    """A histogram adds them up and must not have to look at records."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    records = [
        a_record(service=service, time=minute + timedelta(seconds=n), severity=9 + 8 * (n % 2))
        for n in range(50, 70)
    ]
    await add(database, writer_of(database, writer="one"), records[:15])
    await add(database, writer_of(database, writer="two"), records[15:])
    found = await rows(
        database, "SELECT minute, category, severity, sum(count)::int FROM record_counts WHERE service = :s"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", s=service,
    )  # fmt: skip
    later = minute + timedelta(minutes=1)
    assert found == [(minute, 2, 9, 5), (minute, 2, 17, 5), (later, 2, 9, 5), (later, 2, 17, 5)]
