"""What goes on after signing in: refreshing, signing out, looking at and ending sessions, telling what a token stands for.

A refresh token is good once. Whoever lost the answer may ask again for GRACE: while the successor is unused, the same successor is the
answer, so two who hold the same token end up with the same next one, and the first of them to use it turns the other into a second
user. Every other second use ends the session at once, since one of the two is a thief (RFC 9700 section 4.14.2).

    unknown ─▶ refused        unused ─▶ rotated        used ─┬─ lately, successor unused ─▶ the same successor
                                                             └─ otherwise ─▶ session ended, revoked, on the trail
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import NotFound, Unauthenticated
from mesh.identity.tokens import AccessToken, TokenInvalid, verify
from services.authentication.domain.events import TOKEN_REUSED, Event
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.session import MAX_ADDRESS_CHARS, Client, EndReason, Session
from services.authentication.domain.tokens import TokenPair, refresh_token_hash, successor_of
from services.authentication.domain.user import User, UserState
from services.authentication.store.ports import Rotation, Store, Trail, Unit

GRACE: Final = timedelta(seconds=10)
"""How long a used refresh token is answered with the same successor."""


@dataclass(frozen=True, slots=True)
class Introspection:
    """What a good access token stands for."""

    token: AccessToken
    user: User
    session: Session


class Sessions:
    """The use cases of a session."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        issuer: Issuer,
        successor_key: Callable[[], bytes],
        trail: Trail,
        clock: Clock,
    ) -> None:
        """`successor_key` gives the key that refresh tokens are derived with; raises Unavailable while it is not open."""
        self._store = store
        self._keyring = keyring
        self._issuer = issuer
        self._successor_key = successor_key
        self._trail = trail
        self._clock = clock

    async def refresh(self, token: str, client: Client) -> TokenPair:
        """The session's next pair. Raises Unauthenticated (TOKEN_INVALID), Unavailable."""
        signer, key, now = self._issuer.signer(), self._successor_key(), self._clock.now()
        hashed = refresh_token_hash(token)
        async with self._store.transaction() as unit:
            known = await unit.sessions.known_token(hashed)
            if known is None:
                raise token_invalid()
            # Whoever changes or disables the user waits for us, or we for them: the pair never carries what was just taken away.
            user = await unit.users.get(known.user_id, hold=True)
            successor = successor_of(token, known.session_id, known.generation, key)
            session = await self._next(unit, hashed, refresh_token_hash(successor), client, now)
            if session is None:
                await self._end_reused(unit, hashed, now)
        if session is None or user is None:
            raise token_invalid()
        return self._issuer.pair(signer, user, session, successor)

    async def _next(
        self, unit: Unit, token: bytes, successor: bytes, client: Client, now: datetime
    ) -> Session | None:
        """The session that goes on with `successor`, for the first time or once more; None if the token does not buy it."""
        rotation = Rotation(token, successor, client.address[:MAX_ADDRESS_CHARS], self._issuer.lifetimes.idle)
        rotated = await unit.sessions.rotate(rotation, now)
        return rotated or await unit.sessions.retried(token, successor, now - GRACE, now)

    async def _end_reused(self, unit: Unit, token: bytes, now: datetime) -> None:
        ended = await unit.sessions.end_reused(token, now)
        if ended is None:
            return
        logger.bind(session_id=ended.id, user_id=ended.user_id).warning("refresh token reused")
        event = Event(TOKEN_REUSED, f"sessions/{ended.id}", ended.user_id, ended.id, warning=True)
        await unit.note(event)
        await unit.revocations.add(RevocationKind.SESSION, [ended.id], now)

    async def sign_out(self, user_id: str, session_id: str, *, everywhere: bool) -> None:
        """End the session, or all of the user's. Ended ones stay so. An API key, which has no session, ends them all or none."""
        if not session_id and not everywhere:
            return
        self._trail.about(f"users/{user_id}/sessions" if everywhere else f"sessions/{session_id}")
        now = self._clock.now()
        async with self._store.transaction() as unit:
            ended = await unit.sessions.end(
                user_id, EndReason.LOGOUT, now, only=None if everywhere else session_id
            )
            await unit.revocations.add(RevocationKind.SESSION, ended, now)

    async def current_user(self, user_id: str, session_id: str) -> User:
        """The signed-in user; `session_id` is empty for an API key. Raises Unauthenticated (TOKEN_INVALID) if session or account have
        ended."""
        async with self._store.read() as unit:
            return await self._caller(unit, user_id, session_id)

    async def list_sessions(
        self, user_id: str, session_id: str, before_id: str | None, limit: int
    ) -> list[Session]:
        """The user's living sessions, newest first. Raises as `current_user` does."""
        async with self._store.read() as unit:
            await self._caller(unit, user_id, session_id)
            return await unit.sessions.list_living(user_id, self._clock.now(), before_id, limit)

    async def revoke(self, user_id: str, session_id: str) -> None:
        """End one of the user's sessions. Raises NotFound; an ended one is no error."""
        self._trail.about(f"sessions/{session_id}")
        now = self._clock.now()
        async with self._store.transaction() as unit:
            if await unit.sessions.get(session_id, user_id) is None:
                raise NotFound("SESSION_NOT_FOUND", "no such session")
            ended = await unit.sessions.end(user_id, EndReason.REVOKED, now, only=session_id)
            await unit.revocations.add(RevocationKind.SESSION, ended, now)

    async def introspect(self, token: str) -> Introspection | None:
        """What the access token stands for, or None if it would not be accepted."""
        try:
            claims = verify(token, self._keyring.verifiers(), self._clock.now().timestamp())
        except TokenInvalid:
            return None
        async with self._store.read() as unit:
            living = await self._living(unit, claims.subject, claims.session_id)
        return None if living is None else Introspection(claims, *living)

    async def _caller(self, unit: Unit, user_id: str, session_id: str) -> User:
        if session_id:
            living = await self._living(unit, user_id, session_id)
            user = living[0] if living else None
        else:
            user = await unit.users.get(user_id)
        if user is None or user.state is not UserState.ACTIVE:
            raise token_invalid()
        return user

    async def _living(self, unit: Unit, user_id: str, session_id: str) -> tuple[User, Session] | None:
        session = await unit.sessions.get(session_id, user_id)
        user = await unit.users.get(user_id)
        if session is None or user is None:
            return None
        if not session.lives(self._clock.now()) or user.state is not UserState.ACTIVE:
            return None
        return user, session


def token_invalid() -> Unauthenticated:
    """The one answer to every credential that does not hold."""
    return Unauthenticated("TOKEN_INVALID", "the token is not valid; sign in again")
