"""Bots' secrets, lent by secure_bot_data for a short time and kept in memory no longer than that.

One lease serves all calls of a bot while it lasts, since the lender limits leases per bot and writes each to its trail; callers that come
while a lease is being asked for share the answer, also the refusal. What is given out can be used for at least as long as one call takes.
How a lease is had, and what OAuth 2.0 needs beside it, is `lending.py`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.publishing.lending import SECRET_NAME, LeasedCredentials, Lender, Tokens
from services.bot_manager.x.port import XCredentials

T = TypeVar("T")

__all__ = ["SECRET_NAME", "LeasedCredentials", "Leases"]

PATIENCE: Final = timedelta(seconds=30)
"""How long one caller waits, for a token that is being replaced say; the others have their turn meanwhile."""


class Leases:
    """The leases of this process. `secrets` is a stub with LeaseBotSecret; without `tokens` every bot uses OAuth 1.0a."""

    def __init__(self, secrets: Any, tasks: TaskSet, clock: Clock, tokens: Tokens | None = None) -> None:
        self._lender = Lender(secrets, clock, tokens)
        self._tasks = tasks
        self._clock = clock
        self._held: dict[str, LeasedCredentials] = {}
        self._asked: dict[str, asyncio.Task[LeasedCredentials | MeshError]] = {}

    async def get(self, bot_id: str, reason: str, need: timedelta) -> LeasedCredentials:
        """Credentials that last for `need` at least. `reason` is for whoever reads the trail.

        Raises FailedPrecondition (CREDENTIALS_MISSING) if there are none to be had, (X_CREDENTIALS_REJECTED) if X takes those that there are
        no longer, Unavailable if that takes too long, else what the lender or the way to it raises.
        """
        held = self._held.get(bot_id)
        if held is not None and self.holds(bot_id, need):
            return held
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                answer = await asyncio.shield(self._ask(bot_id, reason, need))
        except TimeoutError:
            raise Unavailable("X_UNAVAILABLE", "the bot's token is still being replaced") from None
        if isinstance(answer, MeshError):
            raise answer
        return answer

    async def call(
        self, bot_id: str, reason: str, need: timedelta, read: Callable[[XCredentials], Awaitable[T]]
    ) -> T:
        """What a call that only reads tells. If X refuses the credentials it is made once more with others, where there are others.

        Raises as `get` and what `read` raises.
        """
        leased = await self.get(bot_id, reason, need)
        try:
            return await read(leased.credentials)
        except FailedPrecondition as refused:
            if refused.reason != "X_CREDENTIALS_REJECTED":
                raise
            self.refuse(bot_id, leased.version)
            other = await self.get(bot_id, reason, need)
            if other.same_as(leased):
                raise
        return await read(other.credentials)

    def holds(self, bot_id: str, need: timedelta) -> bool:
        """Whether what is held lasts, so that nobody has to be asked."""
        held = self._held.get(bot_id)
        return held is not None and held.end - self._clock.monotonic() > need.total_seconds()

    def forget(self, bot_id: str) -> None:
        """Drop what is held, and do not keep what is being asked for: the bot has other credentials, or none."""
        self._held.pop(bot_id, None)
        self._asked.pop(bot_id, None)
        self._lender.trust(bot_id)

    def refuse(self, bot_id: str, version: int) -> None:
        """X refused this version: ask for a newer one next time. One that is held already is kept."""
        held = self._held.get(bot_id)
        if held is None or held.version <= version:
            self._held.pop(bot_id, None)
            if self._lender.refuse(bot_id, version):
                # What was asked for before this was known may be that very version.
                self._asked.pop(bot_id, None)

    def sweep(self) -> None:
        """Drop what has ended."""
        now = self._clock.monotonic()
        self._held = {bot_id: held for bot_id, held in self._held.items() if held.end > now}
        self._lender.sweep()

    def _ask(
        self, bot_id: str, reason: str, need: timedelta
    ) -> "asyncio.Task[LeasedCredentials | MeshError]":
        asked = self._asked.get(bot_id)
        if asked is None:
            asked = self._tasks.spawn(self._lease(bot_id, reason, need), name="secret lease")
            self._asked[bot_id] = asked
            asked.add_done_callback(lambda task: self._keep(bot_id, task))
        return asked

    def _keep(self, bot_id: str, task: "asyncio.Task[LeasedCredentials | MeshError]") -> None:
        if self._asked.get(bot_id) is not task:
            return
        del self._asked[bot_id]
        if not task.cancelled() and task.exception() is None:
            answer = task.result()
            if isinstance(answer, LeasedCredentials):
                self._held[bot_id] = answer

    async def _lease(self, bot_id: str, reason: str, need: timedelta) -> LeasedCredentials | MeshError:
        try:
            return await self._lender.lend(bot_id, reason, need)
        except MeshError as error:
            return error
