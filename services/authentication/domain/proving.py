"""Proving a password: counted first, then checked, the same way and at the same cost whoever it is.

`Prover` is the one place that counts and proves. What `prove` gives back was counted as a failure and stays one until the transaction
that the proof leads to says otherwise:

    attempt = await prover.prove(place, name, found, password, client, device)
    async with store.transaction() as unit:
        …
        await attempt.succeeded(unit)      # after users and sessions, before revocations
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mesh.clock import Clock
from mesh.errors import ResourceExhausted, Unauthenticated
from mesh.secret import Secret
from services.authentication.domain.hashing import HashingPool, Place
from services.authentication.domain.session import Client
from services.authentication.domain.throttle import (
    Counts,
    Lanes,
    Rules,
    device_lanes,
    stranger_lanes,
    taken_back,
    wait,
)
from services.authentication.domain.user import Credentials
from services.authentication.store.ports import AttemptStore, Store, Unit

MESSAGE: Final = "user name and password do not match"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that was right, and the lanes it was counted in."""

    credentials: Credentials
    lanes: Lanes
    rules: Rules
    before: Counts
    counted: Counts

    async def succeeded(self, unit: Unit) -> None:
        """Take back what was counted: see `domain.throttle`."""
        if self.lanes.device:
            await unit.attempts.forget(self.lanes.device)
            return
        await unit.attempts.forget(self.lanes.account)
        await self._take_back(unit.attempts, self.lanes.address)

    async def _take_back(self, attempts: AttemptStore, lane: bytes) -> None:
        counted = self.counted[lane]
        now = (await attempts.lock([lane], counted.last_time))[lane]
        left = taken_back(now, self.before.get(lane), counted, self.rules.address)
        if left is None:
            await attempts.forget(lane)
        else:
            await attempts.put({lane: left})


class Prover:
    """Checks passwords."""

    def __init__(self, store: Store, hashing: HashingPool, rules: Callable[[], Rules], clock: Clock) -> None:
        self._store = store
        self._hashing = hashing
        self._rules = rules
        self._clock = clock

    def place(self) -> AbstractContextManager[Place]:
        """Taken before anything is spent on the call. Raises ResourceExhausted (OVERLOADED)."""
        return self._hashing.place()

    async def prove(
        self,
        place: Place,
        name: str,
        credentials: Credentials | None,
        password: Secret,
        client: Client,
        device: bytes | None,
    ) -> Attempt:
        """The attempt if the password is the credentials' and they open the account. `name` is normal; nobody may have it.

        `device` is the known device of this account that the attempt comes from.
        Raises Unauthenticated (LOGIN_FAILED) or ResourceExhausted (LOGIN_THROTTLED).
        """
        lanes = stranger_lanes(name, client.address) if device is None else device_lanes(name, device)
        return await self._prove(place, lanes, credentials, password)

    async def prove_in_session(
        self, place: Place, credentials: Credentials, password: Secret, session_id: str
    ) -> Attempt:
        """The same for somebody who is signed in: the session is as good as a known device. Raises as `prove` does."""
        lanes = device_lanes(credentials.user.username, session_id.encode("ascii"))
        return await self._prove(place, lanes, credentials, password)

    async def _prove(
        self, place: Place, lanes: Lanes, credentials: Credentials | None, password: Secret
    ) -> Attempt:
        rules = self._rules()
        before, counted = await self._count(lanes, rules)
        fits = await place.verify(password, credentials.password_hash if credentials else None)
        if credentials is None or not fits or not credentials.may_sign_in(self._clock.now()):
            raise login_failed()
        return Attempt(credentials, lanes, rules, before, counted)

    async def _count(self, lanes: Lanes, rules: Rules) -> tuple[Counts, Counts]:
        """The lanes before and after one more attempt. Looks before it locks, so that a storm that has to wait writes nothing."""
        now = self._clock.now()
        async with self._store.transaction(concludes=False) as unit:
            _check(wait(await unit.attempts.get(lanes.keys), now))
            before = await unit.attempts.lock(lanes.keys, now)
            _check(wait(before, now))
            counted = lanes.counted(before, rules, now)
            await unit.attempts.put(counted)
        return before, counted


def _check(pause: timedelta) -> None:
    if pause > timedelta():
        raise ResourceExhausted(
            "LOGIN_THROTTLED", "too many failed sign-ins; wait before the next attempt", retry_after=pause
        )


def login_failed() -> Unauthenticated:
    """The one answer, whatever did not match."""
    return Unauthenticated("LOGIN_FAILED", MESSAGE)
