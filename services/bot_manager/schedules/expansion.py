"""One schedule expanded by one batch, within the transaction that holds its row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound
from services.bot_manager.domain import rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot
from services.bot_manager.domain.recurrence import posts as occurrence_posts
from services.bot_manager.domain.recurrence.misfires import Decision, decide, is_late
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.recurrence.timetable import Silence, Timetable, first
from services.bot_manager.schedules.drafts import duration, occurrence_values, seeded
from services.bot_manager.schedules.source import Item, Skip, Source
from services.bot_manager.store import occurrences as store
from services.bot_manager.store.writing import Step, insert_post, read_posts, write

MADE_AT_ONCE: Final = 100
DECIDED_AT_ONCE: Final = 500
LOOKED_AT: Final = 20_000
"""Late occurrences that are looked at for the latest of them: two weeks of every minute."""
REFUSALS: Final = (InvalidArgument, FailedPrecondition, NotFound)


def silences_of(bot: Bot) -> Silence:
    """The bot's own black-out windows, on its own clock."""
    return Silence(tuple((bot.policy or {}).get("blackout_windows", ())), ZoneInfo(bot.time_zone))


@dataclass(frozen=True, slots=True)
class Expansion:
    """`lateness` is the setting of the moment; `sources` are by kind of content."""

    maker: Maker
    sources: Mapping[str, Source]
    new_id: Callable[[], str]
    lateness: Callable[[], timedelta]
    instance: str

    async def expand(
        self,
        connection: AsyncConnection,
        schedule: Schedule,
        now: datetime,
        lead: timedelta,
        grace: timedelta,
    ) -> int:
        """Decide what is up to `lead` ahead and store the schedule moved on; how many posts go out because of it.

        Raises MeshError where a part that is needed is away, and whatever a defect raises: nothing is then to be committed.
        """
        bot = await store.bot_of(connection, schedule)
        found, more = await self._next(connection, schedule, bot, now + lead, now, grace)
        missed = await store.missed_occurrences(connection, schedule)
        candidates = sorted([*missed, *found], key=lambda one: one.nominal_time)
        apart = duration((bot.policy or {}).get("min_interval"))
        decisions = _batch(decide(schedule, candidates, now, grace, apart, more=more))
        known, again = await store.decided(connection, schedule, found), {one.nominal_time for one in missed}
        made = 0
        for decision in decisions:
            one = decision.occurrence
            if one.nominal_time in again:
                made += await self._make_up(connection, schedule, bot, decision, now)
                continue
            if one.wall_time not in known and not _is_full(schedule):
                schedule, count = await self._decide(connection, schedule, bot, decision, now)
                made += count
            schedule = replace(schedule, cursor=one.wall_time)
        after = first(schedule)
        moved = replace(schedule, next_time=None if after is None else after.nominal_time)
        await store.store_schedule(connection, moved)
        return made

    async def _next(
        self,
        connection: AsyncConnection,
        schedule: Schedule,
        bot: Bot,
        until: datetime,
        now: datetime,
        grace: timedelta,
    ) -> tuple[list[Occurrence], bool]:
        """The next occurrences up to a moment: all that are late, and a batch of others. Whether there are more that are late."""
        found: list[Occurrence] = []
        if schedule.next_time is None:
            return found, False
        left = schedule.max_occurrences - schedule.occurrence_count if schedule.max_occurrences else LOOKED_AT
        coming = 0
        for one in Timetable(schedule, silences_of(bot)).occurrences(schedule.cursor):
            if one.nominal_time > until or coming == MADE_AT_ONCE or left == 0:
                return found, False
            if len(found) == LOOKED_AT:
                return found, is_late(one, now, grace)
            found.append(one)
            left -= 1
            coming += not is_late(one, now, grace)
        return found, False

    async def _decide(
        self, connection: AsyncConnection, schedule: Schedule, bot: Bot, decision: Decision, now: datetime
    ) -> tuple[Schedule, int]:
        """Store one occurrence with its posts; the schedule after, and how many posts there are."""
        one, number = decision.occurrence, schedule.occurrence_count + 1
        items: Sequence[Item] = ()
        message, count = decision.skip_message, 0
        if decision.at is not None:
            taken = await self._take(connection, schedule, one, now)
            if isinstance(taken, Skip):
                message = taken.message
            else:
                items = taken
                count, message = await self._make_all(connection, schedule, bot, decision, items, number, now)
        item = (items[0].key, items[0].round) if items else ("", 0)
        await store.add_occurrence(
            connection, schedule, one, post_count=count, skip_message="" if count else message, item=item
        )
        if not count:
            log = logger.bind(schedule_id=schedule.id, nominal_time=one.nominal_time.isoformat())
            log.info("occurrence skipped")
        moved = replace(schedule, occurrence_count=number, last_skip_message="" if count else message)
        return moved, count

    async def _take(
        self, connection: AsyncConnection, schedule: Schedule, one: Occurrence, now: datetime
    ) -> Sequence[Item] | Skip:
        source = self.sources.get(schedule.source)
        if source is None:
            return Skip(rules.UNSUPPORTED)
        try:
            return await source.take(connection, schedule, one, now)
        except REFUSALS as error:
            return Skip(error.message)

    async def _make_all(
        self,
        connection: AsyncConnection,
        schedule: Schedule,
        bot: Bot,
        decision: Decision,
        items: Sequence[Item],
        number: int,
        now: datetime,
    ) -> tuple[int, str]:
        """Make a post of each item, those that are refused left out; how many, and why the last refused one was."""
        count, message = 0, "there was nothing to publish"
        values = occurrence_values(decision.occurrence, number)
        for item in items:
            try:
                await self._make(connection, schedule, bot, decision, item, count, values, now)
                count += 1
            except REFUSALS as error:
                message = _told(error, item)
        return count, message

    async def _make(
        self,
        connection: AsyncConnection,
        schedule: Schedule,
        bot: Bot,
        decision: Decision,
        item: Item,
        place: int,
        values: Mapping[str, object],
        now: datetime,
    ) -> None:
        one, at = decision.occurrence, decision.at or now
        lateness = max_lateness(bot, self.lateness())
        if not item.post_id:
            draft = seeded(item.draft, schedule, one)
            post = occurrence_posts.made(schedule, one, draft, self.new_id(), place, now)
            ready = await self.maker.ready(bot, post, at, now, {**values, **item.values})
            change = rules.create(ready, at, lateness)
            await insert_post(connection, change.post, change.entries, now, self.instance)
            return
        before = (await read_posts(connection, [item.post_id], lock=True))[item.post_id]
        tied = occurrence_posts.taken(before, schedule, one, place)
        ready = await self.maker.ready(bot, tied, at, now, {**values, **item.values})
        step = Step(before, occurrence_posts.timed(ready, at, lateness))
        (after,) = await write(connection, [step], now, self.instance, content=True)
        await store.tie(connection, after)

    async def _make_up(
        self, connection: AsyncConnection, schedule: Schedule, bot: Bot, decision: Decision, now: datetime
    ) -> int:
        """Give the posts of a missed occurrence another time, or leave them MISSED; how many go out."""
        count = 0
        if decision.at is not None:
            found = await store.posts_at(connection, schedule, decision.occurrence.nominal_time)
            lateness, at = max_lateness(bot, self.lateness()), decision.at
            steps = [Step(post, occurrence_posts.make_up(post, at, lateness)) for post in found]
            count = len(await write(connection, steps, now, self.instance))
        await store.settle_missed(connection, schedule, decision.occurrence, decision.skip_message)
        return count


def _batch(decisions: Sequence[Decision]) -> Sequence[Decision]:
    """As many as one transaction may write. What is made up for is not torn apart, since it is timed together."""
    if len(decisions) <= DECIDED_AT_ONCE:
        return decisions
    skipped = next((place for place, one in enumerate(decisions) if one.at is not None), len(decisions))
    return decisions[: min(skipped, DECIDED_AT_ONCE)] if skipped else decisions


def _is_full(schedule: Schedule) -> bool:
    return bool(schedule.max_occurrences) and schedule.occurrence_count >= schedule.max_occurrences


def _told(error: MeshError, item: Item) -> str:
    """A refusal in a sentence that names the draft, or the field."""
    about = f"draft {item.post_id}" if item.post_id else error.violations[0].field if error.violations else ""
    return f"{about}: {error.message}" if about else error.message
