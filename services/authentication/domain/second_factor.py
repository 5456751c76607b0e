"""Turning the second factor on and off, and proving it.

A code is proved in two steps, because the vault may take its time and no transaction should wait for it: `check` finds out what the code
fits, `settle` uses that up in the transaction of whatever it was given for. Of any number of callers with the same code one settles.

check:  open the secret ─▶ count ─▶ compare        a vault that is away costs nobody an attempt
settle: one conditional update ─▶ count cleared    with the new session, the new password, the end of the factor

Turning it on or off ends the user's other sessions: whoever got in before is out.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.secret import Secret
from services.authentication.domain import totp
from services.authentication.domain.events import RECOVERY_CODE_USED, Event
from services.authentication.domain.factor import (
    Enrolment,
    FactorRules,
    Proof,
    SecondFactor,
    binding,
    otp_lane,
)
from services.authentication.domain.proving import Attempt, Prover, login_failed
from services.authentication.domain.recovery import new_recovery_codes, recovery_code_hash
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.session import EndReason, Session
from services.authentication.domain.sessions import token_invalid
from services.authentication.domain.throttle import wait
from services.authentication.domain.user import User, UserState
from services.authentication.store.ports import Sealer, Store, Trail, Unit


class SecondFactors:
    """The use cases of the second factor."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        prover: Prover,
        rules: Callable[[], FactorRules],
        trail: Trail,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._prover = prover
        self._rules = rules
        self._trail = trail
        self._clock = clock
        self._random_bytes = random_bytes

    async def enroll(self, user_id: str, session_id: str, password: Secret | None) -> Enrolment:
        """A new secret that waits to be confirmed; an earlier one that waits is forgotten.

        Raises FailedPrecondition (INVALID_STATE), PermissionDenied (REAUTHENTICATION_REQUIRED), Unauthenticated (LOGIN_FAILED),
        ResourceExhausted, Unavailable.
        """
        self._trail.about(f"users/{user_id}")
        proved = await self._reauthenticate(user_id, session_id, password)
        secret, now = self._random_bytes(totp.SECRET_BYTES), self._clock.now()
        factor = SecondFactor(user_id, await self._sealer.seal(secret, binding(user_id)), now)
        async with self._store.transaction() as unit:
            user, session = await _caller(unit, user_id, session_id, now)
            if not await unit.second_factors.put(factor):
                raise FailedPrecondition(
                    "INVALID_STATE", "a second factor is in force already; disable it first"
                )
            if proved is not None:
                await unit.sessions.note_proofs(replace(session, authenticate_time=now))
                await proved.succeeded(unit)
        logger.bind(user_id=user_id).info("second factor waits to be confirmed")
        return Enrolment(
            Secret(totp.base32(secret)), Secret(totp.key_uri(secret, user.username)), factor.forget_time
        )

    async def confirm(self, user_id: str, session_id: str, otp: Secret) -> tuple[Secret, ...]:
        """Turn the waiting factor on; gives the recovery codes.

        Raises FailedPrecondition (INVALID_STATE), Unauthenticated (LOGIN_FAILED), ResourceExhausted (LOGIN_THROTTLED), Unavailable.
        """
        self._trail.about(f"users/{user_id}")
        async with self._store.read() as unit:
            factor = await unit.second_factors.get(user_id)
        if factor is None or not factor.waits(self._clock.now()):
            raise _nothing_to_confirm()
        step = await self._matching_step(factor, otp, otp_lane(user_id, session_id.encode("ascii")))
        if step is None:
            raise _code_refused()
        codes, now = new_recovery_codes(self._random_bytes), self._clock.now()
        hashes = [recovery_code_hash(user_id, code) for code in codes]
        async with self._store.transaction() as unit:
            _, session = await _caller(unit, user_id, session_id, now)
            if not await unit.second_factors.confirm(factor, step, hashes, now):
                raise _nothing_to_confirm()
            await _changed(unit, replace(session, second_factor_time=now), now)
        logger.bind(user_id=user_id).info("second factor turned on")
        return codes

    async def disable(self, user_id: str, session_id: str, otp: Secret, password: Secret | None) -> None:
        """Turn the factor off and forget its secret and recovery codes.

        Raises FailedPrecondition (INVALID_STATE), PermissionDenied (REAUTHENTICATION_REQUIRED), Unauthenticated (LOGIN_FAILED),
        ResourceExhausted (LOGIN_THROTTLED, OVERLOADED), Unavailable.
        """
        self._trail.about(f"users/{user_id}")
        async with self._store.read() as unit:
            factor = await unit.second_factors.get(user_id)
        if factor is None or not factor.confirmed:
            raise FailedPrecondition("INVALID_STATE", "there is no second factor to disable")
        proved = await self._reauthenticate(user_id, session_id, password)
        proof = await self._fitting(factor, otp, otp_lane(user_id, session_id.encode("ascii")))
        now = self._clock.now()
        async with self._store.transaction() as unit:
            _, session = await _caller(unit, user_id, session_id, now)
            if proof is None or not await _use(unit, proof, session_id, now):
                raise _code_refused()
            await unit.second_factors.delete(user_id)
            if proved is not None:
                await proved.succeeded(unit)
            since = now if proved is not None else session.authenticate_time
            await _changed(unit, replace(session, authenticate_time=since, second_factor_time=None), now)
        logger.bind(user_id=user_id).info("second factor turned off")

    def recent(self, proved_time: datetime | None) -> bool:
        """Whether a proof of then still counts."""
        if proved_time is None:
            return False
        return self._clock.now() - proved_time <= self._rules().reauthentication_max_age

    async def enrolled(self, unit: Unit, user_id: str) -> bool:
        """Whether sign-in asks the user for a code."""
        factor = await unit.second_factors.get(user_id)
        return factor is not None and factor.confirmed

    async def check(self, user_id: str, otp: Secret, device: bytes | None) -> Proof:
        """What the code proves, to be used up by `settle`. `device` is the known device, or the session, that it comes from.

        Raises Unauthenticated (LOGIN_FAILED), ResourceExhausted (LOGIN_THROTTLED), Unavailable.
        """
        async with self._store.read() as unit:
            factor = await unit.second_factors.get(user_id)
        proof = None
        if factor is not None and factor.confirmed:
            proof = await self._fitting(factor, otp, otp_lane(user_id, device))
        if proof is None:
            raise login_failed()
        return proof

    async def settle(
        self, unit: Unit, session: Session, proof: Proof | None, now: datetime, *, needed: bool = True
    ) -> None:
        """Use the proof up for the session. Call it where the user's row is locked.

        Raises Unauthenticated: LOGIN_FAILED if the code was used meanwhile, SECOND_FACTOR_REQUIRED if a factor was turned on meanwhile
        and there is no proof; not where none is `needed`.
        """
        if proof is None:
            if needed and await self.enrolled(unit, session.user_id):
                raise code_required()
        elif not await _use(unit, proof, session.id, now):
            raise login_failed()
        else:
            await unit.attempts.forget(proof.lane)

    async def _fitting(self, factor: SecondFactor, otp: Secret, lane: bytes) -> Proof | None:
        if totp.looks_like_code(otp.reveal()):
            step = await self._matching_step(factor, otp, lane)
            return None if step is None else Proof(factor, lane, step=step)
        await self._count(lane)
        return Proof(factor, lane, code_hash=recovery_code_hash(factor.user_id, otp))

    async def _matching_step(self, factor: SecondFactor, otp: Secret, lane: bytes) -> int | None:
        secret = await self._open(factor)
        await self._count(lane)
        return totp.matching_step(secret, otp.reveal(), self._clock.now())

    async def _open(self, factor: SecondFactor) -> bytes:
        try:
            return await self._sealer.open(factor.sealed_secret, binding(factor.user_id))
        except InvalidArgument:
            # Another vault than the one that sealed it.
            logger.bind(user_id=factor.user_id).error("second factor does not open with this vault")
        raise Unavailable("VAULT_UNAVAILABLE", "the second factor does not open with this vault")

    async def _count(self, lane: bytes) -> None:
        """One more attempt, taken back when it succeeds: guesses made side by side count too."""
        now = self._clock.now()
        async with self._store.transaction(concludes=False) as unit:
            counts = await unit.attempts.lock([lane], now)
            pause = wait(counts, now)
            if pause > timedelta():
                raise ResourceExhausted(
                    "LOGIN_THROTTLED", "too many wrong codes; wait before the next attempt", retry_after=pause
                )
            await unit.attempts.put({lane: counts[lane].one_more(self._rules().throttle, now)})

    async def _reauthenticate(self, user_id: str, session_id: str, password: Secret | None) -> Attempt | None:
        """The proof of the password just now; without one, the session's last proof of it must be recent."""
        async with self._store.read() as unit:
            session = await unit.sessions.get(session_id, user_id)
            found = await unit.users.credentials(user_id)
        if session is None or found is None or not session.lives(self._clock.now()):
            raise token_invalid()
        if password is None:
            if not self.recent(session.authenticate_time):
                raise PermissionDenied(
                    "REAUTHENTICATION_REQUIRED",
                    "you signed in too long ago for this; give the password again",
                )
            return None
        with self._prover.place() as place:
            return await self._prover.prove_in_session(place, found, password, session_id)


