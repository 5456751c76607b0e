"""Signing in with a password, and changing it.

sign in:  key open? ─▶ place to hash? ─▶ count ─▶ check ─▶ one transaction: still the same account? session, token, count cleared
change:   the same, then one transaction: new hash, other sessions end, this one goes on with a new refresh token

Where a second factor is enrolled, its code is asked for once the password is proved, and used up in the same transaction.

A one-time password can be used to sign in until it is changed or lapses, not once only: whoever loses the answer of the first sign-in
would otherwise be locked out, and what it opens is the change alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from loguru import logger

from mesh.clock import Clock
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.devices import DeviceTokens
from services.authentication.domain.events import SESSION_EVICTED, Event
from services.authentication.domain.factor import Proof
from services.authentication.domain.hashing import Place
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.names import normalise
from services.authentication.domain.passwords import PasswordPolicy, check_changed, outdated
from services.authentication.domain.proving import Attempt, Prover, login_failed
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.second_factor import SecondFactors, code_required
from services.authentication.domain.session import Client, EndReason, Session, begin
from services.authentication.domain.sessions import token_invalid
from services.authentication.domain.tokens import TokenPair, new_refresh_token, refresh_token_hash
from services.authentication.domain.user import Credentials
from services.authentication.store.ports import Store, Trail, Unit


class SignIn:
    """The use cases that need a password."""

    def __init__(
        self,
        store: Store,
        prover: Prover,
        factors: SecondFactors,
        devices: DeviceTokens,
        issuer: Issuer,
        policy: Callable[[], PasswordPolicy],
        trail: Trail,
        clock: Clock,
    ) -> None:
        self._store = store
        self._prover = prover
        self._factors = factors
        self._devices = devices
        self._issuer = issuer
        self._policy = policy
        self._trail = trail
        self._clock = clock

    async def sign_in(
        self,
        username: str,
        password: Secret,
        client: Client,
        otp: Secret | None = None,
        device_token: Secret | None = None,
    ) -> TokenPair:
        """A new session, with a token for the device. A `device_token` that is not the user's is as good as none.

        Raises Unauthenticated (LOGIN_FAILED, SECOND_FACTOR_REQUIRED), ResourceExhausted (LOGIN_THROTTLED, OVERLOADED), Unavailable.
        """
        signer = self._issuer.signer()
        name = normalise(username)

        def recognise(found: Credentials | None) -> bytes | None:
            if found is not None:
                self._trail.about(f"users/{found.user.id}")
            return self._devices.known(device_token, found.user.id if found is not None else None)

        with self._prover.place() as place:
            attempt = await self._prover.prove(place, name, password, client, recognise)
            proved = attempt.credentials
            new_hash = await self._fresh_hash(place, proved, password)
        proof = await self._code(attempt, otp)
        token, now = new_refresh_token(), self._clock.now()
        session = begin(new_id(), proved.user.id, client, self._issuer.lifetimes, now)
        session = replace(session, second_factor_time=now if proof else None)
        async with self._store.transaction() as unit:
            user = await unit.users.record_sign_in(proved.user.id, proved.password_version, now, new_hash)
            if user is None:
                raise login_failed()
            await self._factors.settle(unit, session, proof, now)
            await unit.sessions.insert(session, refresh_token_hash(token))
            evicted = await self._make_room(unit, session)
            await attempt.succeeded(unit)
            await unit.revocations.add(RevocationKind.SESSION, evicted, now)
        logger.bind(user_id=user.id, session_id=session.id).info("signed in")
        pair = self._issuer.pair(signer, user, session, token)
        return replace(pair, device_token=self._devices.token(user.id, attempt.device))

    async def change_password(
        self, user_id: str, session_id: str, current: Secret, new: Secret, otp: Secret | None = None
    ) -> TokenPair:
        """The pair with which the session goes on. Raises what `sign_in` raises, and FailedPrecondition (PASSWORD_REFUSED)."""
        signer = self._issuer.signer()
        self._trail.about(f"users/{user_id}")
        with self._prover.place() as place:
            async with self._store.read() as unit:
                found = await unit.users.credentials(user_id)
                before = await unit.sessions.get(session_id, user_id)
            if found is None or before is None:
                raise token_invalid()
            self._policy().check_new(new, "new_password", found.user.username, found.user.display_name)
            attempt = await self._prover.prove_in_session(place, found, current, session_id)
            check_changed(new, current)
            new_hash = await place.hash(new)
        recent = self._factors.recent(before.second_factor_time)
        proof = await self._code(attempt, otp, needed=not recent)
        token, now = new_refresh_token(), self._clock.now()
        async with self._store.transaction() as unit:
            version = attempt.credentials.password_version
            user = await unit.users.set_password(user_id, version, new_hash, now)
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
            ended = await unit.sessions.end(user_id, EndReason.PASSWORD_CHANGED, now, but=session_id)
            await attempt.succeeded(unit)
            await unit.revocations.add(RevocationKind.SESSION, ended, now)
        logger.bind(user_id=user_id).info("password changed")
        return self._issuer.pair(signer, user, session, token)

    async def _make_room(self, unit: Unit, newest: Session) -> Sequence[str]:
        """End the user's oldest sessions beyond as many as one may have. Their ids."""
        most, user_id = self._issuer.lifetimes.max_per_user, newest.user_id
        evicted = await unit.sessions.end_oldest(user_id, most, newest.create_time)
        for session_id in evicted:
            event = Event(SESSION_EVICTED, f"sessions/{session_id}", user_id, session_id)
            await unit.note(event)
        return evicted

    async def _code(self, attempt: Attempt, otp: Secret | None, *, needed: bool = True) -> Proof | None:
        """What the code proves; None if none is asked for. Raises as `SecondFactors.check`, and Unauthenticated
        (SECOND_FACTOR_REQUIRED)."""
        user = attempt.credentials.user
        if not user.totp_enrolled:
            return None
        if otp is not None:
            return await self._factors.check(user.id, otp, attempt.device)
        if needed:
            # The password was right: that was no failure, whatever comes next.
            async with self._store.transaction(concludes=False) as unit:
                await attempt.succeeded(unit)
            raise code_required()
        return None

    @staticmethod
    async def _fresh_hash(place: Place, proved: Credentials, password: Secret) -> str | None:
        """A hash at the cost in force, if the stored one was made at another."""
        if not outdated(proved.password_hash, place.cost):
            return None
        return await place.hash(password)
