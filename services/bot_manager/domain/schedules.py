"""Use cases of schedules: make, find, change, delete, preview. What becomes of occurrences is said in `domain/recurrence`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.model import Bot, BotState, Document
from services.bot_manager.domain.recurrence.model import (
    MisfirePolicy,
    Notation,
    Occurrence,
    Recurrence,
    Schedule,
    ScheduleState,
)
from services.bot_manager.domain.recurrence.timetable import Silence, Timetable, first, moved_to
from services.bot_manager.domain.recurrence.wallclock import wall_of, zone_of
from services.bot_manager.domain.recurrence.words import describe as describe_rule
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import BotStore, RequestKey
from services.bot_manager.store.schedule_ports import ScheduleChange, ScheduleStore, ScheduleView

PREVIEWED: Final = 10
NO_RULE: Final = Recurrence(Notation.CRON, "* * * * *")
"""Of a schedule that is about to be described."""


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """A schedule as somebody described it; None and empty where nothing was said."""

    bot_id: str = ""
    recurrence: Recurrence | None = None
    time_zone: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    max_occurrences: int = 0
    jitter: timedelta = timedelta()
    misfire_policy: MisfirePolicy = MisfirePolicy.SKIP
    max_catch_up: int = 0
    misfire_grace: timedelta | None = None
    exclusions: tuple[str, ...] = ()
    blackout_windows: tuple[Document, ...] = ()
    content: Document | None = None
    state: ScheduleState | None = None
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """The next times, and the rule in words."""

    occurrences: Sequence[Occurrence]
    description: str


class ContentCheck(Protocol):
    """Whether the posts that a schedule describes could be made."""

    async def __call__(self, bot: Bot, schedule: Schedule, occurrence: Occurrence, now: datetime) -> None:
        """Raises InvalidArgument (INVALID_FIELD, CONFLICTING_FIELD), NotFound (MEDIA_NOT_FOUND), naming the field."""
        ...


class Schedules:
    """See the module. `silences` tells the black-out windows of a bot."""

    def __init__(
        self,
        store: ScheduleStore,
        bots: BotStore,
        check: ContentCheck,
        silences: Callable[[Bot], Silence],
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._bots = bots
        self._check = check
        self._silences = silences
        self._clock = clock
        self._new_id = new_id

    async def create(
        self,
        bot_id: str,
        draft: ScheduleDraft,
        actor: str,
        key: RequestKey | None,
        told: Callable[[str], object] = str,
    ) -> ScheduleView:
        """A schedule whose first occurrence is the first after now. `told` hears its id before it is stored.

        Raises InvalidArgument (INVALID_FIELD, CONFLICTING_FIELD, TIME_IN_PAST, IDEMPOTENCY_KEY_REUSED), NotFound (BOT_NOT_FOUND,
        MEDIA_NOT_FOUND), FailedPrecondition (BOT_ARCHIVED).
        """
        now = self._clock.now()
        known = await self._store.recall(key, now) if key else None
        if known is not None:
            return known
        bot = await self._bots.get(bot_id)
        _check_not_archived(bot)
        _check_bot(draft, bot_id)
        schedule = _described(_empty(self._new_id(), bot, actor, now), draft, bot, now)
        _check_end(schedule, now)
        schedule = moved_to(schedule, now)
        coming = _some(schedule)
        await self._check(bot, schedule, coming, now)
        if schedule.state is ScheduleState.ACTIVE:
            schedule = replace(schedule, next_time=coming.nominal_time)
        told(schedule.id)
        return await self._store.create(schedule, key)

    async def get(self, schedule_id: str) -> ScheduleView:
        """Raises NotFound (SCHEDULE_NOT_FOUND)."""
        now = self._clock.now()
        return _current(await self._store.get(schedule_id, now), now)

    async def list(self, query: Query, bot_id: str) -> Page[ScheduleView]:
        """A page of a bot's schedules. Raises NotFound (BOT_NOT_FOUND)."""
        await self._bots.get(bot_id)
        now = self._clock.now()
        page = await self._store.list(query, now)
        return Page([_current(view, now) for view in page.rows], page.next)

    async def update(
        self, schedule_id: str, etag: str, describe: Callable[[ScheduleView], ScheduleDraft], actor: str
    ) -> ScheduleView:
        """Change what `describe` says; what is still to come is decided anew where that matters to it.

        Raises as `create`, and NotFound (SCHEDULE_NOT_FOUND), Aborted (ETAG_MISMATCH).
        """
        now = self._clock.now()
        seen = await self._store.get(schedule_id, now)
        bot = await self._bots.get(seen.schedule.bot_id)
        check_etag(etag, seen.schedule.version)
        _check_not_archived(bot)
        wanted = _changed(seen, describe(seen), bot, now).schedule
        if wanted.content != seen.schedule.content:
            await self._check(bot, wanted, _sample(wanted, now), now)

        def edit(view: ScheduleView) -> ScheduleChange:
            check_etag(etag, view.schedule.version)
            return _changed(view, describe(view), bot, now)

        return _current(await self._store.change(schedule_id, edit, now, actor), now)

    async def delete(self, schedule_id: str, etag: str, actor: str) -> None:
        """Raises NotFound (SCHEDULE_NOT_FOUND), Aborted (ETAG_MISMATCH)."""

        def check(schedule: Schedule) -> None:
            check_etag(etag, schedule.version)

        await self._store.delete(schedule_id, check, self._clock.now(), actor)

    async def preview(
        self,
        schedule_id: str,
        bot_id: str,
        describe: Callable[[ScheduleView | None], ScheduleDraft],
        count: int,
        since: datetime | None,
    ) -> Preview:
        """The next occurrences from a moment on, of a stored schedule, an imagined one, or one imagined on top of a stored one.

        Raises InvalidArgument (INVALID_FIELD), NotFound (SCHEDULE_NOT_FOUND, BOT_NOT_FOUND).
        """
        now = self._clock.now()
        view = await self._store.get(schedule_id, now) if schedule_id else None
        if view is not None and bot_id and bot_id != view.schedule.bot_id:
            raise NotFound("SCHEDULE_NOT_FOUND", "the bot has no such schedule", field="schedule_id")
        bot_id = view.schedule.bot_id if view else bot_id
        bot = await self._bots.get(bot_id) if bot_id else None
        draft = describe(view)
        base = view.schedule if view else _empty("", bot, "", now)
        schedule = _described(base, draft, bot, now, content=False)
        silences = () if bot is None else (self._silences(bot),)
        seen = view.occurrence_count if view else 0
        # A rule may have to be walked for long; calls go on meanwhile.
        after = now + timedelta.resolution  # what falls on this very moment has passed
        since = max(since or after, schedule.start_time)
        found = await asyncio.to_thread(_preview, schedule, silences, seen, since, after, count or PREVIEWED)
        start = wall_of(schedule.start_time, zone_of(schedule.time_zone, "schedule.time_zone"))
        return Preview(found, describe_rule(schedule.recurrence, start, schedule.time_zone))


