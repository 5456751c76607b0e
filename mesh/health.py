"""What this process can do right now, told through grpc.health.v1.

Each dependency has a name of its own (`database`, `messaging`, `vault`, …) with its own status, so that the gateway's `/readyz` can say
which part is missing. The empty name is the process itself: SERVING once it has started, unless a dependency that every call needs
is away. Checks run every second, each with a time limit; when the process stops, everything turns NOT_SERVING first.

What somebody should look at and what stops nothing (a setting that was refused, while the old value goes on) is UNKNOWN instead of
NOT_SERVING: it is shown, and nobody turns away for it.

Numbers that belong to a status (how late the oldest due post is) travel as JSON in the trailing metadata of List.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from loguru import logger

from mesh.errors import MeshError

INTERVAL = timedelta(seconds=1)
CHECK_TIMEOUT = timedelta(seconds=2)

FACTS_METADATA = "vivesphere-health-facts"
"""Key of the metadata; the value is a JSON object of objects of whole numbers, by dependency and fact."""

Check = Callable[[], Awaitable[None]]
Facts = Callable[[], Mapping[str, int]]


@dataclass(slots=True)
class _Dependency:
    check: Check
    vital: bool
    advisory: bool
    healthy: bool = False


class ListingServicer(health_aio.HealthServicer):  # type: ignore[misc]  # the library ships no types
    """grpcio-health-checking's servicer with the List method of the protocol, which it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: dict[str, int] = {}
        self.facts: dict[str, Facts] = {}

    async def List(self, request: object, context: Any) -> health_pb2.HealthListResponse:
        """Every name with its status."""
        if self.facts:
            told = {name: dict(facts()) for name, facts in self.facts.items()}
            context.set_trailing_metadata(((FACTS_METADATA, json.dumps(told)),))
        return health_pb2.HealthListResponse(
            statuses={
                name: health_pb2.HealthCheckResponse(status=status) for name, status in self.statuses.items()
            }
        )


class Health:
    """Status of the process and of what it depends on."""

    def __init__(self) -> None:
        self.servicer = ListingServicer()
        self._dependencies: dict[str, _Dependency] = {}
        self._services: tuple[str, ...] = ()
        self._stopping = False

    def add(
        self,
        name: str,
        check: Check,
        *,
        vital: bool = False,
        advisory: bool = False,
        facts: Facts | None = None,
    ) -> None:
        """Watch a dependency: `check` raises MeshError while it is away. `vital`: without it no call can be served. `advisory`: without
        it everything goes on. `facts` are numbers to show beside it."""
        self._dependencies[name] = _Dependency(check, vital, advisory)
        if facts is not None:
            self.servicer.facts[name] = facts

    def serves(self, services: tuple[str, ...]) -> None:
        """The proto services whose status follows the process's."""
        self._services = services

    async def run(self) -> None:
        """Check every second until cancelled."""
        while not self._stopping:
            await asyncio.gather(*(self._look(name, item) for name, item in self._dependencies.items()))
            await self._tell()
            await asyncio.sleep(INTERVAL.total_seconds())

    async def stop(self) -> None:
        """Everything is NOT_SERVING from now on, so that balancers turn away before the port closes."""
        self._stopping = True
        for name in list(self.servicer.statuses):
            self.servicer.statuses[name] = health_pb2.HealthCheckResponse.NOT_SERVING
        await self.servicer.enter_graceful_shutdown()

    async def _look(self, name: str, dependency: _Dependency) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
                await dependency.check()
        except (MeshError, TimeoutError) as error:
            if dependency.healthy:
                reason = error.reason if isinstance(error, MeshError) else "TIMEOUT"
                logger.bind(dependency=name, reason=reason).warning("dependency lost")
            dependency.healthy = False
        else:
            if not dependency.healthy:
                logger.bind(dependency=name).info("dependency ready")
            dependency.healthy = True
        await self._set(name, dependency.healthy, dependency.advisory)

    async def _tell(self) -> None:
        serving = all(item.healthy for item in self._dependencies.values() if item.vital)
        for name in ("", *self._services):
            await self._set(name, serving)

    async def _set(self, name: str, healthy: bool, advisory: bool = False) -> None:
        kinds = health_pb2.HealthCheckResponse
        away = kinds.UNKNOWN if advisory and not self._stopping else kinds.NOT_SERVING
        status = kinds.SERVING if healthy and not self._stopping else away
        self.servicer.statuses[name] = status
        await self.servicer.set(name, status)
