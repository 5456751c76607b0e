"""X's rate limits: which there are, and what a window of one still allows.

A window is X's own as soon as X has named its end in an answer; until then it begins with the first call that is counted. It counts
what was reserved here and, if that is more, what X says was used (somebody may use the account beside us). What X says tightens what
is configured and never loosens it.

    left = min(configured, as X says) - max(reserved here, used as X says)

Pure. Sources: https://docs.x.com/x-api/fundamentals/rate-limits and the headers that posting has been seen to answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.bot_manager.domain.model import Bot
from services.bot_manager.domain.money import App, Tier, payer_of

QUARTER: Final = timedelta(minutes=15)
DAY: Final = timedelta(days=1)
SAME_END: Final = timedelta(seconds=2)
"""Ends of a window that differ by less are the same end: X names whole seconds."""
GRACE: Final = timedelta(minutes=1)
"""How far beyond a window's length its end may be said to be, by a clock that differs from ours."""
USED_UP: Final = 1_000_000_000
"""More calls than any window allows: X said that it is used up."""

USER, APP = "USER", "APP"

CallCount = Callable[[str, str, int], None]
"""Told of calls to X beside those that post: the bot, the operation, and how many units of it X charges for. Must not raise."""


def free_of_charge(bot_id: str, operation: str, units: int) -> None:
    """A CallCount that counts nothing."""


POST: Final = "POST /2/tweets"
OWN_POSTS: Final = "GET /2/users/:id/tweets"
LOOK_UP: Final = "GET /2/tweets"
WHO_AM_I: Final = "GET /2/users/me"
DELETE: Final = "DELETE /2/tweets/:id"
UPLOAD: Final = "POST /2/media/upload/:id/append"
ALT_TEXT: Final = "POST /2/media/metadata"


class Key(NamedTuple):
    """One window of one owner. `scope` is USER for a bot's account, APP for all bots of an app."""

    owner_id: str
    scope: str
    operation: str
    length: timedelta


class Limit(NamedTuple):
    """At most `calls` in a window of this length."""

    scope: str
    calls: int
    length: timedelta = QUARTER


LIMITS: Final[Mapping[str, tuple[Limit, ...]]] = {
    POST: (Limit(USER, 100), Limit(APP, 10_000, DAY)),
    OWN_POSTS: (Limit(USER, 900), Limit(APP, 10_000)),
    LOOK_UP: (Limit(USER, 5_000), Limit(APP, 3_500)),
    WHO_AM_I: (Limit(USER, 75),),
    DELETE: (Limit(USER, 50),),
    UPLOAD: (Limit(USER, 1_875), Limit(APP, 180_000, DAY)),
    ALT_TEXT: (Limit(USER, 500), Limit(APP, 50_000, DAY)),
}
"""Of pay per use."""
LEGACY: Final[Mapping[Tier, tuple[Limit, ...]]] = {
    Tier.FREE: (Limit(USER, 17, DAY), Limit(APP, 17, DAY)),
    Tier.BASIC: (Limit(USER, 100, DAY), Limit(APP, 1_667, DAY)),
}
"""Of POST in tiers that X no longer sells."""

PREFIXES: Final[Mapping[str, tuple[str, timedelta]]] = {
    "x-rate-limit": (USER, QUARTER),
    "x-user-limit-24hour": (USER, DAY),
    "x-app-limit-24hour": (APP, DAY),
}
"""Headers of an answer to a post, without their last word, and the window that each tells of."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is counted until `reset_time`. `x_limit` is what X last said that it allows, `reported` whether it named this very end."""

    used: int
    reset_time: datetime
    x_limit: int | None = None
    reported: bool = False

    def at(self, now: datetime, length: timedelta) -> "Window":
        """The window as it is now: the next one if this is over."""
        return self if now < self.reset_time else Window(0, now + length, self.x_limit)

    def limit(self, configured: int | None) -> int:
        """Calls allowed."""
        return min(one for one in (configured, self.x_limit, USED_UP) if one is not None)

    def left(self, configured: int | None) -> int:
        """Calls that are left."""
        return max(self.limit(configured) - self.used, 0)

    def plus(self, calls: int) -> "Window":
        """After reserving."""
        return replace(self, used=self.used + calls)


