"""Signing in with a password, and changing it.

sign in:  key open? ─▶ place to hash? ─▶ count ─▶ check ─▶ one transaction: still the same account? session, token, count cleared
change:   the same, then one transaction: new hash, other sessions end, this one goes on with a new refresh token

Where a second factor is enrolled, its code is asked for once the password is proved, and used up in the same transaction.
"""

from dataclasses import replace

from loguru import logger

from mesh.clock import Clock
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.factor import Proof
from services.authentication.domain.hashing import Place
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.names import normalise
from services.authentication.domain.passwords import check_changed, check_new_password, outdated
from services.authentication.domain.proving import Prover, login_failed
from services.authentication.domain.second_factor import SecondFactors, code_required
from services.authentication.domain.session import Client, EndReason, begin
from services.authentication.domain.sessions import token_invalid
from services.authentication.domain.throttle import account_lane
from services.authentication.domain.tokens import TokenPair, new_refresh_token, refresh_token_hash
from services.authentication.domain.user import Credentials, User
from services.authentication.store.ports import Store, Trail


class SignIn:
    """The use cases that need a password."""

    def __init__(
        self,
        store: Store,
        prover: Prover,
        factors: SecondFactors,
        issuer: Issuer,
        trail: Trail,
        clock: Clock,
    ) -> None:
        self._store = store
        self._prover = prover
        self._factors = factors
        self._issuer = issuer
        self._trail = trail
        self._clock = clock

    async def sign_in(
        self, username: str, password: Secret, client: Client, otp: Secret | None = None
    ) -> TokenPair:
        """A new session. Raises Unauthenticated (LOGIN_FAILED, SECOND_FACTOR_REQUIRED), ResourceExhausted (LOGIN_THROTTLED,
        OVERLOADED), Unavailable."""
        signer = self._issuer.signer()
        name = normalise(username)
        with self._prover.place() as place:
            async with self._store.read() as unit:
                found = await unit.users.credentials_by_name(name)
            if found is not None:
                self._trail.about(f"users/{found.user.id}")
            proved = await self._prover.prove(place, name, found, password)
            new_hash = await self._fresh_hash(place, proved, password)
        proof = await self._code(proved.user, otp)
        token, now = new_refresh_token(), self._clock.now()
        session = begin(new_id(), proved.user.id, client, self._issuer.lifetimes, now)
        session = replace(session, second_factor_time=now if proof else None)
        async with self._store.transaction() as unit:
            user = await unit.users.record_sign_in(proved.user.id, proved.password_version, now, new_hash)
            if user is None:
                raise login_failed()
            await self._factors.settle(unit, session, proof, now)
            await unit.sessions.insert(session, refresh_token_hash(token))
            await unit.attempts.clear(account_lane(name))
        logger.bind(user_id=user.id, session_id=session.id).info("signed in")
        return self._issuer.pair(signer, user, session, token)

    async def change_password(
        self, user_id: str, session_id: str, current: Secret, new: Secret, otp: Secret | None = None
    ) -> TokenPair:
        """The pair with which the session goes on. Raises what `sign_in` raises, and FailedPrecondition (PASSWORD_REFUSED)."""
        signer = self._issuer.signer()
        self._trail.about(f"users/{user_id}")
        check_new_password(new, "new_password")
        with self._prover.place() as place:
            async with self._store.read() as unit:
                found = await unit.users.credentials(user_id)
                before = await unit.sessions.get(session_id, user_id)
            if found is None or before is None:
                raise token_invalid()
            proved = await self._prover.prove(place, found.user.username, found, current)
            check_changed(new, current)
            new_hash = await place.hash(new)
        recent = self._factors.recent(before.second_factor_time)
        proof = await self._code(proved.user, otp, needed=not recent)
        token, now = new_refresh_token(), self._clock.now()
        async with self._store.transaction() as unit:
            user = await unit.users.set_password(user_id, proved.password_version, new_hash, now)
            if user is None:
                raise login_failed()
            session = await unit.sessions.replace_token(session_id, refresh_token_hash(token), now)
            if session is None:
                raise token_invalid()
            await self._factors.settle(unit, session, proof, now, needed=not recent)
            session = replace(
                session,
                authenticate_time=now,
                second_factor_time=now if proof else session.second_factor_time,
            )
            await unit.sessions.note_proofs(session)
            await unit.sessions.end(user_id, EndReason.PASSWORD_CHANGED, now, but=session_id)
            await unit.attempts.clear(account_lane(user.username))
        logger.bind(user_id=user_id).info("password changed")
        return self._issuer.pair(signer, user, session, token)

    async def _code(self, user: User, otp: Secret | None, *, needed: bool = True) -> Proof | None:
        """What the code proves; None if none is asked for. Raises as `SecondFactors.check`, and Unauthenticated
        (SECOND_FACTOR_REQUIRED)."""
        if not user.totp_enrolled:
            return None
        if otp is not None:
            return await self._factors.check(user.id, otp)
        if needed:
            # The password was right: that was no failure, whatever comes next.
            async with self._store.transaction(concludes=False) as unit:
                await unit.attempts.clear(account_lane(user.username))
            raise code_required()
        return None

    @staticmethod
    async def _fresh_hash(place: Place, proved: Credentials, password: Secret) -> str | None:
        """A hash at the cost in force, if the stored one was made at another."""
        if not outdated(proved.password_hash, place.cost):
            return None
        return await place.hash(password)