def _preview(
    schedule: Schedule,
    silences: Sequence[Silence],
    seen: int,
    since: datetime,
    counted_from: datetime,
    count: int,
) -> Sequence[Occurrence]:
    """`seen` occurrences were before `counted_from`: they count against the bound, as do those from then until a later `since`."""
    table = Timetable(schedule, *silences)
    if not schedule.max_occurrences:
        return list(islice(table.beginning(since), count))
    left = islice(table.beginning(min(since, counted_from)), max(schedule.max_occurrences - seen, 0))
    return list(islice((one for one in left if one.nominal_time >= since), count))


def _empty(schedule_id: str, bot: Bot | None, actor: str, now: datetime) -> Schedule:
    return Schedule(
        id=schedule_id,
        bot_id=bot.id if bot else "",
        recurrence=NO_RULE,
        time_zone=bot.time_zone if bot else "UTC",
        start_time=now,
        content={},
        create_time=now,
        update_time=now,
        creator=actor,
    )


def _described(
    schedule: Schedule, draft: ScheduleDraft, bot: Bot | None, now: datetime, *, content: bool = True
) -> Schedule:
    """The schedule with everything that the draft says. Raises InvalidArgument (INVALID_FIELD)."""
    if draft.recurrence is None:
        raise InvalidArgument("INVALID_FIELD", "a schedule needs a rule", field="schedule.recurrence")
    if draft.content is None and content:
        raise InvalidArgument("INVALID_FIELD", "a schedule needs content", field="schedule.content")
    described = replace(
        schedule,
        recurrence=draft.recurrence,
        time_zone=draft.time_zone or (bot.time_zone if bot else "UTC"),
        start_time=draft.start_time or now,
        end_time=draft.end_time,
        max_occurrences=draft.max_occurrences,
        jitter=draft.jitter,
        misfire_policy=draft.misfire_policy,
        max_catch_up=draft.max_catch_up,
        misfire_grace=draft.misfire_grace,
        exclusions=draft.exclusions,
        blackout_windows=draft.blackout_windows,
        content=draft.content or {},
        state=draft.state or schedule.state,
        display_name=draft.display_name,
    )
    Timetable(described)
    return described


