"""Watching over several replicas, over restarts, and with readers of every speed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import InvalidArgument, NotFound, OutOfRange, ResourceExhausted, Unavailable
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.domain.happenings import EventType, app_changed
from services.bot_manager.domain.watching import Event, Place, Told, Wanted
from services.bot_manager.events.announcing import announce
from services.bot_manager.events.hub import Hub
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.events.watcher import MAX_WAITING, Watcher
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.store.bots import PostgresBots
from tests.integration.services.bot_manager.conftest import NOW, AddBot, AddPost
from vivesphere.bot_manager.v1 import event_pb2
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

SECRET = b"page secret of the test"
ALL = Wanted()


@asynccontextmanager
async def replica(database: Database, **options: Any) -> AsyncIterator[Hub]:
    """A process's hub, running."""
    hub = Hub(Ticks(database), StoredEvents(database), lambda: 3, SystemClock(), **options)
    database.after_commit(hub.wake)
    async with TaskSet() as tasks:
        tasks.spawn(hub.run(), name="hub")
        yield hub


async def happen(database: Database, *messages: str) -> None:
    async with database.transaction() as connection:
        await announce(connection, NOW, *(app_changed(new_id(), one) for one in messages))


async def take(stream: AsyncGenerator[Told | Place, None], count: int) -> list[Told]:
    """The next events of a stream, signs of life passed over."""
    found: list[Told] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            item = await anext(stream)
            if isinstance(item, Told):
                found.append(item)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_happens_reaches_those_who_watch_on_every_replica(database: Database) -> None:
    """It does not matter which replica a console is connected to, nor which one did it."""
    async with replica(database) as one, replica(database) as other:
        place = await one.now()
        async with aclosing(one.follow(ALL, place)) as here, aclosing(other.follow(ALL, place)) as there:
            await happen(database, "a", "b")
            for stream in (here, there):
                assert [told.event.message for told in await take(stream, 2)] == ["a", "b"]
            await happen(database, "c")
            for stream in (here, there):
                assert [told.event.message for told in await take(stream, 1)] == ["c"]


async def test_whoever_resumes_elsewhere_misses_nothing(database: Database) -> None:
    """A restart of the service costs a watcher a moment and no event."""
    async with replica(database) as first, aclosing(first.follow(ALL, await first.now())) as stream:
        await happen(database, "a", "b", "c")
        [told, _] = await take(stream, 2)
    await happen(database, "d")
    async with replica(database) as second, aclosing(second.follow(ALL, told.place)) as stream:
        assert [one.event.message for one in await take(stream, 3)] == ["b", "c", "d"]


async def test_a_slow_reader_loses_nothing_and_takes_no_memory(database: Database) -> None:
    """What does not fit its queue waits in the store; the others go on meanwhile."""
    count = MAX_WAITING + 200
    async with replica(database) as hub:
        place = await hub.now()
        async with aclosing(hub.follow(ALL, place)) as slow, aclosing(hub.follow(ALL, place)) as fast:
            firsts = [asyncio.create_task(take(stream, 1)) for stream in (slow, fast)]
            await until(lambda: len(hub) == 2)
            await happen(database, "first")
            await asyncio.gather(*firsts)
            for begin in range(0, count, 100):
                await happen(database, *(str(number) for number in range(begin, begin + 100)))
                await take(fast, 100)
            await until(lambda: len(hub) == 1)
            told = await take(slow, count)
            assert [one.event.message for one in told] == [str(number) for number in range(count)]
            await happen(database, "last")
            assert [one.event.message for one in await take(slow, 1)] == ["last"]


async def test_a_full_queue_takes_nothing_more() -> None:
    """A burst behind a gap would look complete and is not."""
    watcher = Watcher(ALL, Place(1))
    for told in [_told(number) for number in range(MAX_WAITING + 2)]:
        watcher.offer(told)
    watcher.offered(Place(2))
    for _ in range(MAX_WAITING):
        assert await watcher.next(timedelta(seconds=1)) is not None
    assert await watcher.next(timedelta(seconds=1)) is None
    assert watcher.is_behind
    assert watcher.place == Place(1, MAX_WAITING - 1, 2)


