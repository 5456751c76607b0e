"""What is written down to be done at secure_bot_data and is done until it has succeeded, in every replica.

A duty is done twice on purpose, at once and again later, and doing it more often does no harm, so replicas need no agreement.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import MeshError, Unavailable
from mesh.tasks import Backoff, pause_or_stop

TICK: Final = timedelta(seconds=5)
BATCH: Final = 100
AWAY: Final = Backoff(first=timedelta(milliseconds=500), most=timedelta(seconds=30))


class Duty(Protocol):
    """Something to be done about one bot."""

    @property
    def bot_id(self) -> str:
        """The bot."""
        ...


D = TypeVar("D", bound=Duty)


class DutyWorker(ABC, Generic[D]):
    """A loop over the duties of one kind."""

    name: ClassVar[str]
    """What the calls are made for, on traces and in logs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()

    @abstractmethod
    async def due(self, limit: int) -> Sequence[D]:
        """Duties whose time has come. Raises Unavailable or DeadlineExceeded if the database cannot be asked."""

    @abstractmethod
    async def do(self, duty: D) -> None:
        """Do one and strike it off. Raises MeshError if it is to be tried again."""

    def wake(self) -> None:
        """Look now: something was written down."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled. Survives the loss of the database and of whom the work calls."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                await self.do_due()
            except MeshError as error:
                failures += 1
                if failures == 1:
                    logger.bind(reason=error.reason, duty=self.name).warning("duties wait")
                await self._clock.sleep(AWAY.pause(failures))
            else:
                failures = 0
                await pause_or_stop(TICK, self._woken, self._clock)

    async def do_due(self) -> None:
        """One round. Raises Unavailable at once, any other MeshError when the others have had their turn."""
        refused: MeshError | None = None
        for duty in await self.due(BATCH):
            try:
                with background_call(self.name, bot_id=duty.bot_id):
                    await self.do(duty)
            except Unavailable:
                raise
            except MeshError as error:
                refused = error
        if refused is not None:
            raise refused
