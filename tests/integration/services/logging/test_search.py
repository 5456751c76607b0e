"""Finding records on real PostgreSQL: what matches, all of it, in order, a page at a time, and never for longer than allowed."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import DeadlineExceeded, InvalidArgument
from mesh.ids import new_id
from services.logging.domain.records import CONSOLE, DEBUG, TERMINAL, USER_ACTIVITY, Filter, Position, Record
from services.logging.servicers.search_lanes import SearchLanes, SearchRules
from services.logging.store.search import WALK, PostgresRecordSearch
from tests.integration.services.logging.rows import NOON, record, searching_in, store
from vivesphere.logging.v1 import log_service_pb2

MANY = WALK * 2


@pytest.fixture
def search(database: Database) -> PostgresRecordSearch:
    return PostgresRecordSearch(database)


async def everything(search: PostgresRecordSearch, wanted: Filter, page_size: int) -> list[Record]:
    """All pages."""
    found: list[Record] = []
    after: Position | None = None
    while page := await search.find(wanted, after, page_size):
        found += page
        after = page[-1].position
    return found


def expected(
    rows: Sequence[Record], matches: Callable[[Record], bool], *, oldest_first: bool
) -> list[tuple[str, int]]:
    chosen = sorted((row for row in rows if matches(row)), key=lambda row: row.position)
    return [(row.id, row.category) for row in (chosen if oldest_first else reversed(chosen))]


async def test_what_matches_is_found_whether_rare_common_or_absent(
    database: Database, search: PostgresRecordSearch
) -> None:
    """However the search goes through the time, it finds what going through all records would have found."""
    chance, service = random.Random(7), new_id()  # noqa: S311 - test data
    start = NOON - timedelta(days=3)
    rows = [
        record(
            start + timedelta(seconds=chance.randrange(3 * 86_400)),
            category=chance.choice((USER_ACTIVITY, DEBUG, TERMINAL, CONSOLE)),
            severity=chance.choice((0, 5, 9, 13, 17)),
            service=service,
            bot_id=chance.choice(("", "a-bot")),
            body="served " + ("needle " if n % 900 == 0 else "") + ("third" if n % 3 == 0 else "other"),
            attributes={"n": n % 800},
        )
        for n in range(MANY)
    ]
    await store(database, rows)
    day = (start + timedelta(days=1), start + timedelta(days=2))
    cases: list[tuple[Filter, Callable[[Record], bool]]] = [
        (Filter(text="served needle"), lambda row: "needle" in row.body),
        (Filter(text="needle -third"), lambda row: "needle" in row.body and "third" not in row.body),
        (Filter(text='"needle third" OR absent'), lambda row: "needle third" in row.body),
        (Filter(text="absent"), lambda row: False),
        (Filter(text="***"), lambda row: False),
        (Filter(attributes={"n": "33"}), lambda row: row.attributes["n"] == 33),
        (
            Filter(min_severity=9, attributes={"n": "34"}),
            lambda row: row.severity >= 9 and row.attributes["n"] == 34,
        ),
        (Filter(text="needle", bot_id="a-bot"), lambda row: "needle" in row.body and row.bot_id == "a-bot"),
        (
            Filter(text="needle", categories=(TERMINAL, CONSOLE)),
            lambda row: "needle" in row.body and row.category > 2,
        ),
        (
            Filter(text="needle", start_time=day[0], end_time=day[1]),
            lambda row: "needle" in row.body and day[0] <= row.time < day[1],
        ),
    ]
    for wanted, matches in cases:
        for oldest_first in (False, True):
            asked = replace(wanted, service=service, oldest_first=oldest_first)
            found = await everything(search, asked, 5)
            assert [(row.id, row.category) for row in found] == expected(
                rows, matches, oldest_first=oldest_first
            )
    common = await everything(search, Filter(service=service, text="third"), 700)
    assert len(common) == len(range(0, MANY, 3))
    severe = await everything(search, Filter(service=service, min_severity=13), 900)
    assert [row.id for row in severe] == [
        id for id, _ in expected(rows, lambda row: row.severity >= 13, oldest_first=False)
    ]


async def test_pages_are_stable_while_records_come_in(
    database: Database, search: PostgresRecordSearch
) -> None:
    """None is shown twice, and none is skipped that was there when the first page was read, in whatever order records arrive."""
    marker = new_id()
    before = [record(NOON + timedelta(seconds=n), request_id=marker) for n in range(30)]
    await store(database, before)
    for oldest_first in (False, True):
        seen: list[str] = []
        after: Position | None = None
        wanted = Filter(request_id=marker, oldest_first=oldest_first, text="something")
        while page := await search.find(wanted, after, 7):
            seen += [row.id for row in page]
            after = page[-1].position
            news = [record(NOON + timedelta(seconds=n), request_id=marker) for n in (-5, 3, 12, 29, 40)]
            await store(database, news if len(seen) < 30 else news[:1])
        assert len(seen) == len(set(seen))
        assert {row.id for row in before} <= set(seen)


async def test_a_page_fits_into_a_message(database: Database) -> None:
    """Long records make short pages; none is lost between them, and a token is for its own filter alone."""
    marker, searching = new_id(), searching_in(database)
    rows = [record(NOON - timedelta(seconds=n), request_id=marker, body="x" * 65_536) for n in range(70)]
    await store(database, rows)
    request = log_service_pb2.QueryLogsRequest(request_id=marker, page_size=5_000)
    sizes, ids = [], []
    while True:
        page = await searching.query(request)
        sizes.append(page.ByteSize())
        ids += [item.id for item in page.records]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert ids == [row.id for row in rows]
    assert len(sizes) == 2
    assert max(sizes) < 4 * 1024 * 1024
    with pytest.raises(InvalidArgument) as refused:
        await searching.query(
            log_service_pb2.QueryLogsRequest(request_id=new_id(), page_token=request.page_token)
        )
    assert refused.value.reason == "INVALID_PAGE_TOKEN"


async def test_records_of_the_future_are_found_when_asked_for(database: Database) -> None:
    """Without an end a search ends now: a source whose clock is wrong cannot stay on top of every page."""
    marker, searching = new_id(), searching_in(database)
    now = datetime.now(UTC)
    await store(database, [record(now + timedelta(hours=n), request_id=marker, body=str(n)) for n in (-1, 1)])
    request = log_service_pb2.QueryLogsRequest(request_id=marker)
    assert [item.body for item in (await searching.query(request)).records] == ["-1"]
    request.end_time.FromDatetime(now + timedelta(hours=2))
    assert [item.body for item in (await searching.query(request)).records] == ["1", "-1"]


async def test_two_categories_may_use_the_same_id_at_the_same_time(
    database: Database, search: PostgresRecordSearch
) -> None:
    """Sources make the ids. Whoever chose that of an audited record must not be able to hide it between two pages."""
    marker, id = new_id(), new_id()
    await store(
        database,
        [record(id=id, category=category, request_id=marker) for category in (CONSOLE, USER_ACTIVITY, DEBUG)],
    )
    found = await everything(search, Filter(request_id=marker), 1)
    assert [row.category for row in found] == [CONSOLE, DEBUG, USER_ACTIVITY]


async def test_attributes_are_compared_as_text(database: Database, search: PostgresRecordSearch) -> None:
    """Whoever searches types text, and does not know what type the source gave it."""
    marker = new_id()
    values = {"count": 3, "share": 0.5, "done": True, "http.method": "GET", "it's": 'a "quote"', "none": None}
    await store(
        database,
        [record(request_id=marker, attributes=values), record(request_id=marker, attributes={"count": 4})],
    )
    for name, value in (
        *(("count", "3"), ("share", "0.5"), ("done", "true")),
        *(("http.method", "GET"), ("it's", 'a "quote"')),
    ):
        assert len(await search.find(Filter(request_id=marker, attributes={name: value}), None, 5)) == 1
    for name, value in (("count", "3.0"), ("done", "True"), ("http", "GET"), ("none", "null"), ("count", "")):
        assert await search.find(Filter(request_id=marker, attributes={name: value}), None, 5) == []


async def test_a_search_ends_in_time_and_says_what_helps(engines: EmbeddedMesh, database: Database) -> None:
    """A table that is locked stands for one that is large; the connection is good for the next search."""
    search = PostgresRecordSearch(database)
    lanes = SearchLanes(lambda: SearchRules(1, 0.3), SystemClock())
    with engines.admin.connect() as blocker:
        blocker.execute("LOCK TABLE logging.records IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineExceeded, match="shorter time range or more filters") as told:
            async with asyncio.timeout(5), lanes.lane() as seconds:
                await search.find(Filter(text="anything"), None, 5, seconds=seconds)
        blocker.rollback()
    assert told.value.reason == "DEADLINE_TOO_SHORT"
    async with lanes.lane():
        assert await search.find(Filter(request_id=new_id()), None, 5) == []


async def test_a_search_may_take_longer_than_other_statements_and_leaves_no_trace(database: Database) -> None:
    """Its time is its own: the next user of the connection has the usual bounds again."""
    async with database.read(seconds=8) as connection:
        await connection.execute(text("SELECT pg_sleep(4.2)"))
    with pytest.raises(DeadlineExceeded):
        async with database.read(seconds=0.2) as connection:
            await connection.execute(text("SELECT pg_sleep(20)"))
    before = await timeouts(database)
    await PostgresRecordSearch(database).find(Filter(text="x"), None, 1, seconds=3)
    assert await timeouts(database) == before


async def timeouts(database: Database) -> list[str]:
    names = ("statement_timeout", "enable_indexscan", "plan_cache_mode")
    async with database.read() as connection:
        return [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
