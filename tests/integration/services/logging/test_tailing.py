"""Following records live on real PostgreSQL and NATS: nothing missed, nothing twice, and what is left out is counted."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable
from mesh.ids import new_id
from mesh.messaging.hints import Hints
from mesh.paging import PageTokens
from mesh.tasks import TaskSet
from services.logging.domain.records import CONSOLE, DEBUG, Filter
from services.logging.store.search import PostgresRecordSearch
from services.logging.tailing.matching import matches
from services.logging.tailing.tail import MAX_WAITING_RECORDS
from tests.fakes.engines import messaging_of
from tests.fakes.mesh import until
from tests.integration.services.logging.stored import SECRET, Replica, a_record, forget, replica, store, write
from vivesphere.logging.v1 import log_service_pb2

Response = log_service_pb2.TailLogsResponse
NEVER = timedelta(hours=1)


class Reader:
    """Somebody who follows."""

    def __init__(self, where: Replica, **request: Any) -> None:
        self._hub = where.hub
        self._items = where.tailing.tail(log_service_pb2.TailLogsRequest(**request))
        self._pending: asyncio.Future[Response] | None = None
        self.token = ""

    async def __aenter__(self) -> "Reader":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
        await self._items.aclose()

    async def next(self) -> Response:
        """The next item of any kind."""
        pending, self._pending = self._pending or asyncio.ensure_future(anext(self._items)), None
        async with asyncio.timeout(10):
            item = await pending
        self.token = item.resume_token
        return item

    async def until_live(self) -> list[str]:
        """Read the beginning; bodies."""
        bodies = []
        while (item := await self.next()).HasField("record"):
            bodies.append(item.record.body)
        return bodies

    async def go_live(self, tails: int = 1) -> None:
        """Read the beginning and ask for the first item after it, as gRPC does; wait until so many tails are live."""
        await self.until_live()
        self._pending = asyncio.ensure_future(anext(self._items))
        await until(lambda: len(self._hub) >= tails)

    async def up_to(self, number: int) -> list[str]:
        """Read until the tail says that all up to a batch was told; bodies."""
        bodies = []
        while PageTokens(SECRET, "logging.tail").decode((item := await self.next()).resume_token, {}) != (
            number,
        ):
            bodies += [item.record.body] if item.HasField("record") else []
        return bodies

    async def until_body(self, body: str) -> None:
        """Read on to a record."""
        while (await self.next()).record.body != body:
            pass

    async def bodies(self, count: int) -> list[str]:
        """Bodies of the next records; fails on a gap."""
        bodies: list[str] = []
        while len(bodies) < count:
            item = await self.next()
            assert not item.HasField("gap"), item
            if item.HasField("record"):
                bodies.append(item.record.body)
        return bodies


async def test_the_newest_come_first_and_then_what_is_stored(database: Database) -> None:
    """Oldest first, so that a terminal reads downwards, and only what the filter names."""
    marker = new_id()
    await store(database, *(a_record(marker, f"old {n}") for n in range(5)))
    async with replica(database) as one, Reader(one, request_id=marker, initial_count=3) as reader:
        assert await reader.until_live() == ["old 2", "old 3", "old 4"]
        await store(database, a_record(new_id(), "of another call"), a_record(marker, "new 0"))
        await store(database, a_record(marker, "new 1"))
        assert await reader.bodies(2) == ["new 0", "new 1"]


async def test_there_is_neither_hole_nor_double_at_the_seam(database: Database) -> None:
    """Tails that open while records are being stored see each of them once: in the beginning or live."""
    marker, total = new_id(), 60
    stored: list[int] = []

    async def writes(writer: int) -> None:
        for n in range(total // 3):
            number = await store(database, a_record(marker, f"{writer} {n}"), a_record(new_id()))
            stored.append(number)

    async def reads(one: Replica, wait: int) -> list[str]:
        await until(lambda: len(stored) >= wait)
        async with Reader(one, request_id=marker, initial_count=1000) as reader:
            return await reader.bodies(total)

    async with replica(database) as one, TaskSet() as tasks:
        readers = [tasks.spawn(reads(one, wait), name=f"reader {wait}") for wait in range(0, 60, 7)]
        await asyncio.gather(*(writes(writer) for writer in range(3)))
        seen = [await reader for reader in readers]
    assert all(len(set(bodies)) == total for bodies in seen)


async def test_a_transaction_that_takes_long_is_not_overtaken(database: Database) -> None:
    """Batches are told by the order in which they became visible: one that began early and ends late is not passed over."""
    marker = new_id()
    async with replica(database) as one, Reader(one, request_id=marker) as reader:
        await reader.until_live()
        async with database.transaction() as slow:
            await slow.execute(text("SELECT nextval('batch_ids')"))
            await store(database, a_record(marker, "quick"))
            assert await reader.bodies(1) == ["quick"]
            await write(slow, [a_record(marker, "slow")])
        assert await reader.bodies(1) == ["slow"]


async def test_each_batch_is_read_once_for_two_hundred_tails(database: Database) -> None:
    """A hundred people who watch the same logs cost the database as much as one; everybody gets theirs, in order."""
    markers = [new_id() for _ in range(4)]
    async with replica(database) as one, AsyncExitStack() as stack, TaskSet() as tasks:
        readers = [
            await stack.enter_async_context(Reader(one, request_id=markers[n % 4])) for n in range(200)
        ]
        await asyncio.gather(*(reader.go_live(200) for reader in readers))
        waiting = [tasks.spawn(reader.bodies(10), name="reader") for reader in readers]
        numbers = [await store(database, *(a_record(m, f"line {n}") for m in markers)) for n in range(10)]
        for bodies in await asyncio.gather(*waiting):
            assert bodies == [f"line {n}" for n in range(10)]
        assert [number for number in one.store.read if number in numbers] == numbers
    assert len(one.hub) == 0


async def test_nothing_is_read_while_nobody_follows(database: Database) -> None:
    """An idle hub costs the database nothing, whatever is stored; who comes then is told what is new from then on."""
    marker = new_id()
    async with replica(database) as one:
        async with Reader(one, request_id=marker) as reader:
            await reader.go_live()
        await until(lambda: len(one.hub) == 0)
        for _ in range(3):
            await store(database, a_record(marker, "unseen"))
            one.hub.wake()
        async with Reader(one, request_id=marker) as reader:
            await reader.go_live()
            number = await store(database, a_record(marker, "seen"))
            assert await reader.bodies(1) == ["seen"]
        assert one.store.read == [number]


async def test_a_reader_who_is_too_slow_gets_one_gap_that_counts(database: Database) -> None:
    """Memory is bounded, and what is missing is known: how many, and from when to when."""
    marker, total = new_id(), MAX_WAITING_RECORDS + 700
    made = [a_record(marker, str(n)) for n in range(total)]
    async with (
        replica(database) as one,
        Reader(one, request_id=marker) as slow,
        Reader(one, request_id=marker) as other,
        TaskSet() as tasks,
    ):
        await slow.go_live()
        await other.go_live(2)
        reading = tasks.spawn(other.until_body(str(total - 1)), name="somebody who is not")
        for start in range(0, total, 100):
            await store(database, *made[start : start + 100])
        await reading
        bodies = await slow.bodies(MAX_WAITING_RECORDS + 1)
        item = await slow.next()
        left_out = made[len(bodies) :]
        assert item.gap.dropped_count == len(left_out)
        assert item.gap.first_time.ToDatetime() == left_out[0].time.replace(tzinfo=None)
        assert item.gap.last_time.ToDatetime() == left_out[-1].time.replace(tzinfo=None)
        assert bodies == [record.body for record in made[: len(bodies)]]
        await store(database, a_record(marker, "after the gap"))
        assert await slow.bodies(1) == ["after the gap"]


async def test_a_hub_that_is_too_far_behind_says_how_much_it_left_out(database: Database) -> None:
    """Whole batches are left out, the oldest first. Their count is of all records: nobody has looked which match."""
    marker = new_id()
    async with replica(database, rate=10, poll=NEVER) as one, Reader(one, request_id=marker) as reader:
        await reader.go_live()
        await until(lambda: one.store.looks >= 2)
        for n in range(3):
            await store(database, *(a_record(marker, f"{n} {m}") for m in range(12)), a_record(new_id()))
        one.hub.wake()
        item = await reader.next()
        assert item.gap.dropped_count == 26
        assert await reader.bodies(12) == [f"2 {m}" for m in range(12)]


@pytest.mark.parametrize("taken", [1, 3, 5, 8, 13])
async def test_a_resumed_tail_misses_nothing_on_another_replica(database: Database, taken: int) -> None:
    """Wherever it broke off: among the newest that it began with, in the middle of a batch, between two."""
    marker = new_id()
    await store(database, *(a_record(marker, f"old {n}") for n in range(5)))
    async with replica(database) as one, Reader(one, request_id=marker, initial_count=5) as reader:
        seen = await reader.bodies(min(taken, 5))
        for batch in range(3):
            await store(database, *(a_record(marker, f"{batch} {n}") for n in range(4)))
        seen += await reader.bodies(taken - len(seen))
    await store(database, a_record(marker, "meanwhile"))
    async with replica(database) as two, Reader(two, request_id=marker, resume_token=reader.token) as rest:
        expected = [f"old {n}" for n in range(5)]
        expected += [f"{batch} {n}" for batch in range(3) for n in range(4)]
        expected += ["meanwhile"]
        assert seen + await rest.bodies(len(expected) - len(seen)) == expected


async def test_a_batch_larger_than_a_read_is_resumed_in_its_middle(database: Database) -> None:
    """Reading in pieces must not show in what is told."""
    marker = new_id()
    async with replica(database) as one, Reader(one, request_id=marker) as reader:
        await reader.until_live()
        made = [a_record(marker, str(n)) for n in range(1_100)]
        await store(database, *made)
        seen = await reader.bodies(700)
    async with replica(database) as two, Reader(two, request_id=marker, resume_token=reader.token) as reader:
        assert seen + await reader.bodies(400) == [record.body for record in made]


async def test_a_quiet_tail_says_so_and_can_be_resumed_from_there(database: Database) -> None:
    """Nobody on the way takes it for dead, and whoever comes back need not read what did not match."""
    marker = new_id()
    async with replica(database, patience=timedelta(milliseconds=50)) as one:
        async with Reader(one, request_id=marker) as reader:
            begun = await reader.next()
            await store(database, a_record(new_id()))
            quiet = await reader.next()
            while quiet.resume_token == begun.resume_token:
                quiet = await reader.next()
            assert quiet.WhichOneof("item") is None
        await store(database, a_record(marker, "meanwhile"))
        async with Reader(one, request_id=marker, resume_token=quiet.resume_token) as reader:
            assert await reader.bodies(1) == ["meanwhile"]


async def test_a_lost_hint_costs_time_and_nothing_else(database: Database) -> None:
    """Nobody wakes this hub: it looks by itself."""
    marker = new_id()
    poll = timedelta(milliseconds=50)
    async with replica(database, poll=poll) as one, Reader(one, request_id=marker) as reader:
        await reader.go_live()
        await store(database, a_record(marker, "found"))
        assert await reader.bodies(1) == ["found"]


async def test_a_hint_of_another_replica_wakes_the_hub(database: Database, engines: EmbeddedMesh) -> None:
    """The logging service may say and hear its own hint on the real NATS; the hub of this test never looks by itself."""
    marker = new_id()
    async with (
        messaging_of(engines, "logging") as here,
        messaging_of(engines, "logging") as there,
        replica(database, poll=NEVER) as one,
        TaskSet() as tasks,
    ):
        woken = asyncio.Event()

        def wake() -> None:
            woken.set()
            one.hub.wake()

        tasks.spawn(Hints(here, "hints.logging", wake).run(), name="hearing")
        teller = Hints(there, "hints.logging", lambda: None)
        tasks.spawn(teller.run(), name="telling")
        async with Reader(one, request_id=marker) as reader:
            await reader.go_live()
            number = await store(database, a_record(marker, "hinted"))
            async with asyncio.timeout(10):
                while not woken.is_set():  # the subscription may still be on its way
                    teller.announce(number)
                    await asyncio.sleep(0.02)
            assert (await reader.next()).record.body == "hinted"


async def test_a_batch_that_could_not_be_read_is_read_again(database: Database) -> None:
    """The loss of the database for a moment is no reason to lose a line."""
    marker = new_id()
    async with replica(database) as one, Reader(one, request_id=marker) as reader:
        await reader.go_live()
        one.store.failures.append(Unavailable("DATABASE_UNAVAILABLE", "away"))
        await store(database, a_record(marker, "kept"))
        assert await reader.bodies(1) == ["kept"]
        assert one.store.failures == []


async def test_a_batch_that_takes_too_long_to_read_is_a_gap(database: Database) -> None:
    """It must not keep everybody from what comes after it, neither live nor on the way back."""
    marker = new_id()
    late = DeadlineExceeded("DEADLINE_TOO_SHORT", "the database did not finish in time")
    async with replica(database) as one:
        async with Reader(one, request_id=marker) as reader:
            await reader.go_live()
            token = reader.token
            one.store.failures.append(late)
            await store(database, a_record(marker), a_record(new_id()))
            assert (await reader.next()).gap.dropped_count == 2
            await store(database, a_record(marker, "after it"))
            assert await reader.bodies(1) == ["after it"]
        one.store.failures.append(late)
        async with Reader(one, request_id=marker, resume_token=token) as reader:
            await reader.until_live()
            gaps = [(await reader.next()).gap.dropped_count for _ in range(2)]
            assert gaps == [2, 1]


async def test_tokens_that_lead_nowhere_are_refused(database: Database) -> None:
    """Made up, of a history that this store does not have, or older than what is kept."""
    marker = new_id()
    async with replica(database) as one:
        async with Reader(one, request_id=marker) as reader:
            old = (await reader.next()).resume_token
        newest = max([await store(database, a_record(marker)) for _ in range(3)])
        future = PageTokens(SECRET, "logging.tail").encode((newest + 1_000,), {})
        await forget(database, newest)
        for token in ("made-up", old[:-2] + "zz", future, old):
            async with Reader(one, request_id=marker, resume_token=token) as reader:
                with pytest.raises(InvalidArgument) as refused:
                    await reader.next()
            assert refused.value.reason == "INVALID_PAGE_TOKEN"
            assert refused.value.violations[0].field == "resume_token"


async def test_one_tail_more_than_allowed_is_refused(database: Database) -> None:
    """And the place of one that ended is free again."""
    async with replica(database, max_open=2) as one:
        async with Reader(one) as first, Reader(one) as second, Reader(one) as third:
            await first.next()
            await second.next()
            with pytest.raises(ResourceExhausted) as refused:
                await third.next()
            assert refused.value.reason == "OVERLOADED"
            assert refused.value.retry_after
        async with Reader(one) as fourth:
            await fourth.next()


async def test_tails_end_when_the_process_stops(database: Database) -> None:
    """A roll-out does not wait for people who watch; they resume elsewhere."""
    async with replica(database) as one, Reader(one) as reader:
        await reader.go_live()
        one.hub.close()
        with pytest.raises(Unavailable) as ended:
            await reader.next()
        assert ended.value.reason == "SHUTTING_DOWN"
        async with Reader(one) as late:
            with pytest.raises(Unavailable):
                await late.next()


BODIES = (
    "publishing failed badly",
    "Published, finally",
    "connection to db-1.example.com:5432 lost",
    "GET /api/v1/logs?x=1 404",
    "user@example.com signed in",
    "version 1.2.3-rc1 of bot_manager",
    "Zürich ÄRGER straße",
    "it's a test-case; done",
    "42 -17 3.14 1e10",
    "",
    "the the the",
    "日本語 のテキスト",
    "<b>bold</b> &amp; x",
    "failed then published",
    "foo_bar foo-bar foobar",
)
TEXTS = (
    "failed",
    "FAILED published",
    '"failed badly"',
    '"badly failed"',
    "failed OR published",
    "failed or finally",
    "-failed",
    "published -failed",
    '-"failed badly"',
    "failed OR published -finally",
    "example.com",
    "db-1.example.com:5432",
    "db-1.example.com",
    "/api/v1/logs",
    "user@example.com",
    "1.2.3",
    "1.2.3-rc1",
    "bot_manager",
    "bot",
    "zürich",
    "ärger STRASSE",
    "straße",
    "it's",
    "test-case",
    "test",
    "-17",
    "3.14",
    "1e10",
    "the",
    '"the the"',
    "日本語",
    "bold",
    "foo-bar",
    "foo_bar",
    '"',
    "OR",
    "or or",
    "-",
    '""',
    "&amp;",
    "!!! ???",
    'failed "then published" -badly',
)


async def test_words_mean_in_a_tail_what_they_mean_in_a_search(database: Database) -> None:
    """Whoever turns a search into a tail must not see other records: on hosts, paths, hyphens, numbers, phrases, OR and minus."""
    marker = new_id()
    patience = timedelta(milliseconds=20)
    async with replica(database, patience=patience) as one, AsyncExitStack() as stack:
        readers = {
            words: await stack.enter_async_context(Reader(one, request_id=marker, text=words))
            for words in TEXTS
        }
        await asyncio.gather(*(reader.go_live(len(TEXTS)) for reader in readers.values()))
        number = await store(database, *(a_record(marker, body) for body in BODIES))
        for words in TEXTS:
            wanted = Filter(request_id=marker, text=words, oldest_first=True)
            found = [record.body for record in await PostgresRecordSearch(database).find(wanted, None, 100)]
            assert await readers[words].up_to(number) == found, words


VALUES: tuple[Any, ...] = (
    "x",
    3,
    -0.5,
    1e-7,
    1.5e300,
    True,
    False,
    None,
    [1, "a", None],
    {"b": {"c": 1}, "a": 'ü\n"\\\x7f'},
    {},
)


async def test_attributes_mean_in_a_tail_what_they_mean_in_a_search(database: Database) -> None:
    """Compared as text, whatever kind of JSON they are."""
    marker, queries = new_id(), PostgresRecordSearch(database)
    made = [a_record(marker, str(n), attributes={"http.method": value}) for n, value in enumerate(VALUES)]
    made.append(a_record(marker, "without"))
    texts = [
        "x",
        "3",
        "-0.5",
        "0.0000001",
        f"15{'0' * 299}",
        "true",
        "false",
        "null",
        '[1, "a", null]',
        "{}",
        "1",
    ]
    texts.append('{"a": "ü\\n\\"\\\\\x7f", "b": {"c": 1}}')
    matched = 0
    async with replica(database) as one, Reader(one, request_id=marker) as everything:
        await everything.until_live()
        await store(database, *made)
        await everything.bodies(len(made))
        rows = await one.store.rows(
            await one.store.after((await one.store.head()).last - 1, 1), [], None, 100
        )
    for value in texts:
        wanted = Filter(request_id=marker, attributes={"http.method": value}, oldest_first=True)
        found = [record.body for record in await queries.find(wanted, None, 100)]
        assert [row.record.body for row in rows if matches(wanted, row)] == found, value
        matched += len(found)
    assert matched == len(VALUES) - 1


@pytest.mark.parametrize(
    ("request_fields", "bodies"),
    [
        ({"categories": [CONSOLE]}, ["console"]),
        ({"categories": [CONSOLE, DEBUG], "min_severity": 17}, ["error"]),
        ({"service": "authentication"}, ["other service"]),
        ({"actor": "somebody"}, ["actor"]),
        ({"bot_id": "0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b".upper()}, ["bot"]),
        ({"trace_id": "a" * 32}, ["trace"]),
    ],
)
async def test_every_filter_restricts(
    database: Database, request_fields: dict[str, Any], bodies: list[str]
) -> None:
    """The fields of a tail have the meaning they have in a search."""
    marker = new_id()
    made = [
        a_record(marker, "plain"),
        a_record(marker, "console", category=CONSOLE),
        a_record(marker, "error", severity=17),
        a_record(marker, "other service", service="authentication"),
        a_record(marker, "actor", actor="somebody"),
        a_record(marker, "bot", bot_id="0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b"),
        a_record(marker, "trace", trace_id="a" * 32),
    ]
    async with replica(database) as one:
        async with Reader(one, request_id=marker, **request_fields) as live:
            await live.until_live()
            token = live.token
            await store(database, *made)
            assert await live.bodies(len(bodies)) == bodies
        async with Reader(one, request_id=marker, resume_token=token, **request_fields) as resumed:
            assert await resumed.bodies(len(bodies)) == bodies
