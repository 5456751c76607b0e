"""Who answers: grpc.health.v1 of every service, asked with a short timeout, all at once."""

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from gateway.backends import Backend, Backends

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
TIMEOUT_SECONDS: Final = 2.0

SERVING: Final = "SERVING"
UNREACHABLE: Final = "UNREACHABLE"


class Readiness:
    """Asks; keeps nothing. `draining` is set once the gateway stops."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self.draining = False

    async def states(self) -> dict[str, str]:
        """State by service: SERVING, NOT_SERVING, UNKNOWN, or UNREACHABLE."""
        asked = self._backends.all()
        answers = await asyncio.gather(*(state(backend, "") for backend in asked))
        return {backend.name: answer for backend, answer in zip(asked, answers, strict=True)}

    async def overall(self) -> str:
        """SERVING when every service is and the gateway is not stopping."""
        if self.draining:
            return "NOT_SERVING"
        return (
            SERVING if all(answer == SERVING for answer in (await self.states()).values()) else "NOT_SERVING"
        )


async def state(backend: Backend, service: str) -> str:
    """What one backend's health service says of `service` ("" for the whole).

    A backend without a health service counts as serving when it answers at all.
    """
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    try:
        answer = await backend.call(CHECK, "unary")(request, timeout=TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return SERVING
        return "SERVICE_UNKNOWN" if error.code() is grpc.StatusCode.NOT_FOUND else UNREACHABLE
    status = health_pb2.HealthCheckResponse.FromString(answer).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
