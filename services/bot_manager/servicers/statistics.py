"""StatisticsService."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import grpc.aio
from google.api.httpbody_pb2 import HttpBody

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, NotFound
from mesh.paging import PageTokens, page_size
from services.bot_manager.convert.common import from_time, time_field
from services.bot_manager.convert.statistics import (
    from_counters,
    from_ranked,
    from_series,
    from_totals,
    to_interval,
)
from services.bot_manager.convert.statistics_export import CSV, NDJSON, csv_header, csv_rows, ndjson_rows
from services.bot_manager.domain import statistics
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.statistics import Interval
from services.bot_manager.servicers.caller import about_bot, about_post
from services.bot_manager.store.metric_lists import PostgresMetricLists
from services.bot_manager.store.ports import BotStore, MetricStore, PostStore
from services.bot_manager.store.reading_times import PostgresReadingTimes
from vivesphere.bot_manager.v1 import statistics_service_pb2 as pb
from vivesphere.bot_manager.v1 import statistics_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_SPAN: Final = timedelta(days=30)
MAX_READINGS: Final = 50_000
"""Most readings that one series is made of; a thread of 25 parts with 2,000 readings each."""


ROWS_A_PAGE: Final = 2000


class Fetcher(Protocol):
    """Reads counters from X."""

    async def refresh(self, bot_id: str, post_ids: Sequence[str] = ()) -> int:
        """How many parts were read."""
        ...


class StatisticsServicer(statistics_service_pb2_grpc.StatisticsServiceServicer):
    """Converts, asks the readings, converts."""

    def __init__(
        self,
        bots: BotStore,
        posts: PostStore,
        metrics: MetricStore,
        lists: PostgresMetricLists,
        times: PostgresReadingTimes,
        fetcher: Fetcher,
        clock: Clock,
        page_secret: bytes,
    ) -> None:
        self._bots = bots
        self._posts = posts
        self._metrics = metrics
        self._lists = lists
        self._times = times
        self._fetcher = fetcher
        self._clock = clock
        self._top_tokens = PageTokens(page_secret, "bot_manager.top_posts")

    async def GetBotStatistics(
        self, request: pb.GetBotStatisticsRequest, context: Context
    ) -> pb.GetBotStatisticsResponse:
        """See the contract. Followers, posts per interval and cost are not counted yet."""
        bot = await self._bots.get(about_bot(request.bot_id))
        end = time_field(request, "end_time") or self._clock.now()
        start = time_field(request, "start_time") or end - DEFAULT_SPAN
        interval = to_interval(request.interval, Interval.DAY)
        statistics.check_span(start, end, interval)
        count, counters, read_time = await self._metrics.latest_of_bot(bot.id, start, end)
        samples = statistics.added_over_time(await self._metrics.of_bot(bot.id, start, end), start, interval)
        return pb.GetBotStatisticsResponse(
            bot_id=bot.id,
            totals=from_totals(count, counters, read_time),
            series=from_series(statistics.series(samples, request.metrics)),
        )

    async def GetPostStatistics(
        self, request: pb.GetPostStatisticsRequest, context: Context
    ) -> pb.GetPostStatisticsResponse:
        """See the contract."""
        post = await self._posts.get(about_post(request.post_id))
        start, end = time_field(request, "start_time"), time_field(request, "end_time")
        interval = to_interval(request.interval, Interval.EVERY_READING)
        statistics.check_span(start, end or self._clock.now(), interval)
        latest = await self._metrics.latest_of_post(post.id)
        readings = await self._metrics.of_post(post.id, start, end, MAX_READINGS)
        samples = statistics.totals_over_time(readings, interval)
        total = statistics.total(reading.counters for reading in latest)
        return pb.GetPostStatisticsResponse(
            post_id=post.id,
            latest=from_counters(total, max(reading.time for reading in latest)) if latest else None,
            series=from_series(statistics.series(samples, request.metrics)),
            deleted_on_x=await self._metrics.gone(post.id),
            next_read_time=from_time(await self._times.of_post(post.id)),
        )

    async def ListTopPosts(
        self, request: pb.ListTopPostsRequest, context: Context
    ) -> pb.ListTopPostsResponse:
        """See the contract. Without an end, the first page says until when the others look."""
        bot = await self._bots.get(about_bot(request.bot_id))
        metric, size = request.metric or "impressions", page_size(request.page_size)
        bound = {
            "bot": bot.id,
            "metric": metric,
            "start": _seen(request, "start_time"),
            "end": _seen(request, "end_time"),
        }
        position = self._top_tokens.decode(request.page_token, bound)
        end = time_field(request, "end_time") or self._clock.now()
        if position is not None:
            end = datetime.fromisoformat(str(position[2]))
        start = time_field(request, "start_time") or end - DEFAULT_SPAN
        statistics.check_span(start, end, Interval.EVERY_READING)
        after = None if position is None else (float.fromhex(str(position[0])), str(position[1]))
        found = await self._lists.top(bot.id, metric, start, end, after, size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = self._top_tokens.encode((page[-1].value.hex(), page[-1].post_id, end.isoformat()), bound)
        return pb.ListTopPostsResponse(top_posts=[from_ranked(one) for one in page], next_page_token=token)

    async def ExportStatistics(
        self, request: pb.ExportStatisticsRequest, context: Context
    ) -> AsyncIterator[pb.ExportStatisticsResponse]:
        """See the contract. In memory is one page."""
        bot_id = request.bot_id.lower()
        if bot_id:
            await self._bots.get(about_bot(bot_id))
        start, end = time_field(request, "start_time"), time_field(request, "end_time") or self._clock.now()
        statistics.check_span(start, end, Interval.EVERY_READING)
        as_csv = request.format != pb.EXPORT_FORMAT_NDJSON
        rows_of, header = (csv_rows, csv_header()) if as_csv else (ndjson_rows, b"")
        yield pb.ExportStatisticsResponse(file=HttpBody(content_type=CSV if as_csv else NDJSON, data=header))
        after: tuple[datetime, str] | None = None
        while page := await self._lists.export(bot_id, start, end, after, ROWS_A_PAGE):
            yield pb.ExportStatisticsResponse(file=HttpBody(data=rows_of(page)))
            after = page[-1].reading.time, page[-1].reading.x_post_id

    async def RefreshStatistics(
        self, request: pb.RefreshStatisticsRequest, context: Context
    ) -> pb.RefreshStatisticsResponse:
        """See the contract. Cost is not counted yet."""
        bot = await self._bots.get(about_bot(request.bot_id))
        _check_readable(bot)
        post_ids = [post_id.lower() for post_id in request.post_ids]
        await self._check_own(bot, post_ids)
        before = self._clock.now()
        count = await self._fetcher.refresh(bot.id, post_ids)
        return pb.RefreshStatisticsResponse(
            refreshed_post_count=count,
            deleted_post_ids=await self._metrics.gone_since(bot.id, before),
            read_time=from_time(self._clock.now()),
        )

    async def _check_own(self, bot: Bot, post_ids: Sequence[str]) -> None:
        missing = await self._metrics.foreign(bot.id, post_ids) if post_ids else ()
        if missing:
            raise NotFound("POST_NOT_FOUND", "no such post of this bot", metadata={"postId": missing[0]})


def _seen(request: pb.ListTopPostsRequest, name: str) -> str:
    time = time_field(request, name)
    return "" if time is None else time.isoformat()


def _check_readable(bot: Bot) -> None:
    if bot.state is BotState.ARCHIVED:
        raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived")
    if bot.credentials is None:
        raise FailedPrecondition("CREDENTIALS_MISSING", "the bot has no credentials yet")
    if bot.state is not BotState.ACTIVE:
        raise FailedPrecondition(
            "INVALID_STATE", f"the bot is {bot.state}", metadata={"state": bot.state.value}
        )
