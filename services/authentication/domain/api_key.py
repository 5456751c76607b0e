"""An API key as stored: what it may be used for and how long. The key itself is kept nowhere, only its hash.

ACTIVE ──revoked──▶ REVOKED
   └────time──────▶ EXPIRED        no way back
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mesh.errors import InvalidArgument
from mesh.secret import Secret
from services.authentication.domain.permissions import covers
from services.authentication.domain.user import User

PREFIX_CHARS: Final = 12
DEFAULT_LIFETIME: Final = timedelta(days=90)
LONGEST_LIFETIME: Final = timedelta(days=366)
USE_INTERVAL: Final = timedelta(seconds=30)
"""Uses are noted this often at most; readers are promised a minute."""


class ApiKeyState(StrEnum):
    """Whether a key can be used. Text as the contract's enum without its prefix."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class KeyRules:
    """The numbers in force."""

    max_per_user: int = 100
    """Keys in force that one user may have."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key that was made."""

    id: str
    user_id: str
    display_name: str
    permissions: tuple[str, ...]
    prefix: str
    """First characters of the key, by which people tell keys apart."""
    create_time: datetime
    expire_time: datetime
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None

    def state(self, now: datetime) -> ApiKeyState:
        """Whether it can be used at `now`, as far as the key itself is concerned."""
        if self.revoke_time is not None:
            return ApiKeyState.REVOKED
        return ApiKeyState.ACTIVE if now < self.expire_time else ApiKeyState.EXPIRED


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What a new key is to be."""

    display_name: str
    permissions: tuple[str, ...]
    expire_time: datetime | None = None
    """None: after DEFAULT_LIFETIME."""


@dataclass(frozen=True, slots=True)
class MadeApiKey:
    """A key that was made, by this request or by an earlier copy of it."""

    api_key: ApiKey
    key: Secret | None
    """The key itself; None if an earlier request has shown it."""


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """What a good key stands for."""

    api_key: ApiKey
    owner: User


def checked_expire_time(expire_time: datetime | None, now: datetime) -> datetime:
    """When a new key ends. Raises InvalidArgument (TIME_IN_PAST, INVALID_FIELD)."""
    if expire_time is None:
        return now + DEFAULT_LIFETIME
    if expire_time <= now:
        raise InvalidArgument("TIME_IN_PAST", "expire_time must be in the future", field="expire_time")
    if expire_time > now + LONGEST_LIFETIME:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"expire_time must be at most {LONGEST_LIFETIME.days} days away",
            field="expire_time",
        )
    return expire_time


def limited(held: Collection[str], scope: Collection[str]) -> frozenset[str]:
    """What of `held` is within `scope`, wildcards on either side unexpanded: {"*"} within {"bots.*"} is {"bots.*"}."""
    return frozenset(
        [permission for permission in scope if covers(held, permission)]
        + [permission for permission in held if covers(scope, permission)]
    )
