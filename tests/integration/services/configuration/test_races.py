"""Races, laws and restores on the real database, where they are decided."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.configuration import SettingDefinition
from mesh.database import Database
from mesh.errors import Aborted, InvalidArgument
from services.configuration.domain.changes import Author, Transaction
from services.configuration.domain.definition import Definition
from services.configuration.domain.position import Lost
from services.configuration.domain.schema import problems
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.snapshot import Snapshot
from services.configuration.domain.values import Json, Stored, canonical
from services.configuration.feed import WINDOW_CHANGES, Feed, Stop, Told
from services.configuration.store.postgres import PostgresStore
from services.configuration.store.tables import config_head, metadata
from services.configuration.watching import Watching
from tests.integration.services.configuration.history import empty, open_history

KEY = "bot_manager.test.race"
ANA = Author("ana", "because")
RACERS, ROUNDS = 50, 5


def law(schema: dict[str, Json], default: Json, release: str = "1.0.0") -> Definition:
    return Definition(KEY, schema, default, "For races.", "bot_manager", release=release)


@pytest.fixture
async def book(store: PostgresStore) -> SettingsBook:
    """One setting that may be any whole number."""
    book = SettingsBook(store, lambda revision: None)
    await book.register([law({"type": "integer"}, 0)], ANA)
    return book


async def test_of_fifty_that_compare_and_set_exactly_one_wins_each_time(
    store: PostgresStore, book: SettingsBook
) -> None:
    """Half of them at another replica; the losers are told, and the history has one revision more."""
    other = SettingsBook(store, lambda revision: None)
    for round_ in range(ROUNDS):
        before, etag = (await store.head()).revision, (await book.get(KEY)).etag

        async def race(number: int, round_: int = round_, etag: str = etag) -> int | None:
            wish = Wish(KEY, Stored(1 + round_ * RACERS + number), etag)
            try:
                return int((await (book, other)[number % 2].change(wish, ANA)).value)
            except Aborted:
                return None

        winners = [won for won in await asyncio.gather(*map(race, range(RACERS))) if won is not None]
        assert len(winners) == 1
        assert (await book.get(KEY)).value == winners[0]
        assert (await store.head()).revision == before + 1


async def test_a_rollback_of_a_rollback_is_what_was_before_it(
    store: PostgresStore, book: SettingsBook
) -> None:
    """Each is a revision of its own, so that nothing is ever lost by going back."""
    revisions = [(await book.change(Wish(KEY, Stored(value)), ANA)).revision for value in (1, 2)]
    back = await book.rollback(KEY, revisions[0], "", ANA)
    again = await book.rollback(KEY, revisions[1], "", ANA)
    third = await book.rollback(KEY, back.revision, "", ANA)
    fourth = await book.rollback(KEY, again.revision, "", ANA)
    assert [setting.value for setting in (back, again, third, fourth)] == [1, 2, 1, 2]
    assert fourth.revision == (await store.head()).revision == revisions[1] + 4


async def test_a_restored_database_makes_everybody_begin_again(
    database: Database, store: PostgresStore, book: SettingsBook
) -> None:
    """Revisions are numbers of one history; after a restore the same number is another revision."""
    for value in (1, 2):
        await book.change(Wish(KEY, Stored(value)), ANA)
    backup = await _dump(database)
    await book.change(Wish(KEY, Stored(3)), ANA)
    watching, feed = _watching(store)
    lost_there = (await store.head()).history_id
    watchers = [watching.services(0, "") for _ in range(5)]
    for watcher in watchers:
        assert isinstance(await anext(watcher), Snapshot)
        assert isinstance(await anext(watcher), Told)
    await _restore(database, backup)
    for value in (4, 5):
        await book.change(Wish(KEY, Stored(value)), ANA)
    await feed.refresh()
    for watcher in watchers:
        stop = await anext(watcher)
        assert isinstance(stop, Stop)
        assert (stop.why, stop.head.history_id == lost_there) == (Lost.HISTORY_REPLACED, False)
        assert [event async for event in watcher] == []
    # Whoever was away meanwhile and comes back with its old position, of the same number or a later one, is told too.
    for position in (3, 4, 5):
        [stop] = [event async for event in watching.services(position, lost_there)]
        assert isinstance(stop, Stop)
    first = await anext(watching.services(0, ""))
    assert isinstance(first, Snapshot)
    assert {setting.value for setting in first.settings} == {5}


async def test_a_watcher_that_does_not_read_costs_nothing_and_is_told(
    database: Database, store: PostgresStore, book: SettingsBook
) -> None:
    """Nothing waits for it in memory; once its next revision is compacted it begins again."""
    watching, feed = _watching(store)
    slow = watching.services(0, "")
    assert isinstance(await anext(slow), Snapshot)
    for value in range(1, 250):
        await book.change(Wish(KEY, Stored(value)), ANA)
        if value % 40 == 0:
            await feed.refresh()
            assert len(feed._window) <= WINDOW_CHANGES
    head = await feed.refresh()
    async with database.transaction() as connection:
        await connection.execute(config_head.update().values(oldest_revision=head.revision - 5))
    await feed.refresh()
    seen = [event async for event in slow]
    assert isinstance(seen[-1], Stop)
    assert seen[-1].why is Lost.TOO_SLOW
    revisions = [event.revision for event in seen if isinstance(event, Transaction)]
    assert revisions == list(range(2, 2 + len(revisions)))


def _watching(store: PostgresStore) -> tuple[Watching, Feed]:
    feed = Feed(store, SystemClock(), lambda: timedelta(hours=1))
    return Watching(store, feed, SystemClock()), feed


async def _dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.read() as connection:
        return {
            table.name: [dict(row._mapping) for row in await connection.execute(select(table))]
            for table in metadata.sorted_tables
        }


async def _restore(database: Database, backup: dict[str, list[dict[str, Any]]]) -> None:
    """As the restore procedure does: the rows of then, and another name for the history."""
    async with database.transaction() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(delete(table))
        for table in metadata.sorted_tables:
            if backup[table.name]:
                await connection.execute(insert(table), backup[table.name])
        await connection.execute(
            config_head.update().values(history_id="0190c6a1-0000-7000-8000-0000000000ff")
        )


_whole = st.integers(-100, 100)


@st.composite
def _laws(draw: st.DrawFn) -> tuple[dict[str, Json], Json]:
    """A schema, and a value that holds it."""
    least = draw(_whole)
    most = draw(st.integers(least, 200))
    shortest = draw(st.integers(0, 5))
    number: dict[str, Json] = {"type": "integer", "minimum": least, "maximum": most}
    options: list[tuple[dict[str, Json], Json]] = [
        (number, draw(st.integers(least, most))),
        ({"type": "number", "exclusiveMaximum": most + 0.5}, most),
        ({"type": "string", "minLength": shortest, "maxLength": 8}, "x" * draw(st.integers(shortest, 8))),
        ({"type": "boolean"}, draw(st.booleans())),
        ({"enum": ["a", 1, None]}, draw(st.sampled_from(["a", 1, None]))),
        ({"type": "array", "items": number, "uniqueItems": True, "maxItems": 3}, [least]),
        (
            {
                "type": "object",
                "properties": {"n": {"$ref": "#/$defs/n"}},
                "required": ["n"],
                "additionalProperties": False,
                "$defs": {"n": number},
            },
            {"n": least},
        ),
    ]
    return draw(st.sampled_from(options))


_any: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | _whole | st.floats(-200, 200) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("nm"), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.hypothesis
def test_server_and_client_hold_any_value_to_its_law_alike(engines: EmbeddedMesh) -> None:
    """What the server takes no client refuses, what it refuses changes nothing, and what is stored comes back as it was."""
    limits = settings(deadline=None, suppress_health_check=list(HealthCheck))

    @limits
    @given(_laws(), _any)
    def hold(lawful: tuple[dict[str, Json], Json], value: Json) -> None:
        schema, default = lawful
        ours = SettingDefinition[Any](KEY, default, schema, "For laws.")
        assert ours.fault(default) == ""
        assert bool(ours.fault(value)) == bool(problems(schema, value))
        runner.run(store_it(schema, default, value, lawful=not ours.fault(value)))

    async def store_it(schema: dict[str, Json], default: Json, value: Json, *, lawful: bool) -> None:
        await empty(database)
        store = PostgresStore(database)
        book = SettingsBook(store, lambda revision: None)
        await book.register([law(schema, default)], ANA)
        if lawful:
            stored = await book.change(Wish(KEY, Stored(value)), ANA)
            assert canonical(stored.value) == canonical(value)
            return
        with pytest.raises(InvalidArgument):
            await book.change(Wish(KEY, Stored(value)), ANA)
        assert (await store.head()).revision == 1
        assert canonical((await book.get(KEY)).value) == canonical(default)

    async def opened() -> tuple[Any, Database]:
        context = open_history(engines)
        return context, await context.__aenter__()

    with asyncio.Runner() as runner:
        context, database = runner.run(opened())
        try:
            hold()
        finally:
            runner.run(context.__aexit__(None, None, None))
