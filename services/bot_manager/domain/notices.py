"""What people hear of money and limits, in the words of the contract. Pure.

Documents are in ProtoJSON with the contract's own field names: BudgetUse, CircuitBreaker, RateLimit.
"""

from datetime import timedelta
from typing import Final

from services.bot_manager.domain import happenings
from services.bot_manager.domain.happenings import Happening
from services.bot_manager.domain.limits import USER, Full
from services.bot_manager.domain.model import Document
from services.bot_manager.domain.money import Breaker, Budget
from services.bot_manager.domain.quota import Sum
from services.bot_manager.domain.reserving import Crossing, dollars
from services.bot_manager.domain.story import time_text

HOUR: Final = timedelta(hours=1)


def of_crossing(crossing: Crossing, spend: Sum) -> Happening:
    """A budget that warns, or is used up; `spend` is what its owner has spent by then."""
    owner = {"app_id" if crossing.of_app else "bot_id": crossing.owner_id}
    whose = "the app's" if crossing.of_app else "the bot's"
    budget, use = crossing.budget, _budget_use(crossing, spend)
    share = int(budget.share(crossing.used) * 100)
    if crossing.exhausted:
        message = f"{whose} budget is used up: {_spent(spend)}"
        return happenings.budget_exhausted(message, use, **owner)
    message = f"{whose} budget is used to {share} %: {_spent(spend)}"
    return happenings.budget_warning(message, use, **owner)


def of_opening(breaker: Breaker, *, of_app: bool) -> Happening:
    """Calls that were stopped; of an app, or of a bot that has none."""
    whose = "the app" if of_app else "the bot"
    document = {
        "open": True,
        "reason": breaker.reason,
        "message": breaker.message,
        "open_time": time_text(breaker.open_time),
        "retry_time": time_text(breaker.retry_time),
    }
    message = f"calls of {whose} to X are stopped: {breaker.message}"
    bot_id, app_id = _owner(breaker.owner_id, of_app=of_app)
    return happenings.breaker_opened(app_id, message, document, bot_id=bot_id)


def of_closing(owner_id: str, *, of_app: bool) -> Happening:
    """Calls that go on."""
    bot_id, app_id = _owner(owner_id, of_app=of_app)
    message = f"calls of {'the app' if of_app else 'the bot'} to X go on"
    return happenings.breaker_closed(app_id, message, {"open": False}, bot_id=bot_id)


def of_limit(full: Full, *, of_app: bool) -> Happening:
    """A window without calls left. `of_app`: its owner is an app, not a bot."""
    key = full.key
    whose = "the account" if key.scope == USER else "the app"
    hours, minutes = divmod(key.length, HOUR)
    length = f"{hours} hours" if hours else f"{minutes // timedelta(minutes=1)} minutes"
    count = f"its {full.calls} calls" if full.calls else "its calls"
    message = f"{whose} has used up {count} of {key.operation} in {length}; more go from {time_text(full.reset_time)} on"
    document = {
        "operation": key.operation,
        "scope": f"RATE_LIMIT_SCOPE_{key.scope}",
        "limit": full.calls,
        "remaining": 0,
        "reset_time": time_text(full.reset_time),
        "window": f"{round(key.length.total_seconds())}s",
        "reported_by_x": full.reported,
    }
    bot_id, app_id = _owner(key.owner_id, of_app=of_app)
    return happenings.rate_limit_reached(message, document, bot_id=bot_id, app_id=app_id)


def _owner(owner_id: str, *, of_app: bool) -> tuple[str, str]:
    """The bot's id and the app's, one of them empty."""
    return ("", owner_id) if of_app else (owner_id, "")


def _spent(spend: Sum) -> str:
    return f"{dollars(spend.today)} today, {dollars(spend.month)} this month"


def _budget_use(crossing: Crossing, spend: Sum) -> Document:
    return {
        "budget": _budget(crossing.budget),
        "spend": {
            "today_usd_micros": str(spend.today),
            "month_usd_micros": str(spend.month),
            "reserved_usd_micros": str(spend.reserved),
            "calls_today": spend.calls_today,
        },
        "of_app": crossing.of_app,
    }


def _budget(budget: Budget) -> Document:
    limits = {"daily_usd_micros": budget.daily, "monthly_usd_micros": budget.monthly}
    told = {name: str(limit) for name, limit in limits.items() if limit is not None}
    return {**told, "warn_percent": budget.warn_percent}
