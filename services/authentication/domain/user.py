"""A user as the rules see it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from mesh.errors import Aborted

ADMIN_ROLE: Final = "admin"
FIRST_USERNAME: Final = "admin"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class UserState(StrEnum):
    """ACTIVE ⇄ DISABLED. Text as stored, and as the contract's enum without its prefix."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class User:
    """An account, without its password hash. `version` counts changes that people see; signing in is not one."""

    id: str
    username: str
    display_name: str
    email: str
    roles: tuple[str, ...]
    state: UserState
    password_change_required: bool
    version: int
    create_time: datetime
    update_time: datetime
    last_sign_in_time: datetime | None = None
    tokens_revoke_time: datetime | None = None
    """Access tokens issued at or before it are refused everywhere."""
    totp_enrolled: bool = False
    """Whether sign-in asks for a second factor."""
    throttled_until_time: datetime | None = None
    """Filled where administrators look at accounts; the count of attempts is not part of the account."""

    @property
    def etag(self) -> str:
        """Opaque version for the contract: base 36."""
        number, text = self.version, ""
        while number:
            number, digit = divmod(number, 36)
            text = _DIGITS[digit] + text
        return text or "0"

    @property
    def token_roles(self) -> tuple[str, ...]:
        """Roles for access tokens: none until a one-time password is changed, so that such a token opens only the own account."""
        return () if self.password_change_required else self.roles

    @property
    def is_active_admin(self) -> bool:
        return self.state is UserState.ACTIVE and ADMIN_ROLE in self.roles

    def revoked(self, issued_at: int) -> bool:
        """Whether an access token issued at that time, in Unix seconds, was revoked."""
        return self.tokens_revoke_time is not None and issued_at <= int(self.tokens_revoke_time.timestamp())

    def check_etag(self, etag: str) -> None:
        """Raises Aborted if `etag` is given and not the current one."""
        if etag and etag != self.etag:
            raise Aborted("ETAG_MISMATCH", "the user was changed meanwhile; read it again and repeat")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against. `password_version` counts new passwords, not new hashes of the same one."""

    user: User
    password_hash: str
    password_version: int
    password_expire_time: datetime | None = None
    """End of a one-time password that somebody else has set."""

    def may_sign_in(self, now: datetime) -> bool:
        """Whether the right password opens the account at `now`."""
        lapsed = self.password_expire_time is not None and now >= self.password_expire_time
        return self.user.state is UserState.ACTIVE and not lapsed
