"""Proving a password: counted first, then checked, the same way and at the same cost whoever it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from mesh.clock import Clock
from mesh.errors import ResourceExhausted, Unauthenticated
from mesh.secret import Secret
from services.authentication.domain.hashing import HashingPool, Place
from services.authentication.domain.throttle import ThrottleRule, account_lane, count
from services.authentication.domain.user import Credentials, UserState
from services.authentication.store.ports import Store

MESSAGE: Final = "user name and password do not match"


class Prover:
    """Checks passwords. What it counts is taken back by `attempts.clear(lane)` in the transaction that the proof leads to."""

    def __init__(
        self, store: Store, hashing: HashingPool, rule: Callable[[], ThrottleRule], clock: Clock
    ) -> None:
        self._store = store
        self._hashing = hashing
        self._rule = rule
        self._clock = clock

    def place(self) -> AbstractContextManager[Place]:
        """Taken before anything is spent on the call. Raises ResourceExhausted (OVERLOADED)."""
        return self._hashing.place()

    async def prove(
        self, place: Place, name: str, credentials: Credentials | None, password: Secret
    ) -> Credentials:
        """The credentials if the password is theirs and the user active. `name` is normal; nobody may have it.

        Raises Unauthenticated (LOGIN_FAILED) or ResourceExhausted (LOGIN_THROTTLED).
        """
        await self._count(account_lane(name))
        fits = await place.verify(password, credentials.password_hash if credentials else None)
        if credentials is None or not fits or credentials.user.state is not UserState.ACTIVE:
            raise login_failed()
        return credentials

    async def _count(self, lane: bytes) -> None:
        now = self._clock.now()
        async with self._store.transaction(concludes=False) as unit:
            before = await unit.attempts.lock(lane, now)
            after = count(before, self._rule(), now)
            if after is not None:
                await unit.attempts.put(lane, after)
        if after is None:
            raise ResourceExhausted(
                "LOGIN_THROTTLED",
                "too many failed sign-ins; wait before the next attempt",
                retry_after=before.next_time - now,
            )


def login_failed() -> Unauthenticated:
    """The one answer, whatever did not match."""
    return Unauthenticated("LOGIN_FAILED", MESSAGE)
