"""Who an API key acts for: asked of authentication, remembered for a short while.

A key says nothing by itself, so its first use costs a look-up (`IntrospectToken`, with the key as its own credential). A good answer is
remembered under the key's hash for 30 seconds, never past the key's end, and dropped when the feed tells that the key or anything of
its owner was revoked. While the feed is stale every use is looked up. Calls that come with the same key at the same time share one
look-up, which belongs to none of them: it does not end with the call that happened to come first.

Bad answers are not remembered: a key that is refused may be one that was made a moment ago.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final, Protocol

from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.context import Principal, calling_with
from mesh.errors import Internal, MeshError, ResourceExhausted, Unauthenticated, Unavailable
from mesh.identity.api_keys import api_key_hash
from mesh.identity.revocable import Name, Revocable, names_of_api_key
from mesh.identity.revocations import Revocations
from mesh.tasks import TaskSet
from vivesphere.authentication.v1 import authentication_service_pb2
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_USER,
    Revocation,
)

MAX_REMEMBERED: Final = 10_000
MAX_ASKING: Final = 1_000
"""Look-ups under way; more are refused, so that made-up keys cannot pile them up while authentication is slow."""
LONGEST_MEMORY: Final = timedelta(seconds=30)
LOOK_UP_TIMEOUT: Final = timedelta(seconds=3)


class ApiKeyResolver(Protocol):
    """Knows whom keys act for."""

    async def resolve(self, key: str) -> Principal | None:
        """The principal of a well-formed key, or None if it is not good now. Raises Unavailable if that cannot be found out."""


class Introspection:
    """Asks authentication; `authentication` is a stub of AuthenticationService."""

    def __init__(self, authentication: Any) -> None:
        self._authentication = authentication

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver."""
        request = authentication_service_pb2.IntrospectTokenRequest(token=key)
        try:
            with calling_with(f"Bearer {key}"):
                answer = await invoke(self._authentication.IntrospectToken, request, timeout=LOOK_UP_TIMEOUT)
        except Unauthenticated:
            return None  # the key was the call's own credential, so this is the answer
        except MeshError as error:
            logger.bind(reason=error.reason).debug("API key not looked up")
            raise Unavailable(
                "SERVICE_UNAVAILABLE",
                "API keys cannot be checked while authentication does not answer",
                retry_after=timedelta(seconds=1),
                metadata={"service": "authentication"},
            ) from None
        return _principal(answer)


def _principal(answer: authentication_service_pb2.IntrospectTokenResponse) -> Principal | None:
    if not (answer.active and answer.api_key_id and answer.subject and answer.HasField("expire_time")):
        return None
    return Principal(
        user_id=answer.subject,
        session_id="",
        token_id=answer.api_key_id,
        roles=tuple(answer.roles),
        expire_time=answer.expire_time.ToDatetime(UTC),
        password_change_required=answer.password_change_required,
        scope=frozenset(answer.permissions),
    )


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    asked_at: float
    """Monotonic seconds."""


class RememberedKeys:
    """A resolver in front of another one. Listens to the feed from its first moment."""

    def __init__(
        self,
        resolver: ApiKeyResolver,
        revocations: Revocations,
        clock: Clock,
        tasks: TaskSet,
        *,
        max_remembered: int = MAX_REMEMBERED,
        max_asking: int = MAX_ASKING,
    ) -> None:
        """Look-ups run in `tasks`."""
        self._resolver = resolver
        self._revocations = revocations
        self._clock = clock
        self._tasks = tasks
        self._max_remembered = max_remembered
        self._max_asking = max_asking
        self._known: dict[bytes, _Remembered] = {}
        self._revocable = Revocable[bytes]()
        self._asking: dict[bytes, asyncio.Task[Principal | MeshError | None]] = {}
        self._under_way = 0
        revocations.listen(self)

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver. Raises ResourceExhausted too."""
        hashed = api_key_hash(key)
        known = self._known.get(hashed)
        if known is not None and self._holds(known):
            return known.principal
        asking = self._asking.get(hashed)
        if asking is None:
            if self._under_way >= self._max_asking:
                raise ResourceExhausted(
                    "OVERLOADED", "too many API keys are being checked", retry_after=timedelta(seconds=1)
                )
            asking = self._tasks.spawn(self._ask(key, hashed), name="API key look-up")
            self._asking[hashed] = asking
        answer = await asyncio.shield(asking)
        if isinstance(answer, MeshError):
            raise answer
        return answer

    def revoked(self, revocation: Revocation) -> None:
        """See `mesh.identity.revocations.Listener`."""
        if revocation.kind in (REVOCATION_KIND_API_KEY, REVOCATION_KIND_USER):
            self._forget(self._revocable.hit_by(revocation))

    def started_over(self) -> None:
        """See `mesh.identity.revocations.Listener`."""
        self._forget(list(self._known))

    def _forget(self, hashes: list[bytes]) -> None:
        for hashed in hashes:
            self._drop(hashed)
        # What is being asked may have been answered before the revocation: nobody else joins it, and it is not remembered.
        self._asking.clear()

    def _holds(self, known: _Remembered) -> bool:
        return (
            self._clock.monotonic() - known.asked_at < LONGEST_MEMORY.total_seconds()
            and self._clock.now() < known.principal.expire_time
            and self._revocations.fresh
        )

    async def _ask(self, key: str, hashed: bytes) -> Principal | MeshError | None:
        """One look-up. An error is its result, so that a look-up that fails is not a background task that dies."""
        asked_at = self._clock.monotonic()
        mine = asyncio.current_task()
        self._under_way += 1
        try:
            principal = await self._resolver.resolve(key)
        except MeshError as error:
            return error
        except Exception as error:
            logger.opt(exception=error).error("API key look-up failed unexpectedly")
            return Internal("INTERNAL", "the API key could not be checked")
        finally:
            self._under_way -= 1
            current = self._asking.get(hashed) is mine
            if current:
                del self._asking[hashed]
        if principal is not None and current:
            self._remember(hashed, _Remembered(principal, asked_at))
        return principal

    def _remember(self, hashed: bytes, known: _Remembered) -> None:
        self._drop(hashed)
        if len(self._known) >= self._max_remembered:
            self._drop(next(iter(self._known)))
        self._known[hashed] = known
        self._revocable.add(hashed, _names(known))

    def _drop(self, hashed: bytes) -> None:
        known = self._known.pop(hashed, None)
        if known is not None:
            self._revocable.discard(hashed, _names(known))


def _names(known: _Remembered) -> tuple[Name, ...]:
    return names_of_api_key(known.principal.token_id, known.principal.user_id)
