"""What a bot may still do."""

from google.protobuf.duration_pb2 import Duration

from services.bot_manager.convert.apps import from_breaker
from services.bot_manager.convert.common import from_time, parsed
from services.bot_manager.domain.quota import Forecast, Limit, Quota, Sum
from vivesphere.bot_manager.v1 import quota_pb2


def from_quota(quota: Quota) -> quota_pb2.Quota:
    """The contract's Quota."""
    bot, app = quota.bot, quota.app
    return quota_pb2.Quota(
        bot_id=bot.id,
        app_id=bot.app_id,
        rate_limits=[_from_limit(limit) for limit in quota.limits],
        spend=_from_sum(quota.spend),
        app_spend=None if quota.app_spend is None else _from_sum(quota.app_spend),
        budget=parsed(bot.budget, quota_pb2.Budget()),
        app_budget=None if app is None else parsed(app.budget, quota_pb2.Budget()),
        forecast=_from_forecast(quota.forecast),
        breaker=from_breaker(quota.breaker),
        next_post_time=from_time(quota.next_post_time),
        compute_time=from_time(quota.compute_time),
    )


def _from_limit(limit: Limit) -> quota_pb2.RateLimit:
    return quota_pb2.RateLimit(
        operation=limit.key.operation,
        scope=quota_pb2.RateLimitScope.Value(f"RATE_LIMIT_SCOPE_{limit.key.scope}"),
        limit=limit.calls,
        remaining=limit.left,
        reset_time=from_time(limit.reset_time),
        window=Duration(seconds=round(limit.key.length.total_seconds())),
        reported_by_x=limit.reported,
    )


def _from_sum(spend: Sum) -> quota_pb2.Spend:
    return quota_pb2.Spend(
        today_usd_micros=spend.today,
        month_usd_micros=spend.month,
        reserved_usd_micros=spend.reserved,
        calls_today=spend.calls_today,
    )


def _from_forecast(forecast: Forecast) -> quota_pb2.Forecast:
    return quota_pb2.Forecast(
        posts_today=forecast.posts_today,
        posts_month=forecast.posts_month,
        today_usd_micros=forecast.today,
        month_usd_micros=forecast.month,
        exhaust_time=from_time(forecast.exhaust_time),
    )
