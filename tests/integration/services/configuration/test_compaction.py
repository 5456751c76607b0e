"""Compaction on PostgreSQL: less history, the same state, and never a gap that a watcher is not told of."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import OutOfRange
from mesh.ids import new_id
from services.configuration.domain.changes import Author, Head, Transaction
from services.configuration.domain.definition import Definition
from services.configuration.domain.position import Lost
from services.configuration.domain.retention import STEP, Retention
from services.configuration.domain.role import Caller, Catalogue, Permission, Role
from services.configuration.domain.role_book import RoleBook
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.snapshot import Snapshot
from services.configuration.domain.transfer_book import TransferBook
from services.configuration.domain.values import Stored
from services.configuration.feed import Event, Feed, Stop, Told, follow
from services.configuration.store.compaction import COMPACTION_LOCK, PostgresCompaction
from services.configuration.store.postgres import PostgresStore
from services.configuration.store.tables import changes, revisions
from services.configuration.watching import Watching

KEYS = [f"bot_manager.test.key_{letter}" for letter in "abcdef"]
ANA = Author("ana")
ROOT = Caller(new_id(), ("admin",))
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def _by_number(revisions: int) -> Retention:
    return Retention(revisions, timedelta())


class LateStore(PostgresStore):
    """A store whose head can be one that was read before something happened."""

    late: Head | None = None

    async def head(self) -> Head:
        """See the port."""
        return self.late or await super().head()


@pytest.fixture
def compaction(database: Database) -> PostgresCompaction:
    """What is tested."""
    return PostgresCompaction(database)


@pytest.fixture
async def book(store: PostgresStore) -> SettingsBook:
    """Six definitions, as revision 1."""
    book = SettingsBook(store, lambda revision: None)
    await book.register([Definition(key, {}, 0, "A number.", "bot_manager") for key in KEYS], ANA)
    return book


@pytest.fixture
async def feed(store: PostgresStore, book: SettingsBook) -> Feed:
    """A feed that looks when it is told to."""
    return Feed(store, SystemClock(), lambda: timedelta(hours=1))


async def _grow(book: SettingsBook, upto: int, first: int = 2) -> None:
    for number in range(first, upto + 1):
        await book.change(Wish(KEYS[0], Stored(number)), ANA)


async def _until_done(compaction: PostgresCompaction, keep: int) -> None:
    while await compaction.step(_by_number(keep), FAR):
        pass


async def test_every_kept_state_is_told_as_before(
    store: PostgresStore, compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """The oldest revision may be any: what was stored then and ever since is the same, compacted or not."""
    chance = random.Random(7)  # noqa: S311 - a history to repeat, not a secret
    states: dict[int, dict[str, Stored]] = {1: {}}
    state: dict[str, Stored] = {}
    while len(states) < 60:
        for key in chance.sample(KEYS, chance.randint(1, 3)):
            state.pop(key, None) if chance.random() < 0.3 else state.update(
                {key: Stored(chance.randint(1, 99))}
            )
        wishes = [Wish(key, state.get(key)) for key in KEYS]
        _, made = await book.change_all(wishes, ANA)
        if made:
            states[made] = dict(state)
    transfers = TransferBook(store, lambda revision: None)
    for keep in (50, 37, 36, 12, 1, 0):
        await _until_done(compaction, keep)
        head = await store.head()
        assert head.oldest_revision == 60 - keep
        async with store.read() as reader:
            for revision in range(head.oldest_revision, 61):
                assert await reader.log.settings_at(revision) == states[revision]
            log = await reader.log.transactions(head.oldest_revision, 60, 100)
        assert [transaction.revision for transaction in log] == list(range(head.oldest_revision + 1, 61))
        listed, _ = await book.history("", None, 1000)
        assert {entry.revision for entry, _ in listed} == set(range(head.oldest_revision + 1, 61))
        found = await transfers.compare(head.oldest_revision, 60)
        expected = [key for key in KEYS if states[head.oldest_revision].get(key) != states[60].get(key)]
        assert [item.key for item in found.differences] == expected
        with pytest.raises(OutOfRange) as refused:
            await transfers.compare(head.oldest_revision - 1, 0)
        assert refused.value.metadata["oldestRevision"] == str(head.oldest_revision)
    assert len((await transfers.compare(0, 60)).differences) == len(states[60])


async def test_rollback_reaches_the_oldest_revision_and_not_beyond(
    compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """Its value is known although the entry that set it is older still."""
    await book.change(Wish(KEYS[1], Stored("old")), ANA)  # 2
    await _grow(book, 20, first=3)
    await book.change(Wish(KEYS[1], Stored("new")), ANA)  # 21
    await _until_done(compaction, 10)
    with pytest.raises(OutOfRange):
        await book.rollback(KEYS[1], 10, "", ANA)
    assert (await book.rollback(KEYS[1], 11, "", ANA)).value == "old"


async def test_what_is_gone_leaves_nothing_behind(
    store: PostgresStore, database: Database, compaction: PostgresCompaction
) -> None:
    """A base that keeps an entry for everything that ever was would grow for ever."""
    roles = RoleBook(store, Catalogue([Permission("posts.read", (), True)]), lambda revision: None, new_id)
    await roles.ensure_built_in("1.0.0", ANA)
    for number in range(10):
        await roles.create(Role(f"role-{number}", ("posts.read",)), ROOT)
        await roles.bind(new_id(), f"role-{number}", "", ROOT)
        await roles.delete(f"role-{number}", ROOT)
    await _until_done(compaction, 0)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(revisions))).scalar_one() == 0
        left = (await connection.execute(select(changes.c.subject).order_by(changes.c.subject))).scalars()
        assert list(left) == ["admin", "auditor", "operator", "viewer"]


async def test_age_and_number_must_both_agree(
    store: PostgresStore, compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """A busy day does not cost last week's history, and a quiet year not the newest revisions."""
    await _grow(book, 30)
    made = (await book.history("", None, 100))[0]
    times = {entry.revision: entry.commit_time for entry, _ in made}
    age = timedelta(days=1)
    assert not await compaction.step(Retention(30, age), FAR)
    assert not await compaction.step(Retention(5, age), times[2])
    while await compaction.step(Retention(5, age), times[12] + age):
        pass
    assert (await store.head()).oldest_revision == 12
    await compaction.step(Retention(5, age), FAR)
    assert (await store.head()).oldest_revision == 25