def _told(number: int) -> Told:
    return Told(Event(new_id(), NOW, EventType.APP_CHANGED, "u1", str(number)), Place(1, number, 2), number)


async def test_a_quiet_stream_says_that_it_lives_and_where_it_is(database: Database, add_bot: AddBot) -> None:
    """The sign of life moves on over what was not asked for, so that a resume does not read it all again."""
    async with replica(database, patience=timedelta(milliseconds=100)) as hub:
        place = await hub.now()
        async with aclosing(hub.follow(Wanted(bot_id=new_id()), place)) as stream:
            await add_bot()
            async with asyncio.timeout(20):
                while (item := await anext(stream)) == place:
                    pass
        assert isinstance(item, Place)
        assert item.tick > place.tick


async def test_a_process_that_stops_ends_its_streams(database: Database) -> None:
    """Draining does not wait for watchers; they are told to come again."""
    async with replica(database) as hub, aclosing(hub.follow(ALL, await hub.now())) as stream:
        await happen(database, "a")
        await take(stream, 1)
        hub.close()
        with pytest.raises(Unavailable):
            await take(stream, 1)


async def test_streams_are_counted(database: Database) -> None:
    """A page that reconnects without end is refused before it hurts the others."""
    async with replica(database) as hub:
        with hub.opening(), hub.opening(), hub.opening(), pytest.raises(ResourceExhausted), hub.opening():
            pass
        with hub.opening():
            pass


async def test_a_stream_tells_what_was_asked_for_and_resumes_by_its_token(
    database: Database, bots: PostgresBots, add_bot: AddBot, add_post: AddPost
) -> None:
    """The contract: a bot's posts, from now on; the token of the last response goes on behind it."""
    async with replica(database) as hub:
        watching = Watching(hub, bots, SECRET)
        bot, other = await add_bot("one"), await add_bot("other")
        request = pb.WatchEventsRequest(bot_id=bot.id, types=[event_pb2.EVENT_TYPE_POST_CREATED])
        async with aclosing(watching.watch(request)) as stream:
            begin = await anext(stream)
            assert not begin.HasField("event")
            await add_post(other, "not asked for")
            first, second = await add_post(bot, "a"), await add_post(bot, "b")
            response = await _next_event(stream)
            assert (response.event.post_id, response.event.bot_id) == (first.id, bot.id)
            assert response.event.message == "the post was made: made"
            assert len(response.resume_token) <= 256
        request.resume_token = response.resume_token
        async with aclosing(watching.watch(request)) as stream:
            assert (await _next_event(stream)).event.post_id == second.id


async def _next_event(stream: AsyncGenerator[pb.WatchEventsResponse, None]) -> pb.WatchEventsResponse:
    async with asyncio.timeout(20):
        async for response in stream:
            if response.HasField("event"):
                return response
    raise AssertionError("the stream ended")


async def test_what_cannot_be_watched_is_refused(database: Database, bots: PostgresBots) -> None:
    """A bot that is not there, a token of another question, a token of events that are gone."""
    hub = Hub(Ticks(database), StoredEvents(database), lambda: 3, SystemClock())
    watching = Watching(hub, bots, SECRET)
    with pytest.raises(NotFound):
        await anext(watching.watch(pb.WatchEventsRequest(bot_id=new_id())))
    token = (await anext(watching.watch(pb.WatchEventsRequest()))).resume_token
    request = pb.WatchEventsRequest(resume_token=token, post_id=new_id())
    with pytest.raises(InvalidArgument) as refused:
        await anext(watching.watch(request))
    assert refused.value.violations[0].field == "resume_token"
    async with database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM event_ticks")
    stream = watching.watch(pb.WatchEventsRequest(resume_token=token))
    with pytest.raises(OutOfRange):
        await _next_event(stream)
