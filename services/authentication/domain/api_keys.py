"""API keys of a user: made, listed, revoked, and resolved to whom they act for.

A key can do nothing that its owner cannot: it is made within what the owner holds, and each use is limited anew to what the owner holds
then. It ends with its time, when it is revoked, and with the account; while the owner is disabled it is refused.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound, PermissionDenied
from mesh.identity.api_keys import api_key_hash, is_well_formed, new_api_key
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.accounts import RequestKey
from services.authentication.domain.api_key import (
    PREFIX_CHARS,
    USE_INTERVAL,
    ApiKey,
    ApiKeyState,
    KeyRules,
    MadeApiKey,
    NewApiKey,
    ResolvedKey,
    checked_expire_time,
)
from services.authentication.domain.permissions import Giver, covers
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.sessions import token_invalid
from services.authentication.domain.user import UserState
from services.authentication.store.ports import Remembered, Store, Trail, Unit

CREATE: Final = "CreateApiKey"
MAX_NOTED: Final = 10_000


class ApiKeys:
    """The use cases of API keys."""

    def __init__(self, store: Store, rules: Callable[[], KeyRules], trail: Trail, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._trail = trail
        self._clock = clock
        self._noted: dict[str, float] = {}

    async def create(
        self, user_id: str, session_id: str, new: NewApiKey, giver: Giver, request: RequestKey | None
    ) -> MadeApiKey:
        """A new key, shown this once. Raises InvalidArgument, PermissionDenied (PERMISSION_MISSING), FailedPrecondition
        (INVALID_STATE), Unauthenticated (TOKEN_INVALID)."""
        key, now = Secret(new_api_key()), self._clock.now()
        async with self._store.transaction() as unit:
            user = await unit.users.get(user_id, lock=True)
            session = await unit.sessions.lock(session_id, user_id, now)
            if user is None or session is None or user.state is not UserState.ACTIVE:
                raise token_invalid()
            earlier = await _earlier(unit, user_id, request)
            if earlier is not None:
                self._trail.about(f"apiKeys/{earlier.id}")
                return MadeApiKey(earlier, None)
            made = _made(user_id, new, key, now)
            self._trail.about(f"apiKeys/{made.id}")
            _check_held(giver, made)
            await self._check_count(unit, user_id, now)
            await unit.api_keys.insert(made, api_key_hash(key.reveal()))
            if request is not None:
                what = Remembered(request.fingerprint, made.id)
                await unit.idempotency.remember(request.request_id, CREATE, request.actor, what, now)
        logger.bind(user_id=user_id, api_key_id=made.id).info("API key made")
        return MadeApiKey(made, key)

    async def list(
        self, user_id: str, before_id: str | None, limit: int, *, show_inactive: bool
    ) -> list[ApiKey]:
        """The user's keys, newest first."""
        active_at = None if show_inactive else self._clock.now()
        async with self._store.read() as unit:
            return await unit.api_keys.list(user_id, before_id, limit, active_at)

    async def revoke(self, user_id: str, key_id: str) -> None:
        """End one of the user's keys. Raises NotFound; one that has ended is no error."""
        self._trail.about(f"apiKeys/{key_id}")
        now = self._clock.now()
        async with self._store.transaction() as unit:
            if await unit.api_keys.get(key_id, user_id) is None:
                raise NotFound("API_KEY_NOT_FOUND", "no such API key")
            ended = await unit.api_keys.revoke(user_id, now, only=key_id)
            await unit.revocations.add(RevocationKind.API_KEY, ended, now)
        logger.bind(user_id=user_id, api_key_id=key_id).info("API key revoked")

    async def resolve(self, text: str) -> ResolvedKey | None:
        """What the key stands for, or None if it would not be accepted. What is no key at all costs no look into the store."""
        if not is_well_formed(text):
            return None
        async with self._store.read() as unit:
            found = await unit.api_keys.by_hash(api_key_hash(text))
            owner = None if found is None else await unit.users.get(found.user_id)
        if found is None or found.state(self._clock.now()) is not ApiKeyState.ACTIVE:
            return None
        if owner is None or owner.state is not UserState.ACTIVE:
            return None
        return ResolvedKey(found, owner)

    async def touch(self, key_id: str) -> None:
        """Note a use, unless one was noted a moment ago. Never fails: a use that cannot be noted is one all the same."""
        moment = self._clock.monotonic()
        noted = self._noted.get(key_id)
        if noted is not None and moment - noted < USE_INTERVAL.total_seconds():
            return
        self._remember(key_id, moment)
        now = self._clock.now()
        try:
            async with self._store.transaction(concludes=False) as unit:
                await unit.api_keys.note_use(key_id, now, now - USE_INTERVAL)
        except MeshError as error:
            self._noted.pop(key_id, None)
            logger.bind(api_key_id=key_id, reason=error.reason).warning("use of an API key not noted")

    def _remember(self, key_id: str, moment: float) -> None:
        self._noted.pop(key_id, None)
        if len(self._noted) >= MAX_NOTED:
            del self._noted[next(iter(self._noted))]
        self._noted[key_id] = moment

    async def _check_count(self, unit: Unit, user_id: str, now: datetime) -> None:
        most = self._rules().max_per_user
        if await unit.api_keys.count_active(user_id, now) >= most:
            raise FailedPrecondition(
                "INVALID_STATE", f"you have {most} API keys in force, which is the limit; revoke one first"
            )


def _made(user_id: str, new: NewApiKey, key: Secret, now: datetime) -> ApiKey:
    return ApiKey(
        id=new_id(),
        user_id=user_id,
        display_name=new.display_name,
        permissions=tuple(sorted(set(new.permissions))),
        prefix=key.reveal()[:PREFIX_CHARS],
        create_time=now,
        expire_time=checked_expire_time(new.expire_time, now),
    )


def _check_held(giver: Giver, made: ApiKey) -> None:
    for permission in made.permissions:
        if not covers(giver.permissions, permission):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"the key is to use {permission}, which you do not hold",
                metadata={"permission": permission},
            )


async def _earlier(unit: Unit, user_id: str, request: RequestKey | None) -> ApiKey | None:
    """The key that the same request made before. Raises InvalidArgument if the id was used for another one."""
    known = await unit.idempotency.find(request.request_id, CREATE, request.actor) if request else None
    if request is None or known is None:
        return None
    if known.fingerprint != request.fingerprint:
        raise InvalidArgument(
            "IDEMPOTENCY_KEY_REUSED", "request_id was used with another request", field="request_id"
        )
    return await unit.api_keys.get(known.response_id, user_id)
