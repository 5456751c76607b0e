"""Records lie in the partition of their day, and only what is older than its retention goes."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.ids import new_id
from services.logging.domain.records import CONSOLE, DEBUG, TERMINAL, USER_ACTIVITY, Record
from services.logging.domain.retention import Retention
from services.logging.housekeeping import Housekeeping
from services.logging.store.partitions import Partitions
from services.logging.store.retention import Pruning
from tests.fakes.clock import ManualClock
from tests.fakes.logging import DEFAULT, a_record, writer_of


@pytest.fixture
def service() -> str:
    """Each test's records are of a service of its own."""
    return f"test-{new_id()}"


async def add(database: Database, *records: Record, retention: Retention = DEFAULT) -> None:
    async with database.transaction() as connection:
        await writer_of(database, retention=lambda: retention).add(connection, records)


async def lie_in(database: Database, service: str) -> dict[str, str]:
    """Body of each record -> the table it lies in."""
    query = text("SELECT body, tableoid::regclass::text AS tableoid FROM records WHERE service = :s")
    async with database.read() as connection:
        return {row.body: row.tableoid for row in await connection.execute(query, {"s": service})}


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def table(category: str, time: datetime) -> str:
    return f"records_{category}_{time:%Y%m%d}"


def keeper_of(database: Database, retention: Retention, now: datetime | None = None) -> Housekeeping:
    partitions = Partitions(database)
    clock = ManualClock(now or datetime.now(UTC))
    return Housekeeping(partitions, Pruning(database, partitions), lambda: retention, clock)


async def test_a_record_lies_in_its_day_and_one_out_of_reach_apart(database: Database, service: str) -> None:
    """A spool that is replayed after a week belongs to its days; a clock that is wrong must not make partitions without end."""
    times = {
        "last week": (DEBUG, ago(days=7)),
        "last year": (USER_ACTIVITY, ago(days=300)),
        "tomorrow": (DEBUG, ago(days=-1)),
        "too old": (TERMINAL, ago(days=300)),
        "too far": (CONSOLE, ago(days=-10)),
        "end of time": (DEBUG, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        "begin of time": (DEBUG, datetime(1, 1, 1, tzinfo=UTC)),
    }
    await add(
        database,
        *(a_record(service=service, body=body, category=category, time=time)
          for body, (category, time) in times.items()),
    )  # fmt: skip
    assert await lie_in(database, service) == {
        "last week": table("debug", times["last week"][1]),
        "last year": table("user_activity", times["last year"][1]),
        "tomorrow": table("debug", times["tomorrow"][1]),
        "too old": "records_terminal_other",
        "too far": "records_console_other",
        "end of time": "records_debug_other",
        "begin of time": "records_debug_other",
    }


async def test_a_partition_takes_over_what_was_stored_before_it_was_there(
    database: Database, service: str
) -> None:
    """While it could not be made its records lie in the default partition, which must not keep it from being made for ever."""
    time = ago(days=40)
    narrow = Retention({**DEFAULT.days, DEBUG: 10})
    wide = Retention({**DEFAULT.days, DEBUG: 50})
    await add(database, a_record(service=service, body="early", time=time), retention=narrow)
    assert await lie_in(database, service) == {"early": "records_debug_other"}
    await add(database, a_record(service=service, body="late", time=time), retention=wide)
    assert await lie_in(database, service) == {"early": table("debug", time), "late": table("debug", time)}


async def test_only_what_is_due_goes(database: Database, service: str) -> None:
    """Each category has its own retention: what is a day younger stays, in other categories everything stays."""
    days = {USER_ACTIVITY: 400, DEBUG: 100, TERMINAL: 100, CONSOLE: 90}
    retention = Retention(days)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first_kept, last_due = today - timedelta(days=90), today - timedelta(days=90, microseconds=1)
    for category, body, time in (
        (CONSOLE, "due", last_due),
        (CONSOLE, "kept", first_kept),
        (CONSOLE, "new", ago(seconds=1)),
        (TERMINAL, "other category", last_due),
    ):
        wide = Retention(dict.fromkeys(days, 500))
        await add(
            database, a_record(service=service, category=category, body=body, time=time), retention=wide
        )
    assert await keeper_of(database, retention).once()
    assert set(await lie_in(database, service)) == {"kept", "new", "other category"}
    counts = "SELECT category, minute FROM record_counts WHERE service = :s AND minute < :before"
    async with database.read() as connection:
        values = {"s": service, "before": today - timedelta(days=1)}
        found = {tuple(row) for row in (await connection.execute(text(counts), values)).all()}
    assert found == {(CONSOLE, first_kept), (TERMINAL, last_due.replace(second=0, microsecond=0))}


async def test_strays_are_kept_as_long_as_others_from_when_they_came(
    database: Database, service: str
) -> None:
    """A record whose clock is wrong came today like any other; what its clock says must not cost it its time."""
    stray = a_record(service=service, body="stray", time=datetime(1970, 1, 2, tzinfo=UTC))
    future = a_record(service=service, body="future", time=datetime(2300, 1, 2, tzinfo=UTC))
    await add(database, stray, future)
    await keeper_of(database, DEFAULT).once()
    assert set(await lie_in(database, service)) == {"stray", "future"}
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE records SET observed_time = :then WHERE service = :s"),
            {"then": ago(days=DEFAULT.days[DEBUG] + 1), "s": service},
        )
    await keeper_of(database, DEFAULT).once()
    assert await lie_in(database, service) == {}
    async with database.read() as connection:
        left = text("SELECT count(*) FROM record_counts WHERE service = :s")
        assert (await connection.execute(left, {"s": service})).scalar_one() == 0


