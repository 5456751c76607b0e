"""Who an API key acts for: asked of authentication, remembered for a short while.

A key says nothing by itself, so its first use costs a look-up (`IntrospectToken`, with the key as its own credential). A good answer is
remembered under the key's hash for 30 seconds, never past the key's end, and dropped when the feed tells that the key or anything of
its owner was revoked; one that may have been read before such a revocation is asked for again. While the feed is stale every use is
looked up. Calls that come with the same key at the same time share one look-up, which belongs to none of them: it does not end with the
call that happened to come first.

Bad answers are not remembered: a key that is refused may be one that was made a moment ago.
"""

import asyncio
from collections.abc import Callable
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
ATTEMPTS: Final = 3
"""Answers in a row that a revocation overtook before the look-up is given up."""
ASK_AGAIN: Final = timedelta(seconds=1)


class ApiKeyResolver(Protocol):
    """Knows whom keys act for."""

    async def resolve(self, key: str) -> Principal | None:
        """The principal of a well-formed key, or None if it is not good now. Raises Unavailable if that cannot be found out."""


class Introspection:
    """Asks authentication; `authentication` gives a stub of AuthenticationService."""

    def __init__(self, authentication: Callable[[], Any]) -> None:
        self._authentication = authentication

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver."""
        request = authentication_service_pb2.IntrospectTokenRequest(token=key)
        try:
            with calling_with(f"Bearer {key}"):
                answer = await invoke(
                    self._authentication().IntrospectToken, request, timeout=LOOK_UP_TIMEOUT
                )
        except Unauthenticated:
            return None  # the key was the call's own credential, so this is the answer
        except MeshError as error:
            logger.bind(reason=error.reason).debug("API key not looked up")
            raise Unavailable(
                "SERVICE_UNAVAILABLE",
                "API keys cannot be checked while authentication does not answer",
                retry_after=ASK_AGAIN,
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

    @property
    def names(self) -> tuple[Name, ...]:
        return names_of_api_key(self.principal.token_id, self.principal.user_id)


class _LookUp:
    """A look-up under way, and what was revoked meanwhile."""

    def __init__(self) -> None:
        self.revoked: set[Name] = set()
        self.started_over = False
        self.task: asyncio.Task[Principal | MeshError | None] | None = None

    def begin(self) -> None:
        """What was revoked before does not matter any more."""
        self.revoked.clear()
        self.started_over = False

    def overtook(self, known: _Remembered) -> bool:
        """Whether the answer may be from before a revocation that hits it."""
        return self.started_over or not self.revoked.isdisjoint(known.names)


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
        self._asking: dict[bytes, _LookUp] = {}
        revocations.listen(self)

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver. Raises ResourceExhausted too."""
        hashed = api_key_hash(key)
        for _ in range(ATTEMPTS):
            known = self._known.get(hashed)
            if known is not None and self._holds(known):
                return known.principal
            answer = await asyncio.shield(self._join(key, hashed))
            if isinstance(answer, MeshError):
                raise answer
            # Unless it was dropped again, before we woke up to see it.
            if answer is None or hashed in self._known:
                return answer
        raise _overtaken()

    def revoked(self, revocation: Revocation) -> None:
        """See `mesh.identity.revocations.Listener`."""
        if revocation.kind not in (REVOCATION_KIND_API_KEY, REVOCATION_KIND_USER):
            return
        for hashed in self._revocable.hit_by(revocation):
            self._drop(hashed)
        for look_up in self._asking.values():
            look_up.revoked.add((revocation.kind, revocation.id))

    def started_over(self) -> None:
        """See `mesh.identity.revocations.Listener`."""
        for hashed in list(self._known):
            self._drop(hashed)
        for look_up in self._asking.values():
            look_up.started_over = True

    def _holds(self, known: _Remembered) -> bool:
        return (
            self._clock.monotonic() - known.asked_at < LONGEST_MEMORY.total_seconds()
            and self._clock.now() < known.principal.expire_time
            and self._revocations.fresh
        )

    def _join(self, key: str, hashed: bytes) -> "asyncio.Task[Principal | MeshError | None]":
        """The look-up that is under way, or a new one."""
        look_up = self._asking.get(hashed)
        if look_up is None or look_up.task is None:
            if len(self._asking) >= self._max_asking:
                raise ResourceExhausted(
                    "OVERLOADED", "too many API keys are being checked", retry_after=ASK_AGAIN
                )
            look_up = self._asking[hashed] = _LookUp()
            look_up.task = self._tasks.spawn(self._ask(key, hashed, look_up), name="API key look-up")
            look_up.task.add_done_callback(lambda _: self._asking.pop(hashed))
        return look_up.task

    async def _ask(self, key: str, hashed: bytes, look_up: _LookUp) -> Principal | MeshError | None:
        """One look-up. An error is its result, so that a look-up that fails is not a background task that dies."""
        try:
            for _ in range(ATTEMPTS):
                look_up.begin()
                asked_at = self._clock.monotonic()
                principal = await self._resolver.resolve(key)
                if principal is None:
                    return None
                known = _Remembered(principal, asked_at)
                if not look_up.overtook(known):
                    self._remember(hashed, known)
                    return principal
        except MeshError as error:
            return error
        except Exception as error:
            logger.opt(exception=error).error("API key look-up failed unexpectedly")
            return Internal("INTERNAL", "the API key could not be checked")
        return _overtaken()

    def _remember(self, hashed: bytes, known: _Remembered) -> None:
        self._drop(hashed)
        if len(self._known) >= self._max_remembered:
            self._drop(next(iter(self._known)))
        self._known[hashed] = known
        self._revocable.add(hashed, known.names)

    def _drop(self, hashed: bytes) -> None:
        known = self._known.pop(hashed, None)
        if known is not None:
            self._revocable.discard(hashed, known.names)


def _overtaken() -> Unavailable:
    return Unavailable(
        "SERVICE_UNAVAILABLE", "the API key changes faster than it can be checked", retry_after=ASK_AGAIN
    )
