"""ScheduleService."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from mesh.errors import InvalidArgument
from services.bot_manager.convert.common import time_field
from services.bot_manager.convert.schedules import (
    from_occurrence,
    from_schedule,
    to_changed_draft,
    to_draft,
)
from services.bot_manager.domain.filters import SCHEDULE_FIELDS
from services.bot_manager.domain.listing import Condition, Operator
from services.bot_manager.domain.schedules import ScheduleDraft, Schedules
from services.bot_manager.servicers.caller import about_bot, actor, call_about, request_key
from services.bot_manager.servicers.pages import Pages
from services.bot_manager.store.schedule_ports import ScheduleView
from vivesphere.bot_manager.v1 import schedule_service_pb2 as pb
from vivesphere.bot_manager.v1 import schedule_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class ScheduleServicer(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """`wake` tells the expander that there may be occurrences to decide."""

    def __init__(self, schedules: Schedules, page_secret: bytes, *, wake: Callable[[], None]) -> None:
        self._schedules = schedules
        self._pages = Pages(page_secret, "bot_manager.schedules", SCHEDULE_FIELDS)
        self._wake = wake

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id)
        key = request_key("CreateSchedule", request, request.request_id)
        # The trail is written with the schedule, so it has to know the id before.
        view = await self._schedules.create(bot_id, to_draft(request.schedule), actor(), key, _about_schedule)
        _about_schedule(view.schedule.id)
        self._wake()
        return pb.CreateScheduleResponse(schedule=from_schedule(view))

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.GetScheduleResponse:
        """See the contract."""
        view = await self._schedules.get(_about_schedule(request.schedule_id))
        return pb.GetScheduleResponse(schedule=from_schedule(view))

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id)
        always = (Condition("bot_id", Operator.EQUALS, bot_id),)
        page = await self._schedules.list(self._pages.query(request, *always), bot_id)
        return pb.ListSchedulesResponse(
            schedules=[from_schedule(view) for view in page.rows],
            next_page_token=self._pages.token(request, page, *always),
        )

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        """See the contract."""
        view = await self._schedules.update(
            _about_schedule(request.schedule_id),
            request.schedule.etag,
            lambda stored: to_changed_draft(stored, request.schedule, request.update_mask),
            actor(),
        )
        self._wake()
        return pb.UpdateScheduleResponse(schedule=from_schedule(view))

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        """See the contract."""
        await self._schedules.delete(_about_schedule(request.schedule_id), request.etag, actor())
        return pb.DeleteScheduleResponse()

    async def PreviewOccurrences(
        self, request: pb.PreviewOccurrencesRequest, context: Context
    ) -> pb.PreviewOccurrencesResponse:
        """See the contract."""
        if not request.schedule_id and not request.HasField("schedule"):
            raise InvalidArgument("INVALID_FIELD", "give a schedule or the id of one", field="schedule")

        def describe(view: ScheduleView | None) -> ScheduleDraft:
            return to_draft(request.schedule) if view is None else to_changed_draft(view, request.schedule)

        preview = await self._schedules.preview(
            request.schedule_id.lower(),
            request.bot_id.lower(),
            describe,
            request.count,
            time_field(request, "from_time"),
        )
        return pb.PreviewOccurrencesResponse(
            occurrences=[from_occurrence(one) for one in preview.occurrences],
            description=preview.description,
        )


def _about_schedule(schedule_id: str) -> str:
    """The schedule's id in canonical form, noted for the trail."""
    schedule_id = schedule_id.lower()
    call_about(f"schedules/{schedule_id}")
    return schedule_id
