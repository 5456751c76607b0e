"""Whether X may be called for a bot right now: the doors that X itself has closed, as this process heard.

A limit that one post met holds back the bot's others, and used-up credits those of the whole app, so that a closed door is not knocked
at once for every post. This is the short way, in memory: what decides for all replicas, also after a restart, stands in the database and
is asked when an intent is written (`domain/reserving.py`).
"""

from datetime import datetime

from services.bot_manager.domain.model import Bot
from services.bot_manager.domain.retry import Hold, Scope

Key = tuple[Scope, str]


class Gate:
    """The holds in force."""

    def __init__(self) -> None:
        self._holds: dict[Key, Hold] = {}

    def close(self, bot: Bot, hold: Hold) -> None:
        """Hold back until `hold.until`; an earlier hold that lasts longer stays."""
        key = _key(bot, hold.scope)
        known = self._holds.get(key)
        if known is None or known.until < hold.until:
            self._holds[key] = hold

    def hold(self, bot: Bot, now: datetime) -> Hold | None:
        """The hold that lasts longest for this bot; None if it may call."""
        holds = [self._holds.get(_key(bot, scope)) for scope in Scope]
        return max(
            (hold for hold in holds if hold is not None and hold.until > now),
            key=lambda hold: hold.until,
            default=None,
        )

    def reopen(self, bot_id: str) -> None:
        """Forget the bot's own hold: it has new credentials."""
        self._holds.pop((Scope.BOT, bot_id), None)

    def sweep(self, now: datetime) -> None:
        """Forget what is over."""
        self._holds = {key: hold for key, hold in self._holds.items() if hold.until > now}


def _key(bot: Bot, scope: Scope) -> Key:
    # A bot without an app stands for itself.
    return (Scope.APP, bot.app_id) if scope is Scope.APP and bot.app_id else (Scope.BOT, bot.id)
