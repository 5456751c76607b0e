"""Whatever arrives at the HTTP port is answered in time, by an answer that is whole, and blames nobody but the client.

Through a real connection and before a real service: wild requests for the contract's routes, wild headers, wild calls in Connect and
gRPC-Web. `make fuzz` tries each of them for minutes. What must not happen, the service cannot cause (`fuzzing`).
"""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from gateway.transcoding.schema import Schema
from tests.integration.gateway import wild
from tests.integration.gateway.aiming import aimed, with_headers
from tests.integration.gateway.calling import calls, require_answered
from tests.integration.gateway.fuzzing import Watched, ask, joined, require_sound, watched_front
from tests.integration.gateway.http2_asking import MALFORMED, ask_http2
from tests.integration.gateway.making import Request
from tests.unit.gateway.support import compile_set, echo_set, flow_set, shelf_set
from tests.vectors.reading import PROTOS

RAW = joined(compile_set(PROTOS, "probe.proto"), echo_set(), shelf_set(), flow_set())
SCHEMA = Schema(RAW)
REQUESTS = aimed(SCHEMA)
WITH_HEADERS = with_headers(REQUESTS, wild.headers(wild.MEANT)) | with_headers(REQUESTS, wild.headers())
CALLS = calls(SCHEMA)
KINDS = {"rest": REQUESTS, "headers": WITH_HEADERS, "calls": CALLS}
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # what fails may be large
LONG = settings.default.max_examples > 1000
EXAMPLES = 20_000 if LONG else 60
"""In the long form some minutes for each test."""
SAMPLE = 100

_settings = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
async def probe() -> AsyncIterator[Watched]:
    """A gateway before a service that never fails, and what was logged of failures."""
    async with watched_front(RAW) as running:
        yield running


async def require_answer(probe: Watched, request: Request) -> None:
    """The request is answered as it may be."""
    answer = await ask(probe.port, request)
    event(f"status {answer.status}")
    require_sound(request, answer)
    probe.require_no_fault()


@_settings
@given(request=REQUESTS)
async def test_a_wild_request_is_answered(probe: Watched, request: Request) -> None:
    """REST: path, query and body."""
    await require_answer(probe, request)


@_settings
@given(request=WITH_HEADERS)
async def test_a_request_with_wild_headers_is_answered(probe: Watched, request: Request) -> None:
    """REST: what else a request says of itself."""
    await require_answer(probe, request)


@_settings
@given(request=CALLS | with_headers(CALLS, wild.headers(wild.MEANT)))
async def test_a_wild_call_is_answered(probe: Watched, request: Request) -> None:
    """Connect and gRPC-Web."""
    answer = await ask(probe.port, request)
    event(require_answered(request, answer))
    probe.require_no_fault()


@_settings
@given(request=REQUESTS | WITH_HEADERS | CALLS)
async def test_a_wild_request_over_http2_is_answered(probe: Watched, request: Request) -> None:
    """The same requests in the other version, where bodies are not announced and names have no capitals."""
    answer = await ask_http2(probe.port, request)
    event("malformed" if answer is MALFORMED else f"status {answer.status}")
    if answer is not MALFORMED:
        require_sound(request, answer)
    probe.require_no_fault()


def sample(requests: st.SearchStrategy[Request]) -> list[Request]:
    """The same requests every time."""
    made: list[Request] = []

    @settings(
        max_examples=SAMPLE,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def draw(request: Request) -> None:
        made.append(request)

    draw()
    return made


@pytest.mark.parametrize(
    ("kind", "least", "unrouted"), [("rest", 0.3, 0.2), ("headers", 0.1, 0.2), ("calls", 0.5, 0.05)]
)
async def test_the_fuzz_reaches_methods(probe: Watched, kind: str, least: float, unrouted: float) -> None:
    """A fuzz that only meets the router, or one refusal, finds nothing in what lies behind; nobody would notice that it has become so."""
    found: Counter[str] = Counter()
    tried = sample(KINDS[kind])
    for request in tried:
        answer = await ask(probe.port, request)
        found[require_answered(request, answer) if kind == "calls" else str(answer.status)] += 1
    good = found["200"] + found["204"] + found["304"] + found["OK"]
    assert good >= least * len(tried), found
    assert found["404"] <= unrouted * len(tried), found
