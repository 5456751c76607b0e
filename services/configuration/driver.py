"""Drives what goes on by itself: approvals that run out, the steps of roll-outs, their guards, and refusals of instances.

Everything it needs is in the database, so any replica may do any step, and a restart forgets nothing. All replicas look every second;
`ChangeBook` decides again under the writer's lock, which is where all but the first find nothing to do.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.tasks import pause_or_stop
from services.configuration.domain.change_book import ChangeBook
from services.configuration.domain.definition import SHARED
from services.configuration.domain.guard import Rate, looks_back_to, trips
from services.configuration.domain.pending import Event, PendingChange, State
from services.configuration.domain.rollout import FORGOTTEN_AFTER, MAX_INSTANCES, Instance
from services.configuration.domain.rollout_plan import Guard, within
from services.configuration.store.ports import InstanceCalls, Instances

TICK = timedelta(seconds=1)
BATCH = 100
"""Changes looked at in one tick; the longest due come first."""
PRUNE_INTERVAL = timedelta(minutes=1)


class Driver:
    """See the module."""

    def __init__(self, book: ChangeBook, instances: Instances, calls: InstanceCalls, clock: Clock) -> None:
        self._book = book
        self._instances = instances
        self._calls = calls
        self._clock = clock
        self._wake = asyncio.Event()
        self._pruned = clock.monotonic()

    def wake(self) -> None:
        """Look now: there is reason to believe that something must be reverted."""
        self._wake.set()

    async def run(self) -> None:
        """Look every second until cancelled. Survives the loss of the database."""
        away = False
        while True:
            self._wake.clear()
            try:
                await self.tick()
                away = False
            except MeshError as error:
                logger.bind(reason=error.reason).log("DEBUG" if away else "WARNING", "changes not driven")
                away = True
                await self._clock.sleep(TICK)
            await pause_or_stop(TICK, self._wake, self._clock)

    async def tick(self) -> None:
        """Do what is to be done now. One change that fails holds up no other. Raises the first failure when all were tried."""
        failure: MeshError | None = None
        changes = await self._book.driven(BATCH)
        rolling = any(change.state is State.ROLLING_OUT for change in changes)
        instances = await self._seen() if rolling else ()
        for change in changes:
            try:
                await self._drive(change, instances)
            except MeshError as error:
                failure = failure or error
        await self._prune()
        if failure is not None:
            raise failure

    async def _drive(self, change: PendingChange, instances: Sequence[Instance]) -> None:
        if change.state is State.ROLLING_OUT:
            if refusal := refusal_of(change, instances):
                await self._revert(change, Event.REFUSE, refusal)
                return
            if sentence := await self._judged(change, instances):
                await self._revert(change, Event.TRIP, sentence)
                return
        if change.next_time is not None and change.next_time <= self._clock.now():
            result = await self._book.advance(change.id)
            if result is not None:
                logger.bind(
                    change_id=change.id, state=result.state.name, share_percent=result.share_percent
                ).info("change of settings went on")

    async def _revert(self, change: PendingChange, event: Event, outcome: str) -> None:
        if await self._book.revert(change.id, event, outcome) is not None:
            logger.bind(change_id=change.id, cause=event.value).warning("change of settings reverted")

    async def _judged(self, change: PendingChange, instances: Sequence[Instance]) -> str:
        """Why the guard reverts the change; empty if it does not."""
        guard = change.plan.guard if change.plan else None
        if guard is None:
            return ""
        since, rate = looks_back_to(change.update_time, self._clock.now()), Rate()
        for service, names in judged_instances(change, guard, instances).items():
            rate += await self._calls.of(service, names, since)
        return trips(guard, rate)

    async def _seen(self) -> Sequence[Instance]:
        return await self._instances.all("", self._clock.now() - FORGOTTEN_AFTER, MAX_INSTANCES)

    async def _prune(self) -> None:
        if self._clock.monotonic() - self._pruned >= PRUNE_INTERVAL.total_seconds():
            await self._calls.prune(self._clock.now())
            self._pruned = self._clock.monotonic()


def refusal_of(change: PendingChange, instances: Sequence[Instance]) -> str:
    """What an instance that has the new values says against them; empty if none does."""
    keys = frozenset(change.keys)
    for instance in instances:
        if instance.refused_revision < change.staged_revision or not within(
            change.id, instance.instance, change.share_percent
        ):
            continue
        for refusal in instance.refusals:
            if refusal.key in keys:
                return f"{instance.service} {instance.instance} refused {refusal.key}: {refusal.reason}"
    return ""


def judged_instances(
    change: PendingChange, guard: Guard, instances: Sequence[Instance]
) -> dict[str, list[str]]:
    """By service, the instances with the new values whose calls count."""
    services = frozenset([guard.service] if guard.service else [key.partition(".")[0] for key in change.keys])
    names: defaultdict[str, list[str]] = defaultdict(list)
    for instance in instances:
        if (instance.service in services or SHARED in services) and within(
            change.id, instance.instance, change.share_percent
        ):
            names[instance.service].append(instance.instance)
    return dict(names)