async def _caller(unit: Unit, user_id: str, session_id: str, now: datetime) -> tuple[User, Session]:
    """The active user and the living session, both locked. Raises Unauthenticated (TOKEN_INVALID)."""
    user = await unit.users.get(user_id, lock=True)
    session = await unit.sessions.lock(session_id, user_id, now)
    if user is None or session is None or user.state is not UserState.ACTIVE:
        raise token_invalid()
    return user, session


async def _use(unit: Unit, proof: Proof, session_id: str, now: datetime) -> bool:
    """Use the proof up; False if it was before, or never was one."""
    factor = proof.factor
    if proof.step is not None:
        return await unit.second_factors.use_step(factor, proof.step)
    if proof.code_hash is None or not await unit.second_factors.use_code(factor, proof.code_hash, now):
        return False
    resource = f"users/{factor.user_id}"
    await unit.note(Event(RECOVERY_CODE_USED, resource, factor.user_id, session_id, warning=True))
    return True


async def _changed(unit: Unit, session: Session, now: datetime) -> None:
    """What follows when a factor is turned on or off in a session; the session goes on as given. Last in its transaction."""
    await unit.sessions.note_proofs(session)
    ended = await unit.sessions.end(session.user_id, EndReason.SECOND_FACTOR_CHANGED, now, but=session.id)
    await unit.attempts.forget(otp_lane(session.user_id))
    await unit.revocations.add(RevocationKind.SESSION, ended, now)


def code_required() -> Unauthenticated:
    """The answer to a right password without a code."""
    return Unauthenticated("SECOND_FACTOR_REQUIRED", "the password is right; repeat the call with `otp`")


def _code_refused() -> Unauthenticated:
    return Unauthenticated("LOGIN_FAILED", "the code does not match, or was used before")


def _nothing_to_confirm() -> FailedPrecondition:
    return FailedPrecondition("INVALID_STATE", "there is no second factor to confirm; enrol one first")
