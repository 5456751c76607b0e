"""The token: one per process, renewed in time, replaced when it is gone.

    none ── log in ──▶ held ── 2/3 of its life ──▶ renewed (renew-self) ──▶ …
                        │ refused, expired, or renewals get short: log in again
                        └ vault says 403 and does not know the token any more: log in again, once for all who noticed

Logging in is single-flight, also when the first caller gives up half-way, because every login leaves a lease in the vault. A
refused login is not repeated before its back-off is over. How to log in is `mesh.vault.credentials`' business; every login begins with
the credentials that there are now, so rotated ones are found without a restart.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from hvac.api.auth_methods import Token
from loguru import logger

from mesh.clock import Clock
from mesh.secret import Secret
from mesh.vault.backoff import Backoff
from mesh.vault.credentials import Credentials
from mesh.vault.link import Link
from mesh.vault.verdicts import FORBIDDEN, RETRY_AFTER, permission_lost
from mesh.vault.wire import Answer, Wire

RENEW_AT: Final = 2 / 3
# Renewal comes up to a tenth of the life earlier, so that replicas do not come together.
JITTER: Final = 0.1
# Past this part of its life a token is not used any more: the request must arrive before it ends.
USABLE: Final = 0.95
# Near its maximum life a token's renewals get ever shorter; below this part of the first life a new one is better.
WORTH_RENEWING: Final = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """A token. `life` in seconds, 0: endless; `since` in seconds of the clock; `first_life` is the life it had when new."""

    value: Secret
    life: int
    first_life: int
    since: float
    renewable: bool
    early: float

    def due(self, now: float) -> bool:
        """Time to renew or replace it."""
        return bool(self.life) and now >= self.since + self.life * (RENEW_AT - self.early)

    def usable(self, now: float) -> bool:
        """Whether it may be sent."""
        return not self.life or now < self.since + self.life * USABLE

    def worth_renewing(self) -> bool:
        """Whether renewing beats a new login."""
        return self.renewable and self.life >= self.first_life * WORTH_RENEWING


class Login:
    """Holds the token. All coroutines raise Unavailable or ResourceExhausted; `deadline` is in seconds of time.monotonic."""

    def __init__(
        self,
        link: Link,
        credentials: Credentials,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._link = link
        self._credentials = credentials
        self._clock = clock
        self._jitter = jitter
        self._backoff = Backoff(clock, jitter)
        self._held: Held | None = None
        self._lost: Held | None = None
        """A token that the vault does not know any more, whatever its age."""
        self._flight = asyncio.Lock()
        # The second gate holds when the first caller was cancelled while its thread goes on.
        self._gate = threading.Lock()
        self.denied = False
        """Whether the last login was refused."""

    @property
    def alarm(self) -> bool:
        """Whether somebody else may hold our credentials."""
        return self._credentials.alarm

    @property
    def held(self) -> Held | None:
        """The token when it may be sent."""
        held = self._held
        if held is None or held is self._lost or not held.usable(self._clock.monotonic()):
            return None
        return held

    @property
    def left(self) -> timedelta:
        """Time until a login may be tried again."""
        return self._backoff.left

    async def token(self, deadline: float) -> Held:
        """The token, logging in when there is none that may be sent."""
        return self.held or await self.replace(self._held, deadline)

    async def replace(self, stale: Held | None, deadline: float) -> Held:
        """A token other than `stale`. Whoever comes second gets what the first one got."""
        async with self._flight:
            held = self._held
            if held is not None and held is not stale:
                return held
            if left := self._backoff.admit():
                raise permission_lost(max(left, RETRY_AFTER))
            answer = await self._link.ask(
                lambda wire: self._log_in(wire, stale), None, deadline, repeatable=True
            )
            return self._settled(answer, stale)

    async def known(self, held: Held, deadline: float) -> bool:
        """Whether the vault still knows the token; tells a lost token from a policy that forbids something. A lost one is not used again."""
        answer = await self._link.ask(
            lambda wire: Token(wire).lookup_self(), held.value, deadline, repeatable=True
        )
        if answer.status != FORBIDDEN:
            return True
        self._lost = held
        return False

    async def tend(self, deadline: float) -> None:
        """Renews or replaces the token when it is due; makes sure that there is one."""
        held = self.held
        if held is None or self._credentials.replaced():
            await self.replace(self._held, deadline)
        elif held.due(self._clock.monotonic()):
            renewed = await self._renew(held, deadline) if held.worth_renewing() else None
            if renewed is None or not renewed.worth_renewing():
                await self.replace(renewed or held, deadline)

    async def revoke(self, deadline: float) -> None:
        """Gives the token back, so that no lease stays behind."""
        held, self._held = self._held, None
        if held is not None:
            await self._link.ask(
                lambda wire: Token(wire).revoke_self(), held.value, deadline, repeatable=True
            )

    async def _renew(self, held: Held, deadline: float) -> Held | None:
        answer = await self._link.ask(
            lambda wire: Token(wire).renew_self(), held.value, deadline, repeatable=True
        )
        renewed = self._made(answer, held.first_life)
        if renewed is not None and self._held is held:
            self._held = renewed
        logger.bind(status=answer.status, life_seconds=renewed.life if renewed else None).debug(
            "vault token renewed"
        )
        return renewed

    def _log_in(self, wire: Wire, stale: Held | None) -> Answer:
        """On a worker thread."""
        with self._gate:
            if self._held is not None and self._held is not stale:
                return Answer(204)
            try:
                answer = self._credentials.log_in(wire)
            except (OSError, ValueError):
                # Without its files the service is who it claims to be just as little as with wrong ones.
                return Answer(FORBIDDEN)
            self._held = self._made(answer) or self._held
            return answer

    def _settled(self, answer: Answer, stale: Held | None) -> Held:
        held = self._held
        self.denied = held is None or held is stale
        if held is None or self.denied:
            self._backoff.failed()
            logger.bind(status=answer.status).warning("vault login refused")
            raise permission_lost(max(self._backoff.left, RETRY_AFTER))
        self._backoff.succeeded()
        logger.bind(life_seconds=held.life).info("vault login done")
        return held

    def _made(self, answer: Answer, first_life: int | None = None) -> Held | None:
        """The token of a login or renewal answer; None when it holds none."""
        auth = answer.body.get("auth")
        if not isinstance(auth, dict) or not isinstance(auth.get("client_token"), str):
            return None
        life = int(auth.get("lease_duration") or 0)
        return Held(
            value=Secret(auth["client_token"]),
            life=life,
            first_life=first_life or life,
            since=self._clock.monotonic(),
            renewable=bool(auth.get("renewable")),
            early=self._jitter() * JITTER,
        )
