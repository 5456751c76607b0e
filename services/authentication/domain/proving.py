"""Proving a password: counted first, then checked, the same way and at the same cost whoever it is.

`Prover` is the one place that counts and proves. What `prove` gives back was counted as a failure and stays one until the transaction
that the proof leads to says otherwise:

    attempt = await prover.prove(place, name, password, client, recognise)
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

Recognise = Callable[[Credentials | None], bytes | None]
"""Tells the known device of these credentials that an attempt comes from; of nobody's, there is none."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt as it was counted: its lanes before and after."""

    lanes: Lanes
    rules: Rules
    before: Counts
    after: Counts


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that was right, how it was counted, and the known device, or the session, that it came from."""

    credentials: Credentials
    counted: Counted
    device: bytes | None = None

    async def succeeded(self, unit: Unit) -> None:
        """Take back what was counted: see `domain.throttle`."""
        lanes = self.counted.lanes
        if lanes.device:
            await unit.attempts.forget(lanes.device)
            return
        await unit.attempts.forget(lanes.account)
        await self._take_back(unit.attempts, lanes.address)

    async def _take_back(self, attempts: AttemptStore, lane: bytes) -> None:
        counted = self.counted
        after = counted.after[lane]
        now = (await attempts.lock([lane], after.last_time))[lane]
        left = taken_back(now, counted.before.get(lane), after, counted.rules.address)
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
        self, place: Place, name: str, password: Secret, client: Client, recognise: Recognise
    ) -> Attempt:
        """The attempt if the password is that of the account called `name`, in its normal form, and opens it. Nobody may be called so.

        `recognise` tells the known device of the account that the attempt comes from. Looking up and counting is one transaction.
        Raises Unauthenticated (LOGIN_FAILED) or ResourceExhausted (LOGIN_THROTTLED).
        """
        async with self._store.transaction(concludes=False) as unit:
            credentials = await unit.users.credentials_by_name(name)
            device = recognise(credentials)
            lanes = stranger_lanes(name, client.address) if device is None else device_lanes(name, device)
            counted = await self._count(unit, lanes)
        return await self._verify(place, counted, credentials, password, device)

    async def prove_in_session(
        self, place: Place, credentials: Credentials, password: Secret, session_id: str
    ) -> Attempt:
        """The same for somebody who is signed in: the session is as good as a known device. Raises as `prove` does."""
        lanes = device_lanes(credentials.user.username, session_id.encode("ascii"))
        async with self._store.transaction(concludes=False) as unit:
            counted = await self._count(unit, lanes)
        return await self._verify(place, counted, credentials, password, session_id.encode("ascii"))

    async def _verify(
        self,
        place: Place,
        counted: Counted,
        credentials: Credentials | None,
        password: Secret,
        device: bytes | None,
    ) -> Attempt:
        fits = await place.verify(password, credentials.password_hash if credentials else None)
        if credentials is None or not fits or not credentials.may_sign_in(self._clock.now()):
            raise login_failed()
        return Attempt(credentials, counted, device)

    async def _count(self, unit: Unit, lanes: Lanes) -> Counted:
        """One more attempt in its lanes. Looks before it locks, so that a storm that has to wait writes nothing."""
        rules, now = self._rules(), self._clock.now()
        _check(wait(await unit.attempts.get(lanes.keys), now))
        before = await unit.attempts.lock(lanes.keys, now)
        _check(wait(before, now))
        after = lanes.counted(before, rules, now)
        await unit.attempts.put(after)
        return Counted(lanes, rules, before, after)


def _check(pause: timedelta) -> None:
    if pause > timedelta():
        raise ResourceExhausted(
            "LOGIN_THROTTLED", "too many failed sign-ins; wait before the next attempt", retry_after=pause
        )


def login_failed() -> Unauthenticated:
    """The one answer, whatever did not match."""
    return Unauthenticated("LOGIN_FAILED", MESSAGE)
