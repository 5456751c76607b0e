"""Bots' secrets, lent by secure_bot_data for a short time and kept in memory no longer than that.

One lease serves all calls of a bot while it lasts, since the lender limits leases per bot and writes each to its trail; callers that come
while a lease is being asked for share the answer, also the refusal. What is given out can be used for at least as long as one call takes.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError
from mesh.tasks import TaskSet
from services.bot_manager.x.port import OAuth1Credentials
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2

SECRET_NAME: Final = "x_oauth1"  # noqa: S105 - the name under which it is kept, not a secret
SHORTEST_TERM: Final = timedelta(minutes=1)
LONGEST_TERM: Final = timedelta(minutes=5)
"""What the lender allows."""
CALL_TIMEOUT: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class LeasedCredentials:
    """Credentials to use until `end` (monotonic seconds) and then to forget. `version` is secure_bot_data's."""

    credentials: OAuth1Credentials
    version: int
    end: float


class Leases:
    """The leases of this process. `secrets` is a stub with LeaseBotSecret."""

    def __init__(self, secrets: Any, tasks: TaskSet, clock: Clock) -> None:
        self._secrets = secrets
        self._tasks = tasks
        self._clock = clock
        self._held: dict[str, LeasedCredentials] = {}
        self._asked: dict[str, asyncio.Task[LeasedCredentials | MeshError]] = {}

    async def get(self, bot_id: str, reason: str, need: timedelta) -> LeasedCredentials:
        """Credentials that last for `need` at least. `reason` is for whoever reads the trail.

        Raises FailedPrecondition (CREDENTIALS_MISSING) if there are none to be had, else what the lender or the way to it raises.
        """
        held = self._held.get(bot_id)
        if held is not None and self.holds(bot_id, need):
            return held
        answer = await asyncio.shield(self._ask(bot_id, reason, need))
        if isinstance(answer, MeshError):
            raise answer
        return answer

    def holds(self, bot_id: str, need: timedelta) -> bool:
        """Whether what is held lasts, so that nobody has to be asked."""
        held = self._held.get(bot_id)
        return held is not None and held.end - self._clock.monotonic() > need.total_seconds()

    def forget(self, bot_id: str) -> None:
        """Drop what is held, and do not keep what is being asked for."""
        self._held.pop(bot_id, None)
        self._asked.pop(bot_id, None)

    def sweep(self) -> None:
        """Drop what has ended."""
        now = self._clock.monotonic()
        self._held = {bot_id: held for bot_id, held in self._held.items() if held.end > now}

    def _ask(
        self, bot_id: str, reason: str, need: timedelta
    ) -> "asyncio.Task[LeasedCredentials | MeshError]":
        asked = self._asked.get(bot_id)
        if asked is None:
            asked = self._tasks.spawn(self._lease(bot_id, reason, _term(need)), name="secret lease")
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

    async def _lease(self, bot_id: str, reason: str, term: timedelta) -> LeasedCredentials | MeshError:
        request = bot_secret_service_pb2.LeaseBotSecretRequest(
            bot_id=bot_id, name=SECRET_NAME, ttl=_duration(term), reason=reason
        )
        asked = self._clock.monotonic()
        try:
            answer: bot_secret_service_pb2.LeaseBotSecretResponse = await invoke(
                self._secrets.LeaseBotSecret, request, timeout=CALL_TIMEOUT
            )
        except MeshError as error:
            return _missing(error)
        if answer.kind != bot_secret_pb2.SECRET_KIND_X_OAUTH1:
            return FailedPrecondition("CREDENTIALS_MISSING", "the stored secret is of another kind")
        try:
            credentials = OAuth1Credentials.from_fields(answer.fields)
        except ValueError as error:
            return FailedPrecondition("CREDENTIALS_MISSING", str(error))
        granted = answer.ttl.ToTimedelta() or term
        return LeasedCredentials(credentials, answer.version, asked + granted.total_seconds())


MISSING: Final = frozenset({"SECRET_NOT_FOUND", "SECRET_DELETED", "SECRET_DESTROYED", "SECRET_EXPIRED"})
"""What the lender answers when there is nothing to lend, and nothing will change by waiting."""


def _missing(error: MeshError) -> MeshError:
    if error.reason in MISSING:
        return FailedPrecondition(
            "CREDENTIALS_MISSING", f"the bot has no usable credentials: {error.message}"
        )
    return error


def _term(need: timedelta) -> timedelta:
    """Long enough for several calls."""
    return min(max(need * 2, SHORTEST_TERM), LONGEST_TERM)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
