"""Accounts, as administrators see them.

Writers of accounts stand in line (`lock_accounts`), so that "at least one active administrator" and "a name once" hold whatever
happens side by side. Nobody gives a role that grants more than they hold, nor wakes up an account that does. What takes rights away
is written to the feed of revocations in the same transaction. See `domain.interventions` for accounts in trouble.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.filters import Condition
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import found, revoke
from services.authentication.domain.names import normalise_new
from services.authentication.domain.passwords import PasswordPolicy
from services.authentication.domain.permissions import Giver
from services.authentication.domain.session import EndReason
from services.authentication.domain.throttle import account_lane
from services.authentication.domain.user import User, UserState
from services.authentication.store.ports import Remembered, Store, Trail, Unit

CREATE: Final = "CreateUser"


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a new account is to be."""

    username: str
    password: Secret
    display_name: str = ""
    email: str = ""
    roles: tuple[str, ...] = ()
    password_change_required: bool = False


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A create that may come again: the client's id, who sent it, and a keyed digest of all of it."""

    request_id: str
    actor: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class UserChange:
    """What is to change; None leaves a field as it is. `etag` empty: whatever the version."""

    display_name: str | None = None
    email: str | None = None
    roles: tuple[str, ...] | None = None
    state: UserState | None = None
    etag: str = ""

    def apply(self, user: User) -> User:
        """The user with the changes, version and times untouched."""
        return replace(
            user,
            display_name=user.display_name if self.display_name is None else self.display_name,
            email=user.email if self.email is None else self.email,
            roles=user.roles if self.roles is None else tuple(sorted(self.roles)),
            state=user.state if self.state is None else self.state,
        )


class Accounts:
    """The use cases of administrators."""

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

    async def create(self, new: NewUser, giver: Giver, key: RequestKey | None) -> User:
        """A new account. Raises InvalidArgument, NotFound, PermissionDenied, AlreadyExists (USERNAME_TAKEN), ResourceExhausted,
        FailedPrecondition (PASSWORD_REFUSED)."""
        name = normalise_new(new.username)
        self._policy().check_new(new.password, "password", name, new.display_name)
        giver.check(new.roles)
        with self._hashing.place() as place:
            password_hash = await place.hash(new.password)
        now = self._clock.now()
        user = User(
            id=new_id(),
            username=name,
            display_name=new.display_name,
            email=new.email,
            roles=tuple(sorted(new.roles)),
            state=UserState.ACTIVE,
            password_change_required=new.password_change_required,
            version=1,
            create_time=now,
            update_time=now,
        )
        async with self._store.transaction() as unit:
            await unit.lock_accounts()
            before = await self._earlier(unit, key)
            if before is not None:
                return before
            self._trail.about(f"users/{user.id}")
            if not await unit.users.insert(user, password_hash):
                raise AlreadyExists("USERNAME_TAKEN", "another user has this name", field="username")
            if key is not None:
                what = Remembered(key.fingerprint, user.id)
                await unit.idempotency.remember(key.request_id, CREATE, key.actor, what, now)
        logger.bind(user_id=user.id).info("user created")
        return user

    async def get(self, user_id: str) -> User:
        """The user, with the delay that strangers have caused. Raises NotFound."""
        async with self._store.read() as unit:
            (user,) = await self._throttled(unit, [found(await unit.users.get(user_id))])
        return user

    async def list(
        self, conditions: Sequence[Condition], before_id: str | None, limit: int
    ) -> Sequence[User]:
        """Newest first, with the delays that strangers have caused."""
        async with self._store.read() as unit:
            return await self._throttled(unit, await unit.users.list(conditions, before_id, limit))

    async def update(self, user_id: str, change: UserChange, giver: Giver) -> User:
        """The user as changed. Raises NotFound, Aborted (ETAG_MISMATCH), FailedPrecondition (LAST_ADMINISTRATOR), PermissionDenied."""
        self._trail.about(f"users/{user_id}")
        async with self._store.transaction() as unit:
            await unit.lock_accounts()
            before = found(await unit.users.get(user_id, lock=True))
            after = change.apply(before)
            if after == before:
                return before
            before.check_etag(change.etag)
            giver.check(_given(before, after))
            await _keep_an_admin(unit, before, after)
            after = replace(after, version=before.version + 1, update_time=self._clock.now())
            await unit.users.update(after)
            await self._take_away(unit, before, after)
        logger.bind(user_id=user_id).info("user changed")
        return after

    async def delete(self, user_id: str, etag: str) -> None:
        """Remove the account for good. Raises NotFound, Aborted (ETAG_MISMATCH), FailedPrecondition (LAST_ADMINISTRATOR)."""
        self._trail.about(f"users/{user_id}")
        async with self._store.transaction() as unit:
            await unit.lock_accounts()
            user = found(await unit.users.get(user_id, lock=True))
            user.check_etag(etag)
            await _keep_an_admin(unit, user, None)
            now = self._clock.now()
            sessions = await unit.sessions.end(user_id, EndReason.USER_DISABLED, now)
            keys = await unit.api_keys.active(user_id, now)
            await unit.users.delete(user_id)
            await revoke(unit, now, sessions=sessions, users=[user_id], keys=keys)
        logger.bind(user_id=user_id).info("user deleted")

    async def _take_away(self, unit: Unit, before: User, after: User) -> None:
        """What a change of the account does to tokens and sessions that were given out before."""
        now = after.update_time
        disabled = after.state is UserState.DISABLED and before.state is not UserState.DISABLED
        if after.roles == before.roles and not disabled:
            return
        await unit.users.revoke_tokens([after.id], now)
        sessions = await unit.sessions.end(after.id, EndReason.USER_DISABLED, now) if disabled else ()
        # The user's entry makes services ask for the API keys anew; entries of their own would outlive a change of mind.
        await revoke(unit, now, sessions=sessions, users=[after.id])

    async def _throttled(self, unit: Unit, users: Sequence[User]) -> Sequence[User]:
        """The users with `throttled_until_time`, in one query for all."""
        now = self._clock.now()
        counts = await unit.attempts.get([account_lane(user.username) for user in users])
        until = {lane: count.next_time for lane, count in counts.items() if count.next_time > now}
        return [replace(user, throttled_until_time=until.get(account_lane(user.username))) for user in users]

    @staticmethod
    async def _earlier(unit: Unit, key: RequestKey | None) -> User | None:
        """The user that the same request made before. Raises InvalidArgument if the id was used for another one."""
        known = await unit.idempotency.find(key.request_id, CREATE, key.actor) if key else None
        if key is None or known is None:
            return None
        if known.fingerprint != key.fingerprint:
            raise InvalidArgument(
                "IDEMPOTENCY_KEY_REUSED", "request_id was used with another request", field="request_id"
            )
        return found(await unit.users.get(known.response_id))


def _given(before: User, after: User) -> tuple[str, ...]:
    """Roles that the change puts into somebody's hands."""
    woken = before.state is not UserState.ACTIVE and after.state is UserState.ACTIVE
    return after.roles if woken else tuple(role for role in after.roles if role not in before.roles)


async def _keep_an_admin(unit: Unit, before: User, after: User | None) -> None:
    stays = after is not None and after.is_active_admin
    if before.is_active_admin and not stays and not await unit.users.other_active_admin(before.id):
        raise FailedPrecondition("LAST_ADMINISTRATOR", "this is the last active administrator")
