"""The numbered feed on a real database: no gap, no entry out of order, and nobody believes an old look."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest

from mesh.errors import Unavailable
from mesh.ids import new_id
from services.authentication.domain.revocation import KEEP, Revocation, RevocationKind
from services.authentication.revocation_feed import Event, Heartbeat, RevocationFeed, Snapshot

from .support import World


async def add(world: World, *ids: str, kind: RevocationKind = RevocationKind.SESSION) -> None:
    async with world.store.transaction() as unit:
        await unit.revocations.add(kind, ids, world.clock.now())


async def entries(stream: AsyncIterator[Event], count: int) -> list[Revocation]:
    """The next entries of a stream, without the heartbeats in between."""
    found: list[Revocation] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            event = await anext(stream)
            if isinstance(event, Revocation):
                found.append(event)
    return found


async def snapshot(stream: AsyncIterator[Event]) -> Snapshot:
    async with asyncio.timeout(30):
        event = await anext(stream)
    assert isinstance(event, Snapshot)
    return event


@pytest.fixture
async def feed(world: World) -> RevocationFeed:
    """A process's copy that has looked once."""
    made = RevocationFeed(world.store, world.clock)
    await made.refresh()
    return made


async def test_a_watcher_gets_what_is_in_force_and_then_each_new_entry(
    world: World, feed: RevocationFeed
) -> None:
    """Loaded before anything is believed, then kept up to date."""
    old, new = new_id(), new_id()
    await add(world, old)
    await feed.refresh()
    async with aclosing(feed.watch(0)) as stream:
        first = await snapshot(stream)
        assert [entry.target_id for entry in first.entries] == [old]
        await add(world, new)
        await feed.refresh()
        [entry] = await entries(stream, 1)
        assert (entry.sequence, entry.target_id) == (first.sequence + 1, new)


async def test_numbers_have_no_gap_however_many_write_at_once(world: World, feed: RevocationFeed) -> None:
    """A number that comes late would be missed by whoever is past it: the classic fault of sequences."""
    async with aclosing(feed.watch(0)) as stream:
        first = await snapshot(stream)
        await asyncio.gather(*(add(world, new_id(), new_id()) for _ in range(40)), feed.refresh())
        await feed.refresh()
        found = await entries(stream, 80)
    assert [entry.sequence for entry in found] == list(range(first.sequence + 1, first.sequence + 81))


async def test_an_aborted_transaction_leaves_no_gap(world: World, feed: RevocationFeed) -> None:
    """PostgreSQL's own sequences would."""
    before = (await snapshot(feed.watch(0))).sequence

    async def give_up() -> None:
        async with world.store.transaction() as unit:
            await unit.revocations.add(RevocationKind.SESSION, [new_id()], world.clock.now())
            raise RuntimeError("changed our mind")

    with pytest.raises(RuntimeError, match="changed our mind"):
        await give_up()
    await add(world, new_id())
    await feed.refresh()
    assert (await snapshot(feed.watch(0))).sequence == before + 1


async def test_a_watcher_that_comes_back_gets_what_it_missed_and_nothing_twice(
    world: World, feed: RevocationFeed
) -> None:
    """Reconnecting is the rule, not the exception."""
    position = (await snapshot(feed.watch(0))).sequence or 0
    await add(world, new_id())
    await feed.refresh()
    position += 1
    missed = [new_id() for _ in range(3)]
    await add(world, *missed)
    await feed.refresh()
    async with aclosing(feed.watch(position)) as stream:
        assert [entry.target_id for entry in await entries(stream, 3)] == missed


async def test_a_watcher_ahead_of_the_database_starts_over(world: World, feed: RevocationFeed) -> None:
    """A database restored from a backup gives out numbers again that meant something else."""
    sequence = (await snapshot(feed.watch(0))).sequence
    assert (await snapshot(feed.watch(sequence + 100))).sequence == sequence


async def test_what_has_ended_by_itself_is_forgotten(world: World, feed: RevocationFeed) -> None:
    """The feed is as long as the life of a token, not of the installation; a watcher behind that starts over."""
    start = (await snapshot(feed.watch(0))).sequence
    await add(world, new_id(), new_id())
    await world.clock.advance(KEEP)
    await add(world, new_id())
    await feed.refresh()
    await world.store.prune(world.clock.now())
    assert len((await snapshot(feed.watch(0))).entries) == 1
    if start:
        assert len((await snapshot(feed.watch(start))).entries) == 1


async def test_a_stolen_signing_key_is_remembered_long_after_its_last_token(
    world: World, feed: RevocationFeed
) -> None:
    """A thief signs new tokens whenever they like."""
    await add(world, "stolen", kind=RevocationKind.SIGNING_KEY)
    await world.clock.advance(timedelta(days=300))
    await feed.refresh()
    assert [entry.target_id for entry in (await snapshot(feed.watch(0))).entries] == ["stolen"]


async def test_heartbeats_tell_of_looks_that_succeeded(world: World, feed: RevocationFeed) -> None:
    """Without a new look there is none, so that a watcher's knowledge grows old while the database is away."""
    async with aclosing(feed.watch(0)) as stream:
        await snapshot(stream)
        beat = await anext(stream)
        assert isinstance(beat, Heartbeat)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await world.clock.advance(timedelta(seconds=30))
        assert not waiting.done()
        await feed.refresh()
        async with asyncio.timeout(30):
            again = await waiting
        assert isinstance(again, Heartbeat)
        assert again.time == world.clock.now() == beat.time + timedelta(seconds=30)


async def test_before_the_first_look_and_at_the_end_nobody_is_told_anything(world: World) -> None:
    """An empty snapshot would be believed."""
    feed = RevocationFeed(world.store, world.clock)
    with pytest.raises(Unavailable):
        await anext(feed.watch(0))
    await feed.refresh()
    stream = feed.watch(0)
    await snapshot(stream)
    feed.close()
    with pytest.raises(Unavailable) as ended:
        await entries(stream, 1)
    assert ended.value.reason == "SHUTTING_DOWN"
