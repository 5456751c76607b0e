"""One schedule expanded by one batch, within the transaction that holds its row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound
from services.bot_manager.domain import approving, rules
from services.bot_manager.domain.bots import max_lateness
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot
from services.bot_manager.domain.recurrence import posts as occurrence_posts
from services.bot_manager.domain.recurrence.misfires import Decision, decide, is_late
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.recurrence.timetable import Silence, Timetable, first
from services.bot_manager.events.announcing import announce
from services.bot_manager.schedules.drafts import duration, occurrence_values, seeded
from services.bot_manager.schedules.silence import told_of
from services.bot_manager.schedules.source import Item, Skip, Source
from services.bot_manager.store import occurrences as store
from services.bot_manager.store.occurrence_posts import posts_at, tie
from services.bot_manager.store.writing import Step, insert_post, read_posts, write

MADE_AT_ONCE: Final = 100
LATE_AT_ONCE: Final = 500
"""Late occurrences decided in one transaction; more than a schedule may make up for."""
LOOKED_AT: Final = 5_000
"""Occurrences looked at for the latest outside of black-out windows: three days of every minute."""
NOTHING: Final = "there was nothing to publish"
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
        found, more = _next(schedule, bot, now + lead, now, grace)
        missed = await store.missed_occurrences(connection, schedule)
        candidates = sorted([*missed, *found], key=lambda one: one.nominal_time)
        apart = duration((bot.policy or {}).get("min_interval"))
        decisions = decide(schedule, candidates, now, grace, apart, more=more)
        known = await store.decided(connection, schedule, found)
        batch = _Batch(self, connection, bot, now, schedule)
        again = {one.nominal_time for one in missed}
        for decision in decisions:
            if decision.occurrence.nominal_time in again:
                await batch.make_up(decision)
            elif decision.occurrence.wall_time in known:
                batch.pass_over(decision.occurrence)
            else:
                await batch.decide(decision)
        await batch.store()
        return batch.made


def _next(
    schedule: Schedule, bot: Bot, until: datetime, now: datetime, grace: timedelta
) -> tuple[list[Occurrence], bool]:
    """The next occurrences up to a moment: some that are late, and some that are not. Whether there are more that are late."""
    found: list[Occurrence] = []
    if schedule.next_time is None:
        return found, False
    left = schedule.max_occurrences - schedule.occurrence_count if schedule.max_occurrences else LOOKED_AT
    coming = late = 0
    for one in Timetable(schedule, silences_of(bot)).occurrences(schedule.cursor):
        if one.nominal_time > until or coming == MADE_AT_ONCE or len(found) == left:
            return found, False
        is_past = is_late(one, now, grace)
        if late == LATE_AT_ONCE or len(found) == LOOKED_AT:
            return found, is_past
        found.append(one)
        coming += not is_past
        late += is_past and not one.skip_message
    return found, False


@dataclass(slots=True)
class _Batch:
    """Decisions as they are carried out. `schedule` moves on with each; `skipped` are those that made no post by their time alone."""

    expansion: Expansion
    connection: AsyncConnection
    bot: Bot
    now: datetime
    schedule: Schedule
    made: int = 0
    skipped: list[Occurrence] = field(default_factory=list)
    silent: list[Occurrence] = field(default_factory=list)
    """All that made no post, for whatever reason."""

    async def decide(self, decision: Decision) -> None:
        """Make the posts of an occurrence, or skip it."""
        one = decision.occurrence
        if decision.at is None:
            self.skipped.append(replace(one, skip_message=decision.skip_message))
            self.silent.append(self.skipped[-1])
            self._move(one, decision.skip_message)
            return
        found = await self._take(one)
        items: Sequence[Item] = () if isinstance(found, Skip) else found
        message = found.message if isinstance(found, Skip) else NOTHING
        count = 0
        for item in items:
            try:
                await self._make(decision, item, count)
                count += 1
            except REFUSALS as error:
                message = _told(error, item)
        if not count:
            log = logger.bind(schedule_id=self.schedule.id, nominal_time=one.nominal_time.isoformat())
            log.warning("occurrence makes no post")
        taken = (items[0].key, items[0].round) if items else ("", 0)
        decided = replace(one, skip_message="" if count else message)
        await store.add_occurrence(self.connection, self.schedule, decided, count, taken)
        if not count:
            self.silent.append(decided)
        self.made += count
        self._move(one, decided.skip_message)

    async def make_up(self, decision: Decision) -> None:
        """Give the posts of a missed occurrence another time, or leave them MISSED."""
        if decision.at is not None:
            found = await posts_at(self.connection, self.schedule, decision.occurrence.nominal_time)
            steps = [
                Step(
                    post,
                    occurrence_posts.make_up(
                        post, decision.at, self._lateness(), waits=approving.needed(self.bot, post.origin)
                    ),
                )
                for post in found
            ]
            self.made += len(await write(self.connection, steps, self.now, self.expansion.instance))
        await store.settle_missed(self.connection, self.schedule, decision.occurrence, decision.skip_message)

    def pass_over(self, one: Occurrence) -> None:
        """It was decided before."""
        self.schedule = replace(self.schedule, cursor=one.wall_time)

    async def store(self) -> None:
        """What was skipped, and the schedule moved on."""
        if self.skipped:
            logger.bind(schedule_id=self.schedule.id, count=len(self.skipped)).info("occurrences skipped")
            await store.add_skipped(self.connection, self.schedule, self.skipped)
        await announce(self.connection, self.now, *told_of(self.schedule, self.silent))
        after = first(self.schedule)
        moved = replace(self.schedule, next_time=None if after is None else after.nominal_time)
        await store.store_schedule(self.connection, moved)

    def _move(self, one: Occurrence, message: str) -> None:
        number = self.schedule.occurrence_count + 1
        self.schedule = replace(
            self.schedule, cursor=one.wall_time, occurrence_count=number, last_skip_message=message
        )

    def _lateness(self) -> timedelta:
        return max_lateness(self.bot, self.expansion.lateness())

    async def _take(self, one: Occurrence) -> Sequence[Item] | Skip:
        try:
            return await self.expansion.sources[self.schedule.source].take(
                self.connection, self.schedule, one, self.now
            )
        except REFUSALS as error:
            return Skip(error.message)

    async def _make(self, decision: Decision, item: Item, place: int) -> None:
        """One post. Raises MeshError if it is refused."""
        one, at = decision.occurrence, decision.at or self.now
        values = {**occurrence_values(one, self.schedule.occurrence_count + 1), **item.values}
        ready, instance = self.expansion.maker.ready, self.expansion.instance
        if not item.post_id:
            draft, post_id = seeded(item.draft, self.schedule, one), self.expansion.new_id()
            post = occurrence_posts.made(self.schedule, one, draft, post_id, place, self.now)
            post = await ready(self.bot, post, at, self.now, values)
            waits = approving.needed(self.bot, post.origin)
            change = rules.create(post, at, self._lateness(), waits=waits)
            await insert_post(self.connection, change.post, change.entries, self.now, instance)
            return
        before = (await read_posts(self.connection, [item.post_id], lock=True))[item.post_id]
        tied = occurrence_posts.taken(before, self.schedule, one, place)
        post = await ready(self.bot, tied, at, self.now, values)
        waits = approving.needed(self.bot, post.origin)
        step = Step(before, occurrence_posts.timed(post, at, self._lateness(), waits=waits))
        (after,) = await write(self.connection, [step], self.now, instance, content=True)
        await tie(self.connection, after)


def _told(error: MeshError, item: Item) -> str:
    """A refusal in a sentence that names the draft, or the field."""
    about = f"draft {item.post_id}" if item.post_id else error.violations[0].field if error.violations else ""
    return f"{about}: {error.message}" if about else error.message