def _changed(view: ScheduleView, draft: ScheduleDraft, bot: Bot, now: datetime) -> ScheduleChange:
    schedule = view.schedule
    _check_bot(draft, schedule.bot_id)
    after = _described(schedule, draft, bot, now)
    if after.end_time != schedule.end_time:
        _check_end(after, now)
    resumes = after.state is ScheduleState.ACTIVE and schedule.state is not ScheduleState.ACTIVE
    stops = after.state is ScheduleState.PAUSED and schedule.state is not ScheduleState.PAUSED
    from_now = resumes or _times(after) != _times(schedule)
    if from_now:
        if after.state is ScheduleState.COMPLETED:
            after = replace(after, state=ScheduleState.ACTIVE)
        # What was decided for later is decided anew, so only what has passed counts.
        _some(moved_to(replace(after, occurrence_count=view.occurrence_count), now))
    anew = from_now or stops or after.content != schedule.content
    return ScheduleChange(after, anew=anew, from_now=from_now or stops, stops=stops)


def _times(schedule: Schedule) -> tuple[object, ...]:
    """What says when, and so which posts there are."""
    return (
        schedule.recurrence,
        schedule.time_zone,
        schedule.start_time,
        schedule.end_time,
        schedule.max_occurrences,
        schedule.jitter,
        schedule.exclusions,
        schedule.blackout_windows,
    )


def _some(schedule: Schedule) -> Occurrence:
    """Its next occurrence. Raises InvalidArgument (INVALID_FIELD) if there is none."""
    found = first(schedule)
    if found is None:
        raise InvalidArgument(
            "INVALID_FIELD",
            "there is no occurrence left between start and end",
            field="schedule.recurrence",
        )
    return found


def _sample(schedule: Schedule, now: datetime) -> Occurrence:
    """Its next occurrence, or one like it where there is none any more."""
    zone = zone_of(schedule.time_zone, "schedule.time_zone")
    return first(schedule) or Occurrence(wall_of(now, zone), now, now, now.astimezone(zone))


def _current(view: ScheduleView, now: datetime) -> ScheduleView:
    """While a bot is stopped nothing is decided: the next occurrence is then not the first undecided one."""
    following = view.next_occurrence_time
    if following is None or following > now:
        return view
    try:
        coming = next(Timetable(view.schedule).beginning(now), None)
    except InvalidArgument:  # a zone that new rules do not know; the expander says so
        return view
    return replace(view, next_occurrence_time=coming.nominal_time if coming else None)


def _check_bot(draft: ScheduleDraft, bot_id: str) -> None:
    if draft.bot_id and draft.bot_id != bot_id:
        raise InvalidArgument("CONFLICTING_FIELD", "is not the bot of the schedule", field="schedule.bot_id")


def _check_end(schedule: Schedule, now: datetime) -> None:
    if schedule.end_time is not None and schedule.end_time <= now:
        raise InvalidArgument("TIME_IN_PAST", "the time has passed", field="schedule.end_time")


def _check_not_archived(bot: Bot) -> None:
    if bot.state is BotState.ARCHIVED:
        raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived; it publishes nothing any more")