async def test_old_batches_and_rejected_go_too(database: Database, service: str) -> None:
    """What is only for readers who follow, and for people who look into a failure, has its end as well."""
    async with database.transaction() as connection:
        for days in (6, 8):
            await connection.execute(
                text(
                    "INSERT INTO batches VALUES (-:n, -:n, now() - make_interval(days => :n), now(), now(), 1)"
                ),
                {"n": days},
            )
        for days in (29, 31):
            await connection.execute(
                text("INSERT INTO rejected VALUES (gen_random_uuid(), now() - make_interval(days => :n), :s, '', :n, '', '')"),
                {"n": days, "s": service},
            )  # fmt: skip
    await keeper_of(database, DEFAULT).once()
    async with database.transaction() as connection:
        kept = (
            await connection.execute(text("DELETE FROM batches WHERE number < 0 RETURNING number"))
        ).scalars()
        assert list(kept) == [-6]
        kept = await connection.execute(
            text("SELECT position FROM rejected WHERE subject = :s"), {"s": service}
        )
        assert list(kept.scalars()) == [29]


async def test_partitions_are_there_before_their_day(database: Database) -> None:
    """At midnight nobody waits for one to be made."""
    await keeper_of(database, DEFAULT).once()
    today = datetime.now(UTC)
    names = {
        table(category, today + timedelta(days=n)) for n in range(3) for category in ("debug", "console")
    }
    async with database.read() as connection:
        found = await connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('records')")
        )
        assert names <= set(found.scalars())


async def test_words_are_found_before_and_after_they_are_merged(database: Database, service: str) -> None:
    """The list of words that wait is a part of the index."""
    word = f"word{new_id().replace('-', '')}"
    await add(database, a_record(service=service, body=f"a {word}"))
    query = text("SELECT service FROM records WHERE to_tsvector('simple', body) @@ to_tsquery('simple', :w)")
    for _ in range(2):
        async with database.read() as connection:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            assert list((await connection.execute(query, {"w": word})).scalars()) == [service]
        await Partitions(database).merge_words(datetime.now(UTC).date())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (a int)",
        "CREATE TABLE mine PARTITION OF records_debug FOR VALUES FROM ('1999-01-01') TO ('1999-01-02')",
        "DROP TABLE records_debug_other",
        "ALTER TABLE records_debug DETACH PARTITION records_debug_other",
        "TRUNCATE records_debug_other",
        "ALTER FUNCTION drop_days(text, date) SET search_path = public",
        "DROP TABLE batches",
    ],
)
async def test_the_service_cannot_change_tables_itself(database: Database, statement: str) -> None:
    """Whoever takes over the service can store and read, and let go of old days; not of the store."""
    with pytest.raises(Exception, match=r"must be owner|permission denied"):
        async with database.transaction() as connection:
            await connection.execute(text(statement))


async def call(database: Database, function: str, **values: Any) -> Any:
    async with database.transaction() as connection:
        return (await connection.execute(text(f"SELECT {function}"), values)).scalar_one()


async def test_a_day_is_made_for_all_categories_for_replicas_of_the_version_before(
    database: Database,
) -> None:
    """During a roll-out they still ask for a day as a whole."""
    day = ago(days=13)
    await call(database, "ensure_day(:day)::text", day=day.date())
    async with database.read() as connection:
        found = await connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('records')")
        )
        names = {table(category, day) for category in ("user_activity", "debug", "terminal", "console")}
        assert names <= set(found.scalars())


async def test_the_owners_functions_do_no_more_than_they_are_for(database: Database) -> None:
    """They run with the owner's rights, so they take nothing but a category and a day that makes sense."""
    today = datetime.now(UTC).date()
    for category, day in (
        ("debug", date(1999, 1, 1)),
        ("debug", today + timedelta(days=30)),
        ("debug; DROP TABLE batches", today),
        ("", today),
    ):
        assert not await call(database, "ensure_partition(:category, :day)", category=category, day=day)
    assert (
        await call(database, "drop_days(:category, :day)", category="nobody", day=today - timedelta(days=9))
        == 0
    )
    with pytest.raises(Exception, match="days from yesterday on are kept"):
        await call(database, "drop_days(:category, :day)", category="debug", day=today)
