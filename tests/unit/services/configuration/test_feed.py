"""The feed: every watcher gets everything once, in order, and is told when it cannot."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mesh.clock import SystemClock
from mesh.errors import Unavailable
from services.configuration.domain.changes import Transaction
from services.configuration.domain.position import Lost
from services.configuration.feed import WINDOW_CHANGES, Event, Feed, Stop, Told, follow
from tests.unit.services.configuration.fakes import MemoryHistory

SOON = timedelta(seconds=2)


@pytest.fixture
def history() -> MemoryHistory:
    """Ten revisions."""
    history = MemoryHistory()
    for value in range(10):
        history.append(value)
    return history


@pytest.fixture
def feed(history: MemoryHistory) -> Feed:
    """A feed that looks only when it is told to."""
    return Feed(history, SystemClock(), lambda: timedelta(hours=1))


def _watch(feed: Feed, position: int, interval: timedelta = timedelta(hours=1)) -> AsyncIterator[Event]:
    return follow(feed, position, "one", SystemClock(), interval)


async def _take(events: AsyncIterator[Event], number: int) -> list[Event]:
    async with asyncio.timeout(SOON.total_seconds()):
        return [await anext(events) for _ in range(number)]


def _revisions(events: list[Event]) -> list[int]:
    return [event.revision for event in events if isinstance(event, Transaction)]


async def test_a_watcher_gets_what_it_missed_then_a_bookmark(feed: Feed) -> None:
    """Resumable: nothing between its revision and now is left out, and it learns that it is complete."""
    await feed.refresh()
    events = await _take(_watch(feed, 4), 7)
    assert _revisions(events) == [5, 6, 7, 8, 9, 10]
    assert isinstance(events[-1], Told)
    assert events[-1].revision == 10


async def test_new_revisions_come_to_all_watchers_from_one_read(feed: Feed, history: MemoryHistory) -> None:
    """A thousand watchers must not mean a thousand queries a change."""
    await feed.refresh()
    watchers = [_watch(feed, 10) for _ in range(20)]
    for watcher in watchers:
        await _take(watcher, 1)
    history.append()
    before = history.log_reads
    await feed.refresh()
    for watcher in watchers:
        assert _revisions(await _take(watcher, 1)) == [11]
    assert history.log_reads == before + 1


async def test_a_wake_makes_the_feed_look(feed: Feed, history: MemoryHistory) -> None:
    """A commit here and a hint from elsewhere both arrive this way."""
    await feed.refresh()
    watcher = _watch(feed, 10)
    await _take(watcher, 1)
    running = asyncio.create_task(feed.run())
    await asyncio.sleep(0)
    history.append()
    feed.wake()
    assert _revisions(await _take(watcher, 1)) == [11]
    running.cancel()


async def test_without_any_hint_the_poll_finds_it(history: MemoryHistory) -> None:
    """A lost hint costs latency and nothing else."""
    feed = Feed(history, SystemClock(), lambda: timedelta(milliseconds=20))
    running = asyncio.create_task(feed.run())
    await feed.refresh()
    watcher = _watch(feed, 10)
    await _take(watcher, 1)
    history.append()
    assert _revisions(await _take(watcher, 1)) == [11]
    running.cancel()


async def test_bookmarks_come_while_nothing_happens(history: MemoryHistory) -> None:
    """They tell an idle watcher that its copy is complete, and that the stream lives."""
    feed = Feed(history, SystemClock(), lambda: timedelta(milliseconds=20))
    running = asyncio.create_task(feed.run())
    await feed.refresh()
    first, second = await _take(_watch(feed, 10, timedelta(milliseconds=50)), 2)
    assert isinstance(first, Told)
    assert isinstance(second, Told)
    assert second.time > first.time
    running.cancel()


async def test_no_bookmark_says_more_than_the_database_said(history: MemoryHistory) -> None:
    """While the database is away nobody knows whether the copy is complete."""
    feed = Feed(history, SystemClock(), lambda: timedelta(milliseconds=20))
    await feed.refresh()
    watcher = _watch(feed, 10, timedelta(milliseconds=1))
    await _take(watcher, 1)
    history.failing = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(watcher)


async def test_a_watcher_overtaken_by_compaction_is_told(feed: Feed, history: MemoryHistory) -> None:
    """It reads too slowly; going on would be a gap."""
    for _ in range(300):
        history.append()
    await feed.refresh()
    watcher = _watch(feed, 2)
    assert _revisions(await _take(watcher, 1)) == [3]
    history.compact(200)
    async with asyncio.timeout(SOON.total_seconds()):
        *events, stop = [event async for event in watcher]
    # What was read before the compaction still comes; then a stop, and no gap.
    assert _revisions(events) == list(range(4, 4 + len(events)))
    assert isinstance(stop, Stop)
    assert stop.why is Lost.TOO_SLOW


async def test_a_compaction_that_the_feed_slept_through_stops_nobody_later(
    feed: Feed, history: MemoryHistory
) -> None:
    """The window would have a hole for good, and every watcher would be told to begin again, again and again."""
    history.append()
    await feed.refresh()
    history.append()
    await feed.refresh()
    for _ in range(20):
        history.append()
    history.compact(30)
    await feed.refresh()
    watcher = _watch(feed, 30)
    assert _revisions(await _take(watcher, 3)) == [31, 32]
    history.append()
    await feed.refresh()
    assert _revisions(await _take(watcher, 1)) == [33]


async def test_what_is_kept_for_watchers_is_bounded(feed: Feed, history: MemoryHistory) -> None:
    """However many revisions there are and however slow a watcher is."""
    await feed.refresh()
    slow = _watch(feed, 10)
    await _take(slow, 1)
    for _ in range(100):
        for _ in range(50):
            history.append()
        await feed.refresh()
        assert len(feed._window) <= WINDOW_CHANGES
    assert _revisions(await _take(slow, 5_000)) == list(range(11, 5_011))


async def test_a_restored_database_begins_again(feed: Feed, history: MemoryHistory) -> None:
    """Revision 9 of the new history is another one than the watcher has applied."""
    await feed.refresh()
    watcher = _watch(feed, 10)
    await _take(watcher, 1)
    history.restore(7, "two")
    history.append()
    await feed.refresh()
    (stop,) = await _take(watcher, 1)
    assert isinstance(stop, Stop)
    assert (stop.why, stop.head.history_id) == (Lost.HISTORY_REPLACED, "two")


async def test_far_behind_is_read_in_batches(feed: Feed, history: MemoryHistory) -> None:
    """Nothing is buffered for a watcher, however much it missed."""
    for _ in range(450):
        history.append()
    await feed.refresh()
    events = await _take(_watch(feed, 0 + 1), 459)
    assert _revisions(events) == list(range(2, 461))


async def test_stopping_ends_streams_at_once(feed: Feed) -> None:
    """Draining would otherwise wait for streams that never end; watchers come back with their revision."""
    await feed.refresh()
    watcher = _watch(feed, 10)
    await _take(watcher, 1)
    feed.close()
    with pytest.raises(Unavailable) as refused:
        await _take(watcher, 1)
    assert refused.value.reason == "SHUTTING_DOWN"


async def test_before_the_first_look_nothing_is_told(history: MemoryHistory) -> None:
    """An empty history and an unread one are different things."""
    with pytest.raises(Unavailable):
        _ = Feed(history, SystemClock(), lambda: SOON).head


async def test_a_history_that_has_not_begun_is_told_to_nobody(history: MemoryHistory) -> None:
    """Without the product's own roles every caller would be refused for good instead of being asked to wait."""
    begun: list[int] = []
    feed = Feed(history, SystemClock(), lambda: timedelta(milliseconds=20), lambda head: bool(begun))
    running = asyncio.create_task(feed.run())
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            await feed.refresh()
        assert refused.value.reason == "POLICY_NOT_LOADED"
        with pytest.raises(Unavailable):
            _ = feed.head
    begun.append(1)
    assert _revisions(await _take(_watch(feed, (await feed.refresh()).revision - 2), 2)) == [9, 10]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
