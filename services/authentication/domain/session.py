"""A session: a user's presence on one device, and the family of its refresh tokens.

The session's row is the lock of its family: whoever rotates, supersedes or ends goes through it, so no order of events gives two
refresh tokens that both live.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

MAX_USER_AGENT_CHARS: Final = 256
MAX_ADDRESS_CHARS: Final = 64


class EndReason(StrEnum):
    """Why a session ended before its time. Text as stored."""

    LOGOUT = "LOGOUT"
    REVOKED = "REVOKED"
    TOKEN_REUSED = "TOKEN_REUSED"  # noqa: S105 - a reason, not a token
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - a reason, not a password
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a reason, not a password
    USER_DISABLED = "USER_DISABLED"
    EVICTED = "EVICTED"
    SECOND_FACTOR_CHANGED = "SECOND_FACTOR_CHANGED"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The numbers in force."""

    access_token: timedelta = timedelta(minutes=5)
    idle: timedelta = timedelta(days=7)
    """A session that is not refreshed for so long ends."""
    session: timedelta = timedelta(days=30)
    """A session ends after so long, however busy."""
    max_per_user: int = 100
    """Sessions that one user may have; one more ends the oldest."""


@dataclass(frozen=True, slots=True)
class Client:
    """The other end, as it says of itself (`user_agent`) and as the gateway sees it (`address`)."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One session that was started; whether it still lives depends on `end_time` and the clock."""

    id: str
    user_id: str
    user_agent: str
    address: str
    create_time: datetime
    last_use_time: datetime
    idle_expire_time: datetime
    expire_time: datetime
    authenticate_time: datetime
    """When the password was last proved in it."""
    end_time: datetime | None = None
    second_factor_time: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Whether its tokens hold at `now`."""
        return self.end_time is None and now < self.idle_expire_time and now < self.expire_time


def begin(session_id: str, user_id: str, client: Client, lifetimes: Lifetimes, now: datetime) -> Session:
    """A session that starts at `now`."""
    end = now + lifetimes.session
    return Session(
        id=session_id,
        user_id=user_id,
        user_agent=client.user_agent[:MAX_USER_AGENT_CHARS],
        address=client.address[:MAX_ADDRESS_CHARS],
        create_time=now,
        last_use_time=now,
        idle_expire_time=min(end, now + lifetimes.idle),
        expire_time=end,
        authenticate_time=now,
    )
