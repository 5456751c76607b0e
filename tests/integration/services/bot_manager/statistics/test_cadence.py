"""Counters are read when their time has come, by one replica, for bots that may speak; and what was read can be listed and exported."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from mesh.database import Database
from mesh.errors import MeshError, ResourceExhausted, Unavailable
from services.bot_manager.convert.statistics_export import csv_header, csv_rows, ndjson_rows
from services.bot_manager.domain.happenings import EventType
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import Answer, AttemptOutcome, Bot, Counters, PartState, Post, Reading
from services.bot_manager.domain.watching import Place
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.statistics.cadence import PAUSE, Cadence
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.metric_lists import PostgresMetricLists
from services.bot_manager.store.metrics import PostgresMetrics
from services.bot_manager.store.ports import Finish, Intent, PublishedPart
from services.bot_manager.store.reading_times import PostgresReadingTimes
from services.bot_manager.store.tables import post_parts
from tests.fakes.clock import ManualClock
from tests.integration.services.bot_manager.conftest import NOW, AddBot, AddPost

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Publish = Callable[..., Awaitable[Post]]


class FakeFetcher:
    """Notes what is read; `fail_next` makes the next call fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self._errors: list[MeshError] = []

    def fail_next(self, error: MeshError) -> None:
        """The next call raises this."""
        self._errors.append(error)

    async def read(self, bot_id: str, parts: Sequence[PublishedPart]) -> int:
        """See `Fetcher.read`."""
        self.calls.append((bot_id, [part.x_post_id for part in parts]))
        if self._errors:
            raise self._errors.pop()
        return len(parts)


@pytest.fixture
def publish(add_post: AddPost, ledger: PostgresLedger) -> Publish:
    """A post that went out at NOW, its parts under the given ids."""

    async def made(bot: Bot, *x_post_ids: str) -> Post:
        post = await add_post(bot, *(f"text {one}" for one in x_post_ids))
        lease = timedelta(minutes=1)
        [taken] = await ledger.take(await ledger.claim_due("claimer", NOW, lease, 1), "worker", NOW, lease)
        for index, x_post_id in enumerate(x_post_ids):
            intent = Intent(post.id, index, taken.post.claim_fence, "hash")
            [attempt] = await ledger.begin_attempts([intent], "worker", NOW, lease)
            answer = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id=x_post_id)
            await ledger.finish_attempts([Finish(attempt, answer)], NOW, lease)  # type: ignore[arg-type]  # no refusal here
        return post

    return made


@pytest.fixture
def times(database: Database) -> PostgresReadingTimes:
    return PostgresReadingTimes(database)


def cadence(times: PostgresReadingTimes, fetcher: FakeFetcher, clock: ManualClock, days: int = 30) -> Cadence:
    return Cadence(times, fetcher, lambda: days * DAY, clock)


async def test_a_post_is_read_ever_less_often_and_at_last_no_more(
    times: PostgresReadingTimes, add_bot: AddBot, publish: Publish
) -> None:
    """Where things change it is seen; where nothing changes any more nothing is paid."""
    clock, fetcher = ManualClock(NOW), FakeFetcher()
    post = await publish(await add_bot(), "11", "12")
    runs, seen = cadence(times, fetcher, clock), []
    while (due := await times.of_post(post.id)) is not None:
        await clock.advance(due - clock.now() - MINUTE * 3)
        assert await runs.step() == 0
        await clock.advance(MINUTE * 3)
        assert await runs.step() == 2
        seen.append(clock.now() - NOW)
    assert seen[:6] == [MINUTE * 15, HOUR, HOUR * 3, HOUR * 6, HOUR * 12, DAY]
    assert seen[6:] == [DAY * day for day in range(2, 31)]
    assert {tuple(ids) for _, ids in fetcher.calls} == {("11", "12")}


