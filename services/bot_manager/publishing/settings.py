"""Run-time settings of publishing, and what is made of them at the time of use.

A lease must outlast a call to X with room to spare, and the settle window a lease: where the values contradict that, lease and window are
taken longer, never the call shorter.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mesh.configuration import SettingDefinition, SettingsView
from services.bot_manager.domain.reconciling import Window
from services.bot_manager.domain.retry import Rules


def _seconds(
    key: str, default: float, least: float, most: float, description: str
) -> SettingDefinition[float]:
    return SettingDefinition(
        key=f"bot_manager.publish.{key}",
        default=default,
        json_schema={"type": "number", "minimum": least, "maximum": most},
        description=description,
        unit="seconds",
    )


def _count(
    key: str, default: int, least: int, most: int, unit: str, description: str, *, restart: bool = False
) -> SettingDefinition[int]:
    return SettingDefinition(
        key=f"bot_manager.publish.{key}",
        default=default,
        json_schema={"type": "integer", "minimum": least, "maximum": most},
        description=description,
        unit=unit,
        restart_required=restart,
    )


ENABLED: Final = SettingDefinition[bool](
    key="bot_manager.publish.enabled",
    default=True,
    json_schema={"type": "boolean"},
    description="The kill switch for everything: off, no call to X begins for any post of any bot; due posts wait and say so.",
)
MAX_ATTEMPTS: Final = _count(
    "max_attempts",
    8,
    1,
    100,
    "attempts",
    "How often one part may fail to reach X, surely unsent, before the post is FAILED. Refusals for now do not count. After as many calls of unknown outcome a person is asked, whatever the bot's policy.",
)
REQUEST_TIMEOUT: Final = _seconds(
    "request_timeout",
    10,
    1,
    60,
    "How long a call to X may take; one without an answer by then is of unknown outcome.",
)
LEASE: Final = _seconds(
    "lease",
    60,
    5,
    600,
    "How long a worker may hold a post without a sign of life. Then it goes out again if X was not called, else its outcome is unknown.",
)
MAX_IN_FLIGHT: Final = _count(
    "max_in_flight", 500, 1, 2000, "posts", "Posts that one process sends at a time.", restart=True
)
MAX_CLAIMED: Final = _count(
    "max_claimed",
    2000,
    1,
    100_000,
    "posts",
    "Posts that all workers together may hold; further due ones wait unclaimed, so that no lease ends in a queue.",
)
TICK: Final = _seconds(
    "tick",
    1,
    0.05,
    60,
    "Longest pause between looks for due posts. A due time that is known ahead is met exactly; this bounds what other replicas accept.",
)
OVERDUE_ALARM: Final = _seconds(
    "overdue_alarm",
    60,
    1,
    86_400,
    "How late the oldest waiting post of an active bot may be before health says so.",
)
FIRST_RETRY: Final = _seconds(
    "first_retry", 2, 0.05, 600, "Pause after the first failure to reach X; doubles from then on."
)
LONGEST_RETRY: Final = _seconds(
    "longest_retry", 300, 1, 86_400, "Longest pause between two attempts to reach X."
)
SETTLE: Final = _seconds(
    "settle", 10, 0, 3600, "How long after a call of unknown outcome the account is read for the first time."
)
SETTLE_WINDOW: Final = _seconds(
    "settle_window",
    600,
    1,
    86_400,
    "How long after a call of unknown outcome X may take to show the post. Only then nothing found means that it is not there.",
)
CREDITS_PAUSE: Final = _seconds(
    "credits_pause",
    900,
    1,
    86_400,
    "How long no post of an app is tried after X said that its credits are used up (402).",
)

DEFINITIONS: Final = (
    ENABLED,
    MAX_ATTEMPTS,
    REQUEST_TIMEOUT,
    LEASE,
    MAX_IN_FLIGHT,
    MAX_CLAIMED,
    TICK,
    OVERDUE_ALARM,
    FIRST_RETRY,
    LONGEST_RETRY,
    SETTLE,
    SETTLE_WINDOW,
    CREDITS_PAUSE,
)


class Publish(SettingsView):
    """The settings as they are read, all of one snapshot."""

    enabled = ENABLED
    max_attempts = MAX_ATTEMPTS
    request_timeout = REQUEST_TIMEOUT
    lease = LEASE
    max_in_flight = MAX_IN_FLIGHT
    max_claimed = MAX_CLAIMED
    tick = TICK
    overdue_alarm = OVERDUE_ALARM
    first_retry = FIRST_RETRY
    longest_retry = LONGEST_RETRY
    settle = SETTLE
    settle_window = SETTLE_WINDOW
    credits_pause = CREDITS_PAUSE


LEAST_SLACK: Final = timedelta(seconds=5)
"""What a lease has beyond one call: for writing its outcome."""
LONGEST_SLICE: Final = timedelta(minutes=1)
"""Credentials that are lent last long enough for it."""


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """The values in force at one moment."""

    rules: Rules
    request_timeout: timedelta
    lease: timedelta
    tick: timedelta
    overdue_alarm: timedelta
    max_claimed: int
    enabled: bool = True
    settle_window: timedelta = timedelta(minutes=10)

    @property
    def window(self) -> Window:
        """When accounts are looked at."""
        return Window(self.rules.settle, max(self.settle_window, self.rules.settle))

    @property
    def upload_slice(self) -> timedelta:
        """How long media may be sent to X at a time while a post is held; half of the lease is then left for the post itself."""
        return min(self.lease / 2, LONGEST_SLICE)

    @classmethod
    def of(cls, settings: Publish) -> "PublishSettings":
        """What follows from the values of one snapshot."""
        request_timeout = timedelta(seconds=settings.request_timeout)
        first_retry = timedelta(seconds=settings.first_retry)
        lease = max(timedelta(seconds=settings.lease), request_timeout * 2 + LEAST_SLACK)
        return cls(
            rules=Rules(
                max_attempts=settings.max_attempts,
                first_retry=first_retry,
                longest_retry=max(timedelta(seconds=settings.longest_retry), first_retry),
                settle=timedelta(seconds=settings.settle),
                credits_pause=timedelta(seconds=settings.credits_pause),
            ),
            request_timeout=request_timeout,
            lease=lease,
            tick=timedelta(seconds=settings.tick),
            overdue_alarm=timedelta(seconds=settings.overdue_alarm),
            max_claimed=settings.max_claimed,
            enabled=settings.enabled,
            # A replica whose clock is ahead ends leases early: their holders may call X as long as a lease lasts.
            settle_window=max(timedelta(seconds=settings.settle_window), lease),
        )
