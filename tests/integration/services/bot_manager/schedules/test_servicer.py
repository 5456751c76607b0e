"""ScheduleService over the real chain: mutual TLS, tokens, permissions, validation; PostgreSQL behind."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.context import current_call
from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.servicers.schedules import ScheduleServicer
from tests.fakes.mesh import serving
from tests.integration.services.bot_manager.conftest import NOW
from vivesphere.bot_manager.v1 import content_pb2, schedule_pb2, schedule_service_pb2_grpc, wall_time_pb2
from vivesphere.bot_manager.v1 import schedule_service_pb2 as pb

from .world import HOUR, World

ROLES = {"operator": frozenset({"bots.*", "posts.*"}), "viewer": frozenset({"posts.read"})}
ACTIVE, PAUSED = schedule_pb2.SCHEDULE_STATE_ACTIVE, schedule_pb2.SCHEDULE_STATE_PAUSED
HOURLY = schedule_pb2.Recurrence(cron="0 * * * *")
HELLO = content_pb2.ScheduleContent(text="hello")


@dataclass
class Door:
    """A stub of a caller with a token, and what stands behind the service."""

    stub: Any
    world: World
    token: str
    viewer: str
    bot: Bot

    async def call(self, name: str, request: Any, token: str = "") -> Any:
        """Raises the MeshError that the service raised."""
        metadata = (("authorization", f"Bearer {token or self.token}"),)
        try:
            return await getattr(self.stub, name)(request, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def create(self, request_id: str = "", **fields: Any) -> schedule_pb2.Schedule:
        """A schedule of every hour."""
        schedule = schedule_pb2.Schedule(**{"recurrence": HOURLY, "content": HELLO, **fields})
        request = pb.CreateScheduleRequest(bot_id=self.bot.id, schedule=schedule, request_id=request_id)
        return (await self.call("CreateSchedule", request)).schedule

    async def update(
        self, stored: schedule_pb2.Schedule, paths: list[str], **fields: Any
    ) -> schedule_pb2.Schedule:
        """Change what the paths name."""
        request = pb.UpdateScheduleRequest(
            schedule_id=stored.id,
            schedule=schedule_pb2.Schedule(**fields),
            update_mask=FieldMask(paths=paths),
        )
        return (await self.call("UpdateSchedule", request)).schedule

    async def list(self, **fields: Any) -> pb.ListSchedulesResponse:
        """A page."""
        return await self.call("ListSchedules", pb.ListSchedulesRequest(bot_id=self.bot.id, **fields))

    async def preview(self, **fields: Any) -> pb.PreviewOccurrencesResponse:
        """The next occurrences."""
        return await self.call("PreviewOccurrences", pb.PreviewOccurrencesRequest(**fields))


@pytest.fixture
async def door(world: World, tmp_path: Path) -> AsyncIterator[Door]:
    servicer = ScheduleServicer(world.schedules, b"page secret of the test", wake=lambda: None)
    add = schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server
    name = "vivesphere.bot_manager.v1.ScheduleService"
    bot = await world.bot(time_zone="Europe/Berlin")
    async with (
        serving(tmp_path, "bot_manager", [name], [(add, servicer)], roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        yield Door(stub, world, server.issuer.token("operator"), server.issuer.token("viewer"), bot)


async def refusal(awaitable: Awaitable[Any]) -> tuple[str, str]:
    """Reason and first field of the error."""
    with pytest.raises(MeshError) as refused:
        await awaitable
    error = refused.value
    return error.reason, error.violations[0].field if error.violations else ""


def at(offset: timedelta) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(NOW + offset)
    return timestamp


async def test_a_schedule_is_kept_as_it_was_given(door: Door) -> None:
    """Every field comes back, what was left out has its default."""
    given: dict[str, Any] = {
        "recurrence": schedule_pb2.Recurrence(rrule="FREQ=DAILY;BYHOUR=9"),
        "time_zone": "America/New_York",
        "start_time": at(HOUR),
        "end_time": at(1000 * HOUR),
        "max_occurrences": 9,
        "jitter": Duration(seconds=90),
        "misfire_policy": schedule_pb2.MISFIRE_POLICY_CATCH_UP,
        "max_catch_up": 3,
        "misfire_grace": Duration(seconds=1),
        "exclusions": ["2026-12-24", "2026-12-25T09:00"],
        "blackout_windows": [
            wall_time_pb2.BlackoutWindow(starts_at="22:00", ends_at="07:00", reason="night")
        ],
        "content": content_pb2.ScheduleContent(
            post=content_pb2.PostTemplate(text="hello", made_with_ai=True)
        ),
        "state": PAUSED,
        "display_name": "mornings",
    }
    made = await door.create(**given)
    for name, value in given.items():
        found = getattr(made, name)
        assert (list(found) if isinstance(value, list) else found) == value, name
    assert made.creator
    plain = await door.create()
    assert (plain.time_zone, plain.state, plain.bot_id) == ("Europe/Berlin", ACTIVE, door.bot.id)
    assert plain.misfire_policy == schedule_pb2.MISFIRE_POLICY_SKIP
    assert (plain.start_time, plain.next_occurrence_time) == (at(timedelta()), at(HOUR))
    request = pb.GetScheduleRequest(schedule_id=plain.id.upper())
    assert (await door.call("GetSchedule", request)).schedule == plain


async def test_a_repeated_create_answers_the_first(door: Door) -> None:
    """A client that lost the answer must not have two schedules."""
    request_id = new_id()
    made = await door.create(request_id)
    assert await door.create(request_id.upper()) == made
    assert (await refusal(door.create(request_id, display_name="other")))[0] == "IDEMPOTENCY_KEY_REUSED"
    assert len((await door.list()).schedules) == 1


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"recurrence": None}, "INVALID_FIELD", "schedule.recurrence"),
        ({"content": None}, "INVALID_FIELD", "schedule.content"),
        ({"time_zone": "Mars/Olympus"}, "INVALID_FIELD", "schedule.time_zone"),
        ({"recurrence": {"rrule": "FREQ=OFTEN"}}, "INVALID_FIELD", "schedule.recurrence.rrule"),
        ({"recurrence": {"cron": "99 * * * *"}}, "INVALID_FIELD", "schedule.recurrence.cron"),
        (
            {"recurrence": {"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}},
            "INVALID_FIELD",
            "schedule.recurrence",
        ),
        ({"start_time": at(HOUR / 2), "end_time": at(HOUR * 0.7)}, "INVALID_FIELD", "schedule.recurrence"),
        ({"end_time": at(timedelta())}, "TIME_IN_PAST", "schedule.end_time"),
        ({"content": {"post": {}}}, "INVALID_FIELD", "schedule.content.post.text"),
        (
            {"content": {"pool": {"items": [{"text": "good"}, {}]}}},
            "INVALID_FIELD",
            "schedule.content.pool.items[1].text",
        ),
        ({"bot_id": new_id()}, "CONFLICTING_FIELD", "schedule.bot_id"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    door: Door, fields: dict[str, Any], reason: str, field: str
) -> None:
    """When it is made, not at its first occurrence, and with the name of the field."""
    assert await refusal(door.create(**fields)) == (reason, field)
    assert not (await door.list()).schedules


async def test_strangers_and_archived_bots_are_refused(door: Door) -> None:
    """Nothing publishes for a bot that is gone."""
    request = pb.CreateScheduleRequest(
        bot_id=new_id(), schedule=schedule_pb2.Schedule(recurrence=HOURLY, content=HELLO)
    )
    assert (await refusal(door.call("CreateSchedule", request)))[0] == "BOT_NOT_FOUND"
    made = await door.create()
    get = pb.GetScheduleRequest(schedule_id=made.id)
    assert (await refusal(door.call("GetSchedule", get, door.viewer)))[0] == "PERMISSION_MISSING"
    missing = pb.GetScheduleRequest(schedule_id=new_id())
    assert (await refusal(door.call("GetSchedule", missing)))[0] == "SCHEDULE_NOT_FOUND"
    await door.world.move(door.bot, BotState.ARCHIVED)
    assert (await refusal(door.create()))[0] == "BOT_ARCHIVED"
    assert (await refusal(door.update(made, ["jitter"])))[0] == "BOT_ARCHIVED"


async def test_the_trail_names_the_new_schedule(door: Door) -> None:
    """It is written with the schedule, so its id has to be known by then."""
    seen: list[tuple[str, str]] = []

    async def look(connection: AsyncConnection) -> None:
        call = current_call()
        if call is not None and call.policy is not None:
            seen.append((call.resource, call.bot_id))

    door.world.database.before_commit(look)
    made = await door.create()
    assert seen == [(f"schedules/{made.id}", door.bot.id)]


async def test_lists_are_filtered_ordered_and_paged(door: Door) -> None:
    """As other lists; schedules without a next occurrence come last."""
    later = schedule_pb2.Recurrence(cron="0 20 * * *")
    one = await door.create(display_name="one", recurrence=later)
    two = await door.create(display_name="two")
    three = await door.create(display_name="three", state=PAUSED)

    async def names(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            page = await door.list(page_size=1, page_token=token, **fields)
            found += [schedule.display_name for schedule in page.schedules]
            token = page.next_page_token
            if not token:
                return found

    assert await names() == ["three", "two", "one"]
    assert await names(order_by="next_occurrence_time") == ["two", "one", "three"]
    assert await names(order_by="next_occurrence_time desc") == ["one", "two", "three"]
    assert await names(filter="state = PAUSED") == ["three"]
    assert await names(filter='display_name : "o" AND state = ACTIVE', order_by="create_time") == [
        "one",
        "two",
    ]
    bound = one.next_occurrence_time.ToJsonString()
    assert await names(filter=f'next_occurrence_time < "{bound}"') == ["two"]
    assert (await refusal(door.list(filter="colour = red")))[0] == "INVALID_FILTER"
    assert {one.id, two.id, three.id} == {schedule.id for schedule in (await door.list()).schedules}


async def test_an_update_changes_what_its_mask_names(door: Door) -> None:
    """The rest stays; what is named and absent is cleared."""
    made = await door.create(display_name="before", jitter=Duration(seconds=60))
    changed = await door.update(made, ["display_name", "jitter"], display_name="after", max_occurrences=3)
    assert (changed.display_name, changed.HasField("jitter"), changed.max_occurrences) == ("after", False, 0)
    assert changed.etag != made.etag
    rule = schedule_pb2.Recurrence(rrule="FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0")
    daily = await door.update(made, ["recurrence.rrule"], recurrence=rule)
    assert daily.recurrence == rule
    assert daily.next_occurrence_time == at(19 * HOUR)
    assert (await refusal(door.update(made, ["colour"])))[0] == "UNKNOWN_FIELD"
    assert (await refusal(door.update(made, ["content"])))[1] == "schedule.content"
    request = pb.UpdateScheduleRequest(
        schedule_id=made.id, schedule=schedule_pb2.Schedule(display_name="late", etag=made.etag)
    )
    assert (await refusal(door.call("UpdateSchedule", request)))[0] == "ETAG_MISMATCH"
    paused = await door.update(made, ["state"], state=PAUSED)
    assert (paused.state, paused.HasField("next_occurrence_time")) == (PAUSED, False)


async def test_a_deleted_schedule_is_gone(door: Door) -> None:
    """A repeat says so and changes nothing."""
    made = await door.create()
    stale = pb.DeleteScheduleRequest(schedule_id=made.id, etag="stale")
    assert (await refusal(door.call("DeleteSchedule", stale)))[0] == "ETAG_MISMATCH"
    request = pb.DeleteScheduleRequest(schedule_id=made.id, etag=made.etag)
    await door.call("DeleteSchedule", request)
    assert (await refusal(door.call("DeleteSchedule", request)))[0] == "SCHEDULE_NOT_FOUND"


async def test_a_preview_shows_what_will_be(door: Door) -> None:
    """Of a schedule that is not stored: over the end of winter, with words."""
    rule = schedule_pb2.Recurrence(rrule="FREQ=WEEKLY;BYDAY=SU;BYHOUR=2;BYMINUTE=30;BYSECOND=0")
    since = Timestamp()
    since.FromJsonString("2027-03-21T00:00:00Z")
    window = wall_time_pb2.BlackoutWindow(first_date="2027-04-04", last_date="2027-04-04")
    schedule = schedule_pb2.Schedule(recurrence=rule, time_zone="Europe/Berlin", blackout_windows=[window])
    shown = await door.preview(schedule=schedule, count=3, from_time=since)
    assert [(one.local_time, one.adjustment) for one in shown.occurrences] == [
        ("2027-03-21T02:30:00+01:00", schedule_pb2.TIME_ADJUSTMENT_UNSPECIFIED),
        ("2027-03-28T03:00:00+02:00", schedule_pb2.TIME_ADJUSTMENT_GAP_MOVED),
        ("2027-04-04T02:30:00+02:00", schedule_pb2.TIME_ADJUSTMENT_UNSPECIFIED),
    ]
    assert [bool(one.skip_message) for one in shown.occurrences] == [False, False, True]
    assert shown.description == "every Sunday at 02:30, Europe/Berlin"
    assert not (await door.list()).schedules


async def test_a_preview_takes_stored_and_given_together(door: Door) -> None:
    """What a change would do, before it is made; a bound counts what was."""
    made = await door.create(max_occurrences=3)
    assert len((await door.preview(schedule_id=made.id)).occurrences) == 3
    changed = schedule_pb2.Schedule(recurrence=schedule_pb2.Recurrence(cron="15 * * * *"))
    shown = await door.preview(schedule_id=made.id, schedule=changed)
    assert [one.nominal_time for one in shown.occurrences] == [at(HOUR * (0.25 + more)) for more in range(3)]
    await door.world.look()
    await door.world.clock.advance(HOUR)
    left = await door.preview(schedule_id=made.id)
    assert [one.nominal_time for one in left.occurrences] == [at(2 * HOUR), at(3 * HOUR)]
    late = await door.preview(schedule_id=made.id, from_time=at(3 * HOUR))
    assert [one.nominal_time for one in late.occurrences] == [at(3 * HOUR)]


async def test_a_preview_that_cannot_be_is_refused(door: Door) -> None:
    """By the name of what is wrong."""
    made = await door.create()
    assert await refusal(door.preview()) == ("INVALID_FIELD", "schedule")
    assert (await refusal(door.preview(schedule_id=new_id())))[0] == "SCHEDULE_NOT_FOUND"
    other = await door.world.bot()
    assert (await refusal(door.preview(schedule_id=made.id, bot_id=other.id)))[0] == "SCHEDULE_NOT_FOUND"
    assert (await refusal(door.preview(schedule=schedule_pb2.Schedule(recurrence=HOURLY), bot_id=new_id())))[
        0
    ] == "BOT_NOT_FOUND"
    bad = schedule_pb2.Schedule(recurrence=schedule_pb2.Recurrence(cron="x x x x x"))
    assert await refusal(door.preview(schedule=bad)) == ("INVALID_FIELD", "schedule.recurrence.cron")
    assert (await refusal(door.preview(schedule=schedule_pb2.Schedule())))[1] == "schedule.recurrence"