async def test_a_call_reads_a_hundred_posts_of_one_bot(
    database: Database, times: PostgresReadingTimes, add_bot: AddBot, add_post: AddPost
) -> None:
    """A call costs the same for few as for many; each account reads its own."""
    one, other = await add_bot("one"), await add_bot("other")
    for bot, count in ((one, 120), (other, 1)):
        await add_post(bot, *map(str, range(count)))
    async with database.transaction() as connection:
        await connection.execute(
            update(post_parts).values(
                state=PartState.PUBLISHED.value,
                x_post_id=func.gen_random_uuid(),
                publish_time=NOW,
                next_read_time=NOW,
            )
        )
    clock, fetcher = ManualClock(NOW + HOUR), FakeFetcher()
    runs = cadence(times, fetcher, clock)
    while await runs.step():
        pass
    assert sorted((bot_id, len(ids)) for bot_id, ids in fetcher.calls) == sorted(
        [(one.id, 100), (one.id, 20), (other.id, 1)]
    )


async def test_bots_that_may_not_speak_are_not_read(
    times: PostgresReadingTimes, bots: PostgresBots, add_bot: AddBot, publish: Publish
) -> None:
    """A paused account is left in peace, and read again when it is back."""
    bot = await add_bot()
    await publish(bot, "11")
    await bots.apply(bot.id, BotEvent.PAUSE, NOW, "", "")
    clock, fetcher = ManualClock(NOW + DAY), FakeFetcher()
    assert await cadence(times, fetcher, clock).step() == 0
    await bots.apply(bot.id, BotEvent.ACTIVATE, NOW, "", "")
    assert await cadence(times, fetcher, clock).step() == 1


async def test_a_refusal_puts_the_whole_bot_off(
    times: PostgresReadingTimes, add_bot: AddBot, publish: Publish
) -> None:
    """Until X says, or a while if it does not; the others are read meanwhile."""
    bot, other = await add_bot("one"), await add_bot("other")
    post = await publish(bot, "11")
    await publish(bot, "12")
    await publish(other, "13")
    clock, fetcher = ManualClock(NOW + HOUR), FakeFetcher()
    runs = cadence(times, fetcher, clock)
    fetcher.fail_next(ResourceExhausted("X_RATE_LIMITED", "slow down", retry_after=MINUTE * 7))
    while await runs.step():
        pass
    assert len(fetcher.calls) == 2
    assert await times.of_post(post.id) == clock.now() + MINUTE * 7
    await clock.advance(MINUTE * 7)
    fetcher.fail_next(Unavailable("X_UNAVAILABLE", "away"))
    await runs.step()
    assert await times.of_post(post.id) == clock.now() + PAUSE


async def test_two_replicas_do_not_read_the_same_post_twice(
    times: PostgresReadingTimes, add_bot: AddBot, publish: Publish
) -> None:
    """It would cost twice; if the one that took it dies, it is due again soon."""
    bot = await add_bot()
    await publish(bot, "11")
    now = NOW + HOUR
    assert len(await times.take(bot.id, now, now, now + MINUTE, 100)) == 1
    assert await times.take(bot.id, now, now, now + MINUTE, 100) == []
    assert len(await times.take(bot.id, now + MINUTE, now + MINUTE, now + HOUR, 100)) == 1


async def test_reading_can_be_switched_off(
    times: PostgresReadingTimes, add_bot: AddBot, publish: Publish
) -> None:
    """Every reading costs money; whoever does not want it pays nothing."""
    await publish(await add_bot(), "11")
    clock, fetcher = ManualClock(NOW + DAY), FakeFetcher()
    assert await cadence(times, fetcher, clock, days=0).step() == 0
    assert await cadence(times, fetcher, clock, days=1).step() == 1
    assert await cadence(times, fetcher, ManualClock(NOW + DAY * 3), days=1).step() == 0


async def test_what_is_gone_from_x_is_not_read_again(
    database: Database, times: PostgresReadingTimes, add_bot: AddBot, publish: Publish
) -> None:
    """Not even when the reading that found it gone plans the next one."""
    bot = await add_bot()
    post = await publish(bot, "11")
    [part] = await times.take(bot.id, NOW + HOUR, NOW + HOUR, NOW + DAY, 100)
    await PostgresMetrics(database).mark_gone(["11"], NOW)
    await times.plan([(part, NOW + DAY)])
    assert await times.of_post(post.id) is None


