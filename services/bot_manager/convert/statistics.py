"""Counters and series."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from services.bot_manager.convert.common import from_time
from services.bot_manager.domain.model import Counters
from services.bot_manager.domain.statistics import Interval, Point, Ranked, engagement_rate
from vivesphere.bot_manager.v1 import statistics_pb2

_INTERVALS: Final[Mapping[int, Interval]] = {
    statistics_pb2.STATISTICS_INTERVAL_HOUR: Interval.HOUR,
    statistics_pb2.STATISTICS_INTERVAL_DAY: Interval.DAY,
    statistics_pb2.STATISTICS_INTERVAL_WEEK: Interval.WEEK,
    statistics_pb2.STATISTICS_INTERVAL_MONTH: Interval.MONTH,
}


def to_interval(value: int, default: Interval) -> Interval:
    """The interval asked for."""
    return _INTERVALS.get(value, default)


def from_counters(counters: Counters, read_time: datetime | None) -> statistics_pb2.PostMetrics:
    """The contract's PostMetrics."""
    return statistics_pb2.PostMetrics(
        **asdict(counters), engagement_rate=engagement_rate(counters), read_time=from_time(read_time)
    )


def from_totals(posts: int, counters: Counters, read_time: datetime | None) -> statistics_pb2.BotTotals:
    """The contract's BotTotals. Followers and cost are not counted yet."""
    return statistics_pb2.BotTotals(
        posts=posts,
        **asdict(counters),
        engagement_rate=engagement_rate(counters),
        read_time=from_time(read_time),
    )


def from_ranked(ranked: Ranked) -> statistics_pb2.TopPost:
    """The contract's TopPost."""
    return statistics_pb2.TopPost(
        post_id=ranked.post_id,
        text=ranked.text,
        x_post_id=ranked.x_post_id,
        publish_time=from_time(ranked.publish_time),
        value=ranked.value,
        metrics=from_counters(ranked.counters, ranked.read_time),
    )


def from_series(series: Mapping[str, Sequence[Point]]) -> list[statistics_pb2.MetricSeries]:
    """One message a metric."""
    return [
        statistics_pb2.MetricSeries(
            metric=metric,
            points=[
                statistics_pb2.MetricPoint(time=from_time(point.time), value=point.value) for point in points
            ],
        )
        for metric, points in series.items()
    ]