@dataclass(frozen=True, slots=True)
class Full:
    """A window that has no calls left. `calls` is how many it allows, 0 if that is not known."""

    key: Key
    calls: int
    reset_time: datetime
    reported: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What X said of a window. `x_limit` is None where it only said that the window is used up."""

    key: Key
    used: int
    reset_time: datetime
    x_limit: int | None = None

    def over(self, window: Window) -> Window:
        """The window after hearing it: never looser. A word about a window that is over changes nothing."""
        if window.reported and self.reset_time < window.reset_time - SAME_END:
            return window
        limit = window.x_limit if self.x_limit is None else self.x_limit
        return Window(max(window.used, self.used), self.reset_time, limit, True)

    def fills(self, window: Window | None) -> Full | None:
        """The window if it has no calls left by this word and had some, as far as `window` knows."""
        limit = self.x_limit
        if limit is None and window is not None:
            limit = window.x_limit
        if self.used < USED_UP and (limit is None or self.used < limit):
            return None
        full = Full(self.key, limit or 0, self.reset_time, True)
        if window is None or self.reset_time > window.reset_time + SAME_END:
            return full
        return full if window.left(None) else None

    def is_news(self, window: Window | None) -> bool:
        """Whether it may tell more than `window`, in which more may have been counted meanwhile."""
        if window is None or not window.reported:
            return True
        later = self.reset_time - window.reset_time
        if abs(later) > SAME_END:
            return later > SAME_END
        return self.used > window.used or self.x_limit not in (None, window.x_limit)


def limits_of(bot: Bot, app: App | None, operation: str, user_posts: int) -> dict[Key, int]:
    """What is configured for the bot's calls. `user_posts`: posts of one account in 15 minutes."""
    tier = Tier.PAY_PER_USE if app is None else app.tier
    found = {}
    for limit in LEGACY.get(tier, LIMITS[POST]) if operation == POST else LIMITS[operation]:
        calls = limit.calls
        if limit.scope == APP and app is None:
            continue
        if operation == POST and limit.scope == USER and limit.length == QUARTER:
            calls = user_posts
        if operation == POST and limit.scope == APP and app is not None:
            calls = int((app.limits or {}).get("posts_per_day", calls))
        found[key_of(bot, limit.scope, operation, limit.length)] = calls
    return found


def key_of(bot: Bot, scope: str, operation: str, length: timedelta) -> Key:
    """The bot's window, or that of all who pay with it."""
    return Key(bot.id if scope == USER else payer_of(bot), scope, operation, length)


def reports(bot_id: str, payer_id: str, headers: Mapping[str, str], now: datetime) -> Iterable[Report]:
    """What the headers of an answer to a post tell; nothing of windows that are over or that make no sense."""
    for prefix, (scope, length) in PREFIXES.items():
        numbers = [_number(headers.get(f"{prefix}-{word}")) for word in ("limit", "remaining", "reset")]
        limit, remaining, reset = numbers
        if limit is None or remaining is None or reset is None:
            continue
        reset_time = datetime.fromtimestamp(reset, UTC)
        if now < reset_time <= now + length + GRACE:
            key = Key(bot_id if scope == USER else payer_id, scope, POST, length)
            yield Report(key, max(limit - remaining, 0), reset_time, limit)


def used_up(bot_id: str, until: datetime) -> Report:
    """X refused a post because of a limit of the account, until then."""
    return Report(Key(bot_id, USER, POST, QUARTER), USED_UP, until)


def tightest(found: Iterable[Report]) -> dict[Key, Report]:
    """Several words about the same windows as one each: the latest window, and the most that was used of it."""
    merged: dict[Key, Report] = {}
    for report in found:
        known = merged.get(report.key)
        if known is None or known.reset_time < report.reset_time - SAME_END:
            merged[report.key] = report
        elif report.reset_time >= known.reset_time - SAME_END:
            later = max(known, report, key=lambda one: one.reset_time)
            limits = [one.x_limit for one in (known, report) if one.x_limit is not None]
            merged[report.key] = replace(
                later, used=max(known.used, report.used), x_limit=min(limits, default=None)
            )
    return merged


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 11 else None
