"""What administrators do about an account that is in trouble: another password, no more delay, no more sessions.

An administrator never chooses the password of somebody else: it is made up, shown once, good for a while, and opens nothing but its
change. Whoever sets it could sign in with it, so it is only set for those who hold no more.

What takes rights away is written to the feed of revocations in the same transaction, so that tokens given out before are refused
everywhere soon after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from loguru import logger

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, NotFound
from mesh.secret import Secret
from services.authentication.domain.events import PASSWORD_RESET_LOCALLY, Event
from services.authentication.domain.factor import otp_lane
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.names import normalise
from services.authentication.domain.passwords import PasswordPolicy, one_time_password
from services.authentication.domain.permissions import Giver
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.session import EndReason, Session
from services.authentication.domain.throttle import account_lane, devices_of
from services.authentication.domain.user import User, UserState
from services.authentication.store.ports import Store, Trail, Unit


@dataclass(frozen=True, slots=True)
class OneTimePassword:
    """A password that was made up for somebody. Shown once."""

    password: Secret
    expire_time: datetime


class Interventions:
    """The use cases. What ends here ends for good."""

    def __init__(
        self,
        store: Store,
        hashing: HashingPool,
        policy: Callable[[], PasswordPolicy],
        trail: Trail,
        clock: Clock,
    ) -> None:
        self._store = store
        self._hashing = hashing
        self._policy = policy
        self._trail = trail
        self._clock = clock

    async def reset_password(self, user_id: str, giver: Giver, *, disable_totp: bool) -> OneTimePassword:
        """A one-time password in place of the user's; the sessions end. Raises NotFound, PermissionDenied, ResourceExhausted."""
        self._trail.about(f"users/{user_id}")
        made, password_hash = await self._made_up()
        async with self._store.transaction() as unit:
            user = found(await unit.users.get(user_id, lock=True))
            giver.check_over(user_id, user.roles)
            await self._reset(unit, user, password_hash, made.expire_time, disable_totp=disable_totp)
        logger.bind(user_id=user_id, disable_totp=disable_totp).info("password reset")
        return made

    async def reset_password_locally(
        self, username: str, actor: str, *, disable_totp: bool
    ) -> OneTimePassword:
        """The same for whoever sits at the machine itself and needs no permission; `actor` is what the trail calls them.

        Raises NotFound, and FailedPrecondition (INVALID_STATE) for a disabled account, which a password would not open.
        """
        made, password_hash = await self._made_up()
        async with self._store.transaction() as unit:
            named = await unit.users.credentials_by_name(normalise(username))
            user = found(None if named is None else await unit.users.get(named.user.id, lock=True))
            if user.state is not UserState.ACTIVE:
                raise FailedPrecondition("INVALID_STATE", "the account is disabled")
            await unit.note(Event(PASSWORD_RESET_LOCALLY, f"users/{user.id}", actor=actor, warning=True))
            await self._reset(unit, user, password_hash, made.expire_time, disable_totp=disable_totp)
        return made

    async def unlock(self, user_id: str) -> User:
        """The user, whose account delays nobody any more; an address that has tried too many accounts still waits. Raises NotFound."""
        self._trail.about(f"users/{user_id}")
        async with self._store.transaction() as unit:
            user = found(await unit.users.get(user_id))
            await _forget_attempts(unit, user)
        logger.bind(user_id=user_id).info("failed sign-ins forgotten")
        return user

    async def list_sessions(self, user_id: str, before_id: str | None, limit: int) -> list[Session]:
        """The user's living sessions, newest first. Raises NotFound."""
        async with self._store.read() as unit:
            found(await unit.users.get(user_id))
            return await unit.sessions.list_living(user_id, self._clock.now(), before_id, limit)

    async def revoke_sessions(
        self, user_id: str, session_ids: Sequence[str], *, api_keys: bool
    ) -> tuple[int, int]:
        """End these sessions of the user, or all, and on request the API keys. How many of both were ended.

        Raises NotFound (USER_NOT_FOUND, SESSION_NOT_FOUND); then nothing is ended.
        """
        self._trail.about(f"users/{user_id}/sessions")
        now = self._clock.now()
        async with self._store.transaction() as unit:
            found(await unit.users.get(user_id, lock=True))
            if not {id_.lower() for id_ in session_ids} <= await unit.sessions.known(user_id, session_ids):
                raise NotFound("SESSION_NOT_FOUND", "no such session of this user")
            if session_ids:
                sessions = await unit.sessions.end_these(user_id, session_ids, EndReason.REVOKED, now)
            else:
                sessions = await unit.sessions.end_all([user_id], EndReason.REVOKED, now)
            keys = await unit.api_keys.revoke(user_id, now) if api_keys else ()
            await revoke(unit, now, sessions=sessions, keys=keys)
        logger.bind(user_id=user_id, sessions=len(sessions), api_keys=len(keys)).info("sessions revoked")
        return len(sessions), len(keys)

    async def revoke_all_sessions(self) -> int:
        """End every session of everybody, the caller's too. How many were ended."""
        self._trail.about("users/-/sessions")
        now = self._clock.now()
        async with self._store.transaction() as unit:
            users = await unit.sessions.users_with_living(now)
            await unit.users.revoke_tokens(users, now)
            ended = await unit.sessions.end_all(users, EndReason.REVOKED, now)
            await unit.revocations.add(RevocationKind.USER, users, now)
        logger.bind(sessions=len(ended), users=len(users)).warning("all sessions revoked")
        return len(ended)

    async def _made_up(self) -> tuple[OneTimePassword, str]:
        """A new one-time password, and its hash."""
        made = OneTimePassword(one_time_password(), self._clock.now() + self._policy().one_time_lifetime)
        with self._hashing.place() as place:
            return made, await place.hash(made.password)

    async def _reset(
        self, unit: Unit, user: User, password_hash: str, expire: datetime, *, disable_totp: bool
    ) -> None:
        now = self._clock.now()
        await unit.users.reset_password(user.id, password_hash, expire, now)
        if disable_totp:
            await unit.second_factors.delete(user.id)
        sessions = await unit.sessions.end(user.id, EndReason.PASSWORD_RESET, now)
        await _forget_attempts(unit, user)  # whoever needs help has tried before
        await unit.users.revoke_tokens([user.id], now)
        await revoke(unit, now, sessions=sessions, users=[user.id])


def found(user: User | None) -> User:
    """The user. Raises NotFound if there is none."""
    if user is None:
        raise NotFound("USER_NOT_FOUND", "no such user")
    return user


async def _forget_attempts(unit: Unit, user: User) -> None:
    """Of strangers and of the user's own devices, and wrong codes; what an address did to all accounts together stays counted."""
    await unit.attempts.forget(otp_lane(user.id))
    await unit.attempts.forget(account_lane(user.username))
    await unit.attempts.forget(devices_of(user.username))


async def revoke(
    unit: Unit,
    now: datetime,
    *,
    sessions: Sequence[str] = (),
    users: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> None:
    """Write to the feed. Last in a transaction, since it holds the feed's lock. API keys that still live are named too, so that
    services ask for them anew."""
    await unit.revocations.add(RevocationKind.SESSION, sessions, now)
    await unit.revocations.add(RevocationKind.USER, users, now)
    await unit.revocations.add(RevocationKind.API_KEY, keys, now)
