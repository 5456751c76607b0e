"""What can happen in the fleet beside the stories of posts, one function each, so that a kind of event looks the same wherever it is told.

Pure. The messages are sentences for people; `detail` is the contract's `detail` of Event in ProtoJSON with its own field names, so one
key names its kind. What happens to a post is told by its story: `POST_CREATED`, `POST_UPDATED` and `POST_STATE_CHANGED` are made of it.
"""

from dataclasses import dataclass
from enum import StrEnum

from services.bot_manager.domain.model import Bot, Document, StateDetail
from services.bot_manager.domain.story import time_text


class EventType(StrEnum):
    """See the contract's EventType."""

    BOT_CREATED = "BOT_CREATED"
    BOT_UPDATED = "BOT_UPDATED"
    BOT_STATE_CHANGED = "BOT_STATE_CHANGED"
    BOT_DELETED = "BOT_DELETED"
    CREDENTIALS_CHANGED = "CREDENTIALS_CHANGED"
    POST_CREATED = "POST_CREATED"
    POST_UPDATED = "POST_UPDATED"
    POST_STATE_CHANGED = "POST_STATE_CHANGED"
    POST_DELETED = "POST_DELETED"
    SCHEDULE_CREATED = "SCHEDULE_CREATED"
    SCHEDULE_UPDATED = "SCHEDULE_UPDATED"
    SCHEDULE_DELETED = "SCHEDULE_DELETED"
    OCCURRENCE_SKIPPED = "OCCURRENCE_SKIPPED"
    APP_CHANGED = "APP_CHANGED"
    MEDIA_STATE_CHANGED = "MEDIA_STATE_CHANGED"
    STATISTICS_REFRESHED = "STATISTICS_REFRESHED"
    RATE_LIMIT_REACHED = "RATE_LIMIT_REACHED"
    BUDGET_WARNING = "BUDGET_WARNING"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    CIRCUIT_BREAKER_OPENED = "CIRCUIT_BREAKER_OPENED"
    CIRCUIT_BREAKER_CLOSED = "CIRCUIT_BREAKER_CLOSED"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"
    WEBHOOK_TEST = "WEBHOOK_TEST"


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, before it is stored. `actor` empty: whoever makes the call that is being served, else the service."""

    type: EventType
    message: str
    bot_id: str = ""
    post_id: str = ""
    schedule_id: str = ""
    app_id: str = ""
    media_id: str = ""
    webhook_id: str = ""
    actor: str = ""
    detail: Document | None = None


def bot_created(bot: Bot) -> Happening:
    """A bot was made."""
    return Happening(
        EventType.BOT_CREATED, f"@{bot.handle} was made", bot.id, app_id=bot.app_id, actor=bot.creator
    )


def bot_deleted(bot: Bot) -> Happening:
    """A bot is gone with all that it had."""
    return Happening(EventType.BOT_DELETED, f"@{bot.handle} was deleted", bot.id, app_id=bot.app_id)


def bot_changed(before: Bot, after: Bot) -> tuple[Happening, ...]:
    """What one write of a bot comes to: its state, its credentials, any other field; nothing if nothing changed."""
    found = []
    if after.state is not before.state:
        found.append(_bot_state(before, after))
    old, new = before.credentials, after.credentials
    if new is not None and (old is None or old.version != new.version):
        message = f"new credentials of @{after.handle} were stored"
        found.append(Happening(EventType.CREDENTIALS_CHANGED, message, after.id, app_id=after.app_id))
    if _described(before) != _described(after):
        message = f"@{after.handle} was changed"
        found.append(Happening(EventType.BOT_UPDATED, message, after.id, app_id=after.app_id))
    return tuple(found)


def post_deleted(bot_id: str, post_id: str) -> Happening:
    """A post is gone with its story."""
    return Happening(EventType.POST_DELETED, "the post was deleted", bot_id, post_id)


def schedule_created(bot_id: str, schedule_id: str, name: str) -> Happening:
    """A schedule was made; `name` is what people call it."""
    return Happening(
        EventType.SCHEDULE_CREATED, f"the schedule {name} was made", bot_id, schedule_id=schedule_id
    )


def schedule_updated(bot_id: str, schedule_id: str, message: str) -> Happening:
    """A schedule was changed, paused or resumed; `message` says which."""
    return Happening(EventType.SCHEDULE_UPDATED, message, bot_id, schedule_id=schedule_id)


def schedule_deleted(bot_id: str, schedule_id: str, name: str) -> Happening:
    """A schedule is gone."""
    return Happening(
        EventType.SCHEDULE_DELETED, f"the schedule {name} was deleted", bot_id, schedule_id=schedule_id
    )


def occurrence_skipped(bot_id: str, schedule_id: str, message: str) -> Happening:
    """A schedule made no post of an occurrence; `message` names the time and says why."""
    return Happening(EventType.OCCURRENCE_SKIPPED, message, bot_id, schedule_id=schedule_id)


def app_changed(app_id: str, message: str) -> Happening:
    """An app was made, changed or deleted; `message` says which."""
    return Happening(EventType.APP_CHANGED, message, app_id=app_id)


def breaker_opened(app_id: str, message: str, breaker: Document, *, bot_id: str = "") -> Happening:
    """All calls of an app were stopped, or of a bot that has none. `breaker` is the contract's CircuitBreaker."""
    return Happening(
        EventType.CIRCUIT_BREAKER_OPENED, message, bot_id, app_id=app_id, detail={"breaker": dict(breaker)}
    )


