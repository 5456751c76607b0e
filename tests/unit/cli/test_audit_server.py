"""The server is asked for its whole chain, part after part, and for each checkpoint that was kept."""

from itertools import pairwise
from typing import Any

import pytest

from cli.audit_server import PART, NoCheckpoint, proofs
from services.logging.domain.notes import Statement, VerifierKey, compose, origin
from tests.unit.services.logging.chains import BEGINNING


class FakeServer:
    """Answers like the REST API of a mesh whose chain has so many events."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.asked: list[dict[str, Any]] = []

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Only the checkpoint is asked for."""
        assert path == "/api/v1/audit/checkpoint"
        return {"sequence": self.end} if self.end else {}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Everything is in order."""
        assert path == "/api/v1/audit:verify"
        self.asked.append(body)
        return {"valid": True, "checkedCount": 1}


def note(sequence: int) -> str:
    """A note about an event; nobody looks at its signature here."""
    key = VerifierKey(origin("main"), bytes(32))
    return compose(Statement("main", sequence, bytes(32), BEGINNING).text(), key, bytes(64))


@pytest.mark.parametrize("end", [0, 1, PART, PART + 1, 3 * PART + 7])
def test_the_parts_cover_the_whole_chain_once(end: int) -> None:
    """From the first event kept to whatever is the newest when the last part is read."""
    server = FakeServer(end)
    list(proofs(server, "main", []))  # type: ignore[arg-type]  # has what is used of an Api
    ranges = [(body["firstSequence"], body["lastSequence"]) for body in server.asked]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 0
    assert all(behind[0] == before[1] + 1 for before, behind in pairwise(ranges))
    assert all(last - first <= PART for first, last in ranges[:-1])


def test_a_checkpoint_that_was_kept_is_asked_about_where_it_stands() -> None:
    """One that reaches beyond the end is asked about up to the end, where the cut is seen."""
    server = FakeServer(50)
    list(proofs(server, "main", [note(7), note(60)]))  # type: ignore[arg-type]  # has what is used of an Api
    asked = [
        (body["firstSequence"], body["lastSequence"]) for body in server.asked if "checkpointNote" in body
    ]
    assert asked == [(7, 7), (60, 0)]
    with pytest.raises(NoCheckpoint):
        list(proofs(server, "main", ["nothing"]))  # type: ignore[arg-type]  # has what is used of an Api
