"""What a process says of itself, name by name, and what the gateway makes of it."""

from collections.abc import Awaitable, Callable

import pytest
from grpc_health.v1 import health_pb2

from gateway.readiness import facts_of, serves
from mesh.errors import Unavailable
from mesh.health import Health


def check(ok: bool) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        if not ok:
            raise Unavailable("SERVICE_UNAVAILABLE", "away")

    return look


async def told(**parts: tuple[bool, dict[str, bool]]) -> dict[str, str]:
    health = Health()
    for name, (ok, kind) in parts.items():
        health.add(name, check(ok), **kind)
    for name, dependency in health._dependencies.items():
        await health._look(name, dependency)
    await health._tell()
    name_of = health_pb2.HealthCheckResponse.ServingStatus.Name
    return {name: name_of(status) for name, status in health.servicer.statuses.items()}


@pytest.mark.parametrize(
    ("kind", "state", "whole", "ready"),
    [
        ({"vital": True}, "NOT_SERVING", "NOT_SERVING", False),
        ({}, "NOT_SERVING", "SERVING", False),
        ({"advisory": True}, "UNKNOWN", "SERVING", True),
    ],
)
async def test_what_is_away_is_told_by_what_it_stops(
    kind: dict[str, bool], state: str, whole: str, ready: bool
) -> None:
    """Without its database a service is out; without the vault the mesh is not ready; a refused setting stops nothing."""
    names = await told(part=(False, kind), other=(True, {}))
    assert names == {"part": state, "other": "SERVING", "": whole}
    assert serves(names) is ready


async def test_what_is_there_is_serving() -> None:
    """Whatever its kind."""
    names = await told(a=(True, {"vital": True}), b=(True, {}), c=(True, {"advisory": True}))
    assert set(names.values()) == {"SERVING"}
    assert serves(names)


async def test_numbers_beside_a_state_reach_the_gateway() -> None:
    """How late the oldest due post is says more than that something is late."""
    health = Health()
    health.add("part", check(True), facts=lambda: {"oldestOverdueSeconds": 7})
    health.add("other", check(True))
    sent: list[tuple[str, str]] = []

    class Context:
        def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
            sent.extend(metadata)

    await health.servicer.List(None, Context())
    assert facts_of(sent) == {"part": {"oldestOverdueSeconds": 7}}
    assert facts_of([]) == facts_of(None) == {}