async def test_steps_are_small(
    store: PostgresStore, compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """Writers wait for one; a large backlog is worked off in many."""
    await _grow(book, STEP + 50)
    assert await compaction.step(_by_number(10), FAR)
    assert (await store.head()).oldest_revision == STEP
    assert await compaction.step(_by_number(10), FAR)
    assert not await compaction.step(_by_number(10), FAR)
    assert (await store.head()).oldest_revision == STEP + 40


async def test_one_replica_at_a_time(
    store: PostgresStore, database: Database, compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """The others have better things to do than to queue for the head."""
    await _grow(book, 20)
    async with database.transaction() as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(COMPACTION_LOCK)))
        assert not await compaction.step(_by_number(0), FAR)
    assert (await store.head()).oldest_revision == 0
    outcomes = await asyncio.gather(*(compaction.step(_by_number(5), FAR) for _ in range(4)))
    assert sum(outcomes) == 1
    assert (await store.head()).oldest_revision == 15


async def _events(stream: AsyncIterator[Event | Snapshot]) -> list[Event | Snapshot]:
    """Up to the first bookmark behind the newest revision, or a stop."""
    seen: list[Event | Snapshot] = []
    async with asyncio.timeout(30):
        async for event in stream:
            seen.append(event)
            if isinstance(event, Stop | Told):
                break
    return seen