async def test_fresh_counters_are_told(database: Database, add_bot: AddBot, publish: Publish) -> None:
    """A page that shows them can look again."""
    bot = await add_bot()
    post = await publish(bot, "11", "12")
    place = Place((await Ticks(database).tick()).number)
    readings = [Reading(post.id, one, NOW, Counters(likes=1)) for one in ("11", "12")]
    await PostgresMetrics(database).add(readings)
    await Ticks(database).tick()
    [told] = (await StoredEvents(database).after(place)).told
    assert (told.event.type, told.event.bot_id) == (EventType.STATISTICS_REFRESHED, bot.id)
    assert told.event.message == "fresh statistics of 1 post are stored"


async def test_posts_are_listed_by_how_well_they_did(
    database: Database, add_bot: AddBot, publish: Publish
) -> None:
    """By the last reading, threads as the sum of their parts, page by page without a hole."""
    bot, metrics, lists = await add_bot(), PostgresMetrics(database), PostgresMetricLists(database)
    thread, single, never = (
        await publish(bot, "11", "12"),
        await publish(bot, "21"),
        await publish(bot, "31"),
    )
    await metrics.add([Reading(thread.id, "11", NOW, Counters(impressions=900, likes=9))])
    await metrics.add(
        [
            Reading(thread.id, "11", NOW + HOUR, Counters(impressions=100, likes=3)),
            Reading(thread.id, "12", NOW + HOUR, Counters(impressions=50, likes=2)),
            Reading(single.id, "21", NOW + HOUR, Counters(impressions=100, likes=50, replies=25)),
        ]
    )
    span = (NOW - DAY, NOW + DAY)
    first = await lists.top(bot.id, "impressions", *span, None, 1)
    rest = await lists.top(bot.id, "impressions", *span, (first[0].value, first[0].post_id), 10)
    found = [*first, *rest]
    assert [(one.post_id, one.value, one.x_post_id) for one in found] == [
        (thread.id, 150.0, "11"),
        (single.id, 100.0, "21"),
    ]
    assert (found[0].text, found[0].counters.likes, found[0].read_time) == ("text 11", 5, NOW + HOUR)
    best = await lists.top(bot.id, "engagement_rate", *span, None, 10)
    assert [(one.post_id, one.value) for one in best] == [(single.id, 0.75), (thread.id, 5 / 150)]
    assert await lists.top(bot.id, "likes", NOW + HOUR, NOW + DAY, None, 10) == []
    assert never.id not in {one.post_id for one in best}


async def test_every_reading_is_in_the_export(database: Database, add_bot: AddBot, publish: Publish) -> None:
    """In pages that have no seam, of one bot or of all, in two forms."""
    bot, other = await add_bot("one"), await add_bot("other")
    post, foreign = await publish(bot, "11", "12"), await publish(other, "21")
    metrics, lists = PostgresMetrics(database), PostgresMetricLists(database)
    readings = [
        Reading(post.id, one, NOW + HOUR * hour, Counters(impressions=hour))
        for hour in range(3)
        for one in ("11", "12")
    ]
    await metrics.add(readings)
    await metrics.add([Reading(foreign.id, "21", NOW, Counters(likes=7))])
    found, after = [], None
    while page := await lists.export(bot.id, None, None, after, 4):
        found += page
        after = page[-1].reading.time, page[-1].reading.x_post_id
    assert [one.reading for one in found] == readings
    assert {one.bot_id for one in found} == {bot.id}
    [row] = await lists.export("", NOW, NOW + MINUTE, (NOW, "12"), 10)
    assert csv_header().startswith(b"bot_id,post_id,x_post_id,read_time,impressions,likes,")
    line = f"{other.id},{foreign.id},21,2026-05-01T12:00:00.000000Z,0,7,0,0,0,0,0,0\r\n"
    assert csv_rows([row]) == line.encode()
    assert ndjson_rows([row]).startswith(f'{{"bot_id":"{other.id}","post_id":'.encode())
