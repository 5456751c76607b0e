"""Who answers, and what they miss: grpc.health.v1 of every service, asked with a short timeout, all at once.

A service lists each thing it depends on under a name of its own (`database`, `vault`, `publishing`, …). The mesh can do its main job
when every service answers and none of them misses anything; UNKNOWN is for what somebody should look at and what stops nothing.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from gateway.backends import Backend, Backends

CHECK: Final = "/grpc.health.v1.Health/Check"
LIST: Final = "/grpc.health.v1.Health/List"
WATCH: Final = "/grpc.health.v1.Health/Watch"
TIMEOUT_SECONDS: Final = 2.0

SERVING: Final = "SERVING"
UNKNOWN: Final = "UNKNOWN"
UNREACHABLE: Final = "UNREACHABLE"


FACTS_METADATA: Final = "vivesphere-health-facts"
"""Where a service tells numbers beside its states: a JSON object of objects, by dependency and fact."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a service's health lists: states by name, and numbers by name and fact."""

    states: dict[str, str]
    facts: dict[str, dict[str, int]] = field(default_factory=dict)


class Readiness:
    """Asks; keeps nothing. `draining` is set once the gateway stops."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self.draining = False

    async def services(self) -> dict[str, Listed]:
        """By service, the state of everything that its health service lists: SERVING, NOT_SERVING, …; {"": UNREACHABLE} for one
        that does not answer."""
        asked = self._backends.all()
        answers = await asyncio.gather(*(listed(backend) for backend in asked))
        return {backend.name: answer for backend, answer in zip(asked, answers, strict=True)}

    async def overall(self) -> str:
        """SERVING when every service is, misses nothing, and the gateway is not stopping."""
        found = await self.services()
        ready = not self.draining and all(serves(one.states) for one in found.values())
        return SERVING if ready else "NOT_SERVING"


def serves(names: dict[str, str]) -> bool:
    """Whether a service is SERVING and nothing it depends on is away."""
    return names.get("", SERVING) == SERVING and all(
        answer in (SERVING, UNKNOWN) for answer in names.values()
    )


async def listed(backend: Backend) -> Listed:
    """What one backend's health service lists; of the whole alone where it cannot list."""
    request = health_pb2.HealthListRequest().SerializeToString()
    call = backend.call(LIST, "unary", retryable=True)(request, timeout=TIMEOUT_SECONDS)
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return Listed({"": await state(backend, "")})
        return Listed({"": UNREACHABLE})
    statuses = health_pb2.HealthListResponse.FromString(answer).statuses
    name_of = health_pb2.HealthCheckResponse.ServingStatus.Name
    states = {name: str(name_of(statuses[name].status)) for name in sorted(statuses)}
    return Listed(states, facts_of(await call.trailing_metadata()))


def facts_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, dict[str, int]]:
    """The numbers that came with a list, if any did."""
    told = next((value for key, value in metadata or () if key == FACTS_METADATA), "{}")
    return dict(json.loads(told))


async def state(backend: Backend, service: str) -> str:
    """What one backend's health service says of `service` ("" for the whole).

    A backend without a health service counts as serving when it answers at all.
    """
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    try:
        answer = await backend.call(CHECK, "unary", retryable=True)(request, timeout=TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return SERVING
        return "SERVICE_UNKNOWN" if error.code() is grpc.StatusCode.NOT_FOUND else UNREACHABLE
    status = health_pb2.HealthCheckResponse.FromString(answer).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
