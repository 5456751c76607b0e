"""What happens beside the stories of posts is told once, by whom it concerns, with facts in the contract's own form."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.convert.events import from_event
from services.bot_manager.domain.limits import POST
from services.bot_manager.domain.media import MediaKind, MediaState, Medium
from services.bot_manager.domain.model import AttemptOutcome, Bot, BotState
from services.bot_manager.domain.money import App, AppState
from services.bot_manager.domain.recurrence.model import ScheduleState
from services.bot_manager.domain.reserving import Terms
from services.bot_manager.domain.retry import Hold, Scope
from services.bot_manager.domain.watching import Place
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.tables.money import breakers
from tests.fakes.clock import ManualClock
from tests.integration.services.bot_manager.conftest import NOW, AddPost
from tests.integration.services.bot_manager.schedules.world import HOUR, MINUTE, World
from tests.integration.services.bot_manager.test_money import PRICE, Till
from vivesphere.bot_manager.v1 import event_pb2, quota_pb2


class News:
    """What happens from its making on."""

    def __init__(self, database: Database) -> None:
        self._ticks = Ticks(database)
        self._events = StoredEvents(database)
        self._place: Place | None = None

    async def begin(self) -> "News":
        """Look from now on."""
        self._place = Place((await self._ticks.tick()).number)
        return self

    async def told(self, *types: str) -> list[event_pb2.Event]:
        """What happened since the last look, of these types."""
        assert self._place is not None
        await self._ticks.tick()
        batch = await self._events.after(self._place)
        self._place = batch.place
        wanted = {event_pb2.EventType.Value(f"EVENT_TYPE_{name}") for name in types}
        return [message for told in batch.told if (message := from_event(told.event)).type in wanted]


@pytest.fixture
async def news(database: Database) -> News:
    return await News(database).begin()


@pytest.fixture
def till(database: Database, bots: PostgresBots, add_post: AddPost) -> Till:
    return Till(database, bots, add_post)


async def test_an_app_is_told_from_its_making_to_its_end(news: News, database: Database) -> None:
    """Whoever pauses an app stops bots of others; they must see who did it."""
    apps = PostgresApps(database, ManualClock(NOW))
    app = (await apps.create(App(new_id(), "Fleet", NOW, NOW), None)).app
    changes: list[dict[str, Any]] = [
        {"display_name": "Fleet 2"},
        {"state": AppState.PAUSED},
        {"state": AppState.ACTIVE},
        {},
    ]
    for fields in changes:

        async def edit(found: App, fields: dict[str, Any] = fields) -> App:
            return replace(found, **fields) if fields else found

        await apps.change(app.id, edit)

    async def end(found: App) -> None:
        assert found.id == app.id

    await apps.delete(app.id, end)
    told = await news.told("APP_CHANGED")
    assert {event.app_id for event in told} == {app.id}
    assert [event.message for event in told] == [
        "the app Fleet was made",
        "the app Fleet 2 was changed",
        "the app Fleet 2 was paused",
        "the app Fleet 2 goes on",
        "the app Fleet 2 was deleted",
    ]


async def test_a_bot_that_was_deleted_is_told(news: News, bots: PostgresBots) -> None:
    """A console that shows it must let it go."""
    bot = await bots.create(Bot(new_id(), "acme", BotState.ARCHIVED, NOW, NOW), None)
    await bots.delete(bot.id, NOW)
    assert [(event.bot_id, event.message) for event in await news.told("BOT_DELETED")] == [
        (bot.id, "@acme was deleted")
    ]


async def test_a_file_is_told_when_it_may_be_used_and_when_x_cannot_use_it(
    news: News, database: Database
) -> None:
    """Once each: X is asked about a file for every post that shows it."""
    library = PostgresLibrary(database)
    image = Medium(
        new_id(), "image/png", MediaKind.IMAGE, MediaState.READY, 1, "", NOW, NOW + HOUR, filename="a.png"
    )
    await library.begin(image.id, "", NOW, NOW + HOUR)
    await library.complete(image, None)
    for _ in range(2):
        await library.fail(image.id, "it is broken", NOW)
    told = await news.told("MEDIA_STATE_CHANGED")
    assert [(event.media_id, event.message) for event in told] == [
        (image.id, "the file a.png may be used"),
        (image.id, "X cannot use the file a.png: it is broken"),
    ]
    steps = [(event.media_state.from_state, event.media_state.to_state) for event in told]
    assert steps == [(1, 2), (2, 3)]


async def test_a_schedule_is_told_from_its_making_to_its_end(news: News, database: Database) -> None:
    """By people and by itself."""
    world = World(database)
    bot = await world.bot()
    schedule = await world.add(bot, display_name="Hourly")
    for fields in ({"jitter": MINUTE}, {"state": ScheduleState.PAUSED}, {"state": ScheduleState.ACTIVE}):
        await world.change(schedule, **fields)
    ending = await world.add(bot, display_name="Once", max_occurrences=1)
    await world.look()
    await world.clock.advance(2 * HOUR)
    await world.look()
    await world.schedules.delete(schedule.id, "", "user-1")
    told = await news.told("SCHEDULE_CREATED", "SCHEDULE_UPDATED", "SCHEDULE_DELETED", "OCCURRENCE_SKIPPED")
    assert {event.bot_id for event in told} == {bot.id}
    mine = [event.message for event in told if event.schedule_id == schedule.id]
    assert mine == [
        "the schedule Hourly was made",
        "the schedule Hourly was changed",
        "the schedule Hourly was paused",
        "the schedule Hourly goes on",
        "the schedule Hourly was deleted",
    ]
    assert [event.message for event in told if event.schedule_id == ending.id] == [
        "the schedule Once was made",
        "the schedule Once has come to its end",
    ]


async def test_occurrences_without_a_post_are_told_one_by_one_or_counted(
    news: News, database: Database
) -> None:
    """Silence is what nobody notices; and a night of it must not bury everything else."""
    world = World(database)
    schedule = await world.add(await world.bot(), content={"queue": {"name": "ideas"}}, time_zone="UTC")
    await world.clock.advance(HOUR)
    await world.look()
    [one] = await news.told("OCCURRENCE_SKIPPED")
    assert (one.schedule_id, one.message) == (
        schedule.id,
        "no post for 2026-05-01 13:00 UTC: the queue ideas is empty",
    )
    await world.clock.advance(12 * HOUR + 30 * MINUTE)
    await world.look()
    [many] = await news.told("OCCURRENCE_SKIPPED")
    assert many.message.startswith("no post for 12 times from 2026-05-01 14:00 UTC to 2026-05-02 01:00 UTC; ")


async def test_a_budget_is_told_when_it_warns_and_when_it_is_used_up(news: News, till: Till) -> None:
    """Once each, however many posts follow."""
    app = await till.app(budget={"monthly_usd_micros": str(4 * PRICE), "warn_percent": 50})
    bot = await till.bot(app_id=app.id, budget={"daily_usd_micros": str(20 * PRICE), "warn_percent": 100})
    for intent in await till.intents([bot], 6):
        await till.begin([intent])
    warned, used_up = await news.told("BUDGET_WARNING", "BUDGET_EXHAUSTED")
    assert (warned.app_id, warned.bot_id, warned.budget.of_app) == (app.id, "", True)
    assert warned.budget.budget == quota_pb2.Budget(monthly_usd_micros=4 * PRICE, warn_percent=50)
    assert warned.budget.spend == quota_pb2.Spend(
        today_usd_micros=2 * PRICE,
        month_usd_micros=2 * PRICE,
        reserved_usd_micros=2 * PRICE,
        calls_today=2,
    )
    assert warned.message == "the app's budget is used to 50 %: $0.03 today, $0.03 this month"
    assert used_up.type == event_pb2.EVENT_TYPE_BUDGET_EXHAUSTED
    assert (used_up.budget.spend.month_usd_micros, used_up.budget.spend.calls_today) == (4 * PRICE, 4)


@pytest.mark.parametrize("of_app", [True, False])
async def test_a_switch_is_told_when_it_opens_and_when_it_closes(
    news: News, till: Till, database: Database, of_app: bool
) -> None:
    """With what to do; of a bot that has no app it is the bot's own."""
    bot = await till.bot(app_id=(await till.app()).id if of_app else "")
    first, second, third = await till.intents([bot], 3)
    attempts = [*await till.begin([first]), *await till.begin([second])]
    hold = Hold(Scope.APP, NOW + HOUR, "X_CREDITS_DEPLETED", "buy some")
    for number, attempt in enumerate(attempts):
        heard = NOW + timedelta(seconds=number)
        await till.finish(attempt, AttemptOutcome.DEFERRED, heard, next_time=NOW + HOUR, hold=hold)
    [opened] = await news.told("CIRCUIT_BREAKER_OPENED")
    assert (opened.app_id, opened.bot_id) == ((bot.app_id, "") if of_app else ("", bot.id))
    assert (opened.breaker.open, opened.breaker.reason) == (True, "X_CREDITS_DEPLETED")
    assert opened.breaker.retry_time.ToDatetime() == (NOW + HOUR).replace(tzinfo=None)
    assert opened.message.endswith("are stopped: buy some")
    async with database.transaction() as connection:
        await connection.execute(breakers.update().values(retry_time=NOW))
    [probe] = await till.begin([third])
    await till.finish(probe, AttemptOutcome.ACCEPTED)
    [closed] = await news.told("CIRCUIT_BREAKER_CLOSED")
    assert (closed.app_id, closed.bot_id) == (opened.app_id, opened.bot_id)
    assert (closed.HasField("breaker"), closed.breaker.open) == (True, False)