def breaker_closed(app_id: str, message: str, breaker: Document, *, bot_id: str = "") -> Happening:
    """Calls of an app are allowed again, or of a bot that has none. `breaker` is the contract's CircuitBreaker."""
    return Happening(
        EventType.CIRCUIT_BREAKER_CLOSED, message, bot_id, app_id=app_id, detail={"breaker": dict(breaker)}
    )


def budget_warning(message: str, use: Document, *, bot_id: str = "", app_id: str = "") -> Happening:
    """A budget has passed the percentage at which it warns. `use` is the contract's BudgetUse."""
    return Happening(EventType.BUDGET_WARNING, message, bot_id, app_id=app_id, detail={"budget": dict(use)})


def budget_exhausted(message: str, use: Document, *, bot_id: str = "", app_id: str = "") -> Happening:
    """A budget is used up. `use` is the contract's BudgetUse."""
    return Happening(EventType.BUDGET_EXHAUSTED, message, bot_id, app_id=app_id, detail={"budget": dict(use)})


def rate_limit_reached(message: str, limit: Document, *, bot_id: str = "", app_id: str = "") -> Happening:
    """A limit of X is used up. `limit` is the contract's RateLimit."""
    return Happening(
        EventType.RATE_LIMIT_REACHED, message, bot_id, app_id=app_id, detail={"rate_limit": dict(limit)}
    )


def media_state_changed(
    media_id: str, before: str, after: str, message: str, *, bot_id: str = ""
) -> Happening:
    """A medium went from one state to another; states are the contract's MediaState without prefix."""
    steps = {"from_state": f"MEDIA_STATE_{before}", "to_state": f"MEDIA_STATE_{after}"}
    return Happening(
        EventType.MEDIA_STATE_CHANGED, message, bot_id, media_id=media_id, detail={"media_state": steps}
    )


def statistics_refreshed(bot_id: str, count: int) -> Happening:
    """Fresh counters of so many posts of a bot are stored."""
    noun = "post" if count == 1 else "posts"
    return Happening(EventType.STATISTICS_REFRESHED, f"fresh statistics of {count} {noun} are stored", bot_id)


def webhook_disabled(webhook_id: str, message: str) -> Happening:
    """A webhook is called no longer; `message` says why."""
    return Happening(EventType.WEBHOOK_DISABLED, message, webhook_id=webhook_id)


def _bot_state(before: Bot, after: Bot) -> Happening:
    detail = after.state_detail
    because = f": {detail.message}" if detail.message else ""
    return Happening(
        EventType.BOT_STATE_CHANGED,
        f"@{after.handle} went from {before.state} to {after.state}{because}",
        after.id,
        app_id=after.app_id,
        actor=detail.actor,
        detail={
            "bot_state": {
                "from_state": f"BOT_STATE_{before.state}",
                "to_state": f"BOT_STATE_{after.state}",
                "detail": _state_detail(detail),
            }
        },
    )


def _state_detail(detail: StateDetail) -> Document:
    told = {"reason": detail.reason, "message": detail.message, "actor": detail.actor}
    return told if detail.time is None else told | {"time": time_text(detail.time)}


def _described(bot: Bot) -> tuple[object, ...]:
    """What people say of a bot, and whose account it is."""
    return (
        bot.handle,
        bot.display_name,
        bot.time_zone,
        bot.language,
        bot.app_id,
        bot.x_user_id,
        bot.labels,
        bot.automation,
        bot.policy,
        bot.budget,
        bot.slots,
    )
