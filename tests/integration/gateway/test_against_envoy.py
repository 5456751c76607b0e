"""This gateway and a real Envoy side by side, on requests made at random.

Both stand before one backend. The status and what the backend saw are the same, or a decision says why not (`explaining`, whose keys are
those of docs/gateway.md). In the long profile thousands of other requests are tried each time.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from gateway.transcoding.schema import Schema
from tests.integration.gateway.envoy import running_envoy
from tests.integration.gateway.explaining import Outcome, explain
from tests.integration.gateway.making import Request, requests
from tests.integration.gateway.probing import Front, arrived, front, probe_behaviours, send
from tests.unit.gateway.support import compile_set
from tests.vectors.decisions import REASONS
from tests.vectors.reading import PROTOS, cases

RAW = compile_set(PROTOS, "probe.proto")
LEFT_OUT = ("Slow", "HeadItem")  # takes its time; says nothing of why it is refused
LONG = settings.default.max_examples > 1000


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Front, int]]:
    """Ours with the backend, and Envoy's port."""
    folder = tmp_path_factory.mktemp("envoy")
    async with front(RAW) as ours:
        ours.backend.behaviours |= probe_behaviours(ours.backend)
        async with running_envoy(RAW, "probe.v1.ProbeService", ours.backend_port, Path(folder)) as port:
            yield ours, port


async def both(pair: tuple[Front, int], request: Request) -> tuple[Outcome, Outcome]:
    """The same request to one after the other."""
    ours, port = pair
    found: list[Outcome] = []
    for one in (ours.port, port):
        ours.backend.seen.clear()
        answer = await send(one, request)
        found.append((answer, arrived(ours.backend)))
    return found[0], found[1]


@settings(
    max_examples=5_000 if LONG else 150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(request=requests(Schema(RAW), LEFT_OUT))
async def test_a_request_goes_as_through_envoy_or_as_decided(
    pair: tuple[Front, int], request: Request
) -> None:
    """Two independent readings of one specification; what only one of them does is a mistake or a decision."""
    mine, envoys = await both(pair, request)
    assert mine[0].status < 500 or mine[0].status == envoys[0].status
    if (mine[0].status, mine[1]) != (envoys[0].status, envoys[1]):
        key = explain(request, mine, envoys)
        assert key in REASONS, f"{request}\nours {mine}\nEnvoy {envoys}"


async def test_what_is_marked_as_agreed_is(pair: tuple[Front, int]) -> None:
    """The vectors' word for it may grow old: this Envoy is asked again."""
    for case in cases("exchanges.json"):
        if case.get("agreed"):
            mine, envoys = await both(pair, case)
            assert (mine[0].status, mine[1]) == (envoys[0].status, envoys[1]), case["id"]