async def test_a_window_is_told_when_its_last_call_is_set_aside(news: News, till: Till) -> None:
    """Those who come after it only wait."""
    till.ledger = PostgresLedger(till.database, "test-1", lambda: Terms(user_posts=2))
    bot = await till.bot()
    await till.begin(await till.intents([bot], 4))
    [full] = await news.told("RATE_LIMIT_REACHED")
    limit = full.rate_limit
    assert (full.bot_id, limit.operation, limit.scope) == (bot.id, POST, quota_pb2.RATE_LIMIT_SCOPE_USER)
    assert (limit.limit, limit.remaining, limit.window.seconds, limit.reported_by_x) == (2, 0, 900, False)
    assert limit.reset_time.ToDatetime() == (NOW + timedelta(minutes=15)).replace(tzinfo=None)


async def test_a_window_that_x_says_is_used_up_is_told_once(news: News, till: Till) -> None:
    """Several calls in flight hear the same; it is one piece of news, until the next window."""
    bot = await till.bot()
    attempts = await till.begin(await till.intents([bot], 3))
    until = NOW + timedelta(minutes=7)
    hold = Hold(Scope.BOT, until, "X_RATE_LIMITED", "later")
    for attempt in attempts:
        await till.finish(attempt, AttemptOutcome.DEFERRED, next_time=until, hold=hold)
    [full] = await news.told("RATE_LIMIT_REACHED")
    assert (full.bot_id, full.rate_limit.reported_by_x) == (bot.id, True)
    assert full.rate_limit.reset_time.ToDatetime() == until.replace(tzinfo=None)


async def test_a_limit_of_the_app_that_x_says_is_used_up_is_the_apps(news: News, till: Till) -> None:
    """It concerns all its bots."""
    app = await till.app()
    bot = await till.bot(app_id=app.id)
    reset = str(int((NOW + timedelta(hours=3)).timestamp()))
    headers = {"limit": "10", "remaining": "0", "reset": reset}
    told = {f"x-app-limit-24hour-{name}": value for name, value in headers.items()}
    for attempt in await till.begin(await till.intents([bot], 2)):
        await till.finish(attempt, AttemptOutcome.ACCEPTED, rate_limits=told)
    [full] = await news.told("RATE_LIMIT_REACHED")
    assert (full.app_id, full.bot_id, full.rate_limit.limit) == (app.id, "", 10)
    assert full.rate_limit.scope == quota_pb2.RATE_LIMIT_SCOPE_APP
    assert full.message.startswith("the app has used up its 10 calls of POST /2/tweets in 24 hours; ")