async def test_watchers_resume_exactly_as_far_back_as_is_kept(
    store: PostgresStore, compaction: PostgresCompaction, book: SettingsBook, feed: Feed
) -> None:
    """At the oldest revision nothing is missing; one before it something would be."""
    await _grow(book, 30)
    await _until_done(compaction, 10)
    watching = Watching(store, feed, SystemClock())
    history = (await store.head()).history_id
    for position in (20, 21, 30):
        *seen, told = await _events(watching.services(position, history))
        assert [event.revision for event in seen if isinstance(event, Transaction)] == list(
            range(position + 1, 31)
        )
        assert isinstance(told, Told)
    for position in (1, 19):
        with pytest.raises(OutOfRange) as refused:
            await _events(watching.services(position, history))
        assert refused.value.metadata["oldestRevision"] == "20"
        with pytest.raises(OutOfRange):
            await _events(watching.people(position))
    (snapshot, *_) = await _events(watching.services(0, ""))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.head.revision == 30


async def test_a_person_who_watches_too_slowly_is_told(
    compaction: PostgresCompaction, book: SettingsBook, store: PostgresStore, feed: Feed
) -> None:
    """In mid-stream, with the oldest revision that can be gone on from; a stream that just ends would hide the gap."""
    await _grow(book, 20)
    stream = Watching(store, feed, SystemClock()).people(20)
    assert isinstance(await anext(stream), Told)
    await _grow(book, 260, first=21)
    await _until_done(compaction, 5)

    async def read_on() -> None:
        async for _ in stream:
            await feed.refresh()

    with pytest.raises(OutOfRange) as refused:
        await read_on()
    assert refused.value.metadata["oldestRevision"] == "255"


async def test_a_feed_that_compaction_overtakes_keeps_no_gap(
    store: PostgresStore, database: Database, compaction: PostgresCompaction, book: SettingsBook
) -> None:
    """Between two looks many revisions are made and the first of them compacted: what is left is no continuation."""
    store_of_feed = LateStore(database)
    feed = Feed(store_of_feed, SystemClock(), lambda: timedelta(hours=1))
    await _grow(book, 10)
    await feed.refresh()
    await _grow(book, 60, first=11)
    head = await store.head()
    await _until_done(compaction, 20)

    store_of_feed.late = head
    await feed.refresh()
    store_of_feed.late = None
    stop = (await _events(follow(feed, 10, head.history_id, SystemClock())))[-1]
    assert isinstance(stop, Stop)
    assert (stop.why, stop.head.oldest_revision) == (Lost.TOO_SLOW, 40)
    *seen, _ = await _events(follow(feed, 45, head.history_id, SystemClock()))
    assert [event.revision for event in seen if isinstance(event, Transaction)] == list(range(46, 61))


async def test_no_watcher_misses_anything_while_it_is_compacted(
    store: PostgresStore, compaction: PostgresCompaction, book: SettingsBook, feed: Feed
) -> None:
    """Each one gets every revision in order, or is told to begin again: etcd lost events here more than once."""
    await _grow(book, 40)
    await feed.refresh()
    history = (await store.head()).history_id
    done = asyncio.Event()
    told_to_begin_again = 0

    async def watch(position: int, pace: int) -> None:
        nonlocal told_to_begin_again
        while position < 240:
            async for event in follow(feed, position, history, SystemClock()):
                if isinstance(event, Transaction):
                    assert event.revision == position + 1
                    position = event.revision
                    for _ in range(pace):
                        await asyncio.sleep(0)
                elif isinstance(event, Stop):
                    assert event.why is Lost.TOO_SLOW
                    assert event.head.oldest_revision > position
                    told_to_begin_again += 1
                    position = event.head.revision  # a snapshot
                    break
                if position >= 240:
                    break

    async def write() -> None:
        await _grow(book, 240, first=41)
        done.set()

    async def look() -> None:
        while not done.is_set():
            await feed.refresh()
            await asyncio.sleep(0)
        await feed.refresh()

    async def compact() -> None:
        while not done.is_set():
            await compaction.step(_by_number(3), FAR)
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        watchers = [watch(position, pace) for position in (1, 20, 39, 40) for pace in (0, 3, 50, 400)]
        await asyncio.gather(write(), look(), compact(), *watchers)
    assert told_to_begin_again > 0
