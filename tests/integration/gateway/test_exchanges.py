"""Laws of transcoding as whole exchanges: tests/vectors/exchanges.json, over HTTP and a real gRPC backend.

Each case is a test of its own: what is answered, which fields an error names, and what the service saw. `flaw/…` are mistakes of other
gateways that must not be made here.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.probing import Answer, Front, arrived, front, probe_behaviours, send
from tests.unit.gateway.support import compile_set
from tests.vectors.decisions import REASONS
from tests.vectors.reading import PROTOS, cases

CASES = cases("exchanges.json")
DOCS = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"


@pytest.fixture(scope="module")
async def probe() -> AsyncIterator[Front]:
    """The gateway before the probe service."""
    async with front(compile_set(PROTOS, "probe.proto")) as running:
        running.backend.behaviours |= probe_behaviours(running.backend)
        yield running


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
async def test_an_exchange_goes_as_decided(probe: Front, case: Any) -> None:
    """Status, reason and named fields, and the call that a service saw, or that it saw none."""
    probe.backend.seen.clear()
    answer = await send(probe.port, case)
    assert answer.status == case["status"], answer.body
    seen = [[method.rpartition("/")[2], requests] for method, requests in arrived(probe.backend)]
    assert seen == case.get("calls", [])
    if "reason" in case:
        assert refusal(answer) == (case["reason"], case.get("fields", []))
    if "answer" in case:
        assert json.loads(answer.body) == case["answer"]
    assert answer.headers.get("allow") == case.get("allow")


def refusal(answer: Answer) -> tuple[str, list[str]]:
    """The reason of an error, and the fields it names."""
    details = json.loads(answer.body)["details"]
    violations = [one for detail in details for one in detail.get("fieldViolations", [])]
    return next(detail["reason"] for detail in details if "reason" in detail), [
        one["field"] for one in violations
    ]


def test_every_decision_is_in_the_documentation() -> None:
    """Who moves here from another gateway reads where answers differ, in the words of the decisions."""
    assert {case["why"] for case in CASES if "why" in case} <= set(REASONS)
    page = DOCS.read_text(encoding="utf-8")
    assert [reason for reason in REASONS.values() if reason not in page] == []
