"""AuditService answers as its contract says: what filters find, how pages go on, and what a proof, a checkpoint and an erasure say."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mesh.errors import InvalidArgument, NotFound
from mesh.ids import new_id
from services.logging.servicers.audit import AuditServicer
from tests.integration.services.logging.trail import Trail, event
from vivesphere.logging.v1 import audit_event_pb2, log_record_pb2
from vivesphere.logging.v1 import audit_service_pb2 as pb2

METHOD = "/vivesphere.bot_manager.v1.PostService/CreatePost"


@pytest.fixture
def service(trail: Trail) -> AuditServicer:
    """The servicer of a replica."""
    return AuditServicer(
        trail.events, trail.statements, trail.checkpointer, trail.prover, trail.eraser, b"s" * 32
    )


async def append(trail: Trail, **fields: str) -> str:
    """Chain one event; returns its id."""
    made = replace(event(datetime.now(UTC)), **fields)  # type: ignore[arg-type]  # text fields only
    async with trail.database.transaction() as connection:
        await trail.events.append(connection, [made])
    return made.id


async def found(servicer: AuditServicer, trail: Trail, **filters: str) -> list[str]:
    """Ids of the events that a list shows, oldest first."""
    request = pb2.ListAuditEventsRequest(
        chain=trail.chain,
        order=log_record_pb2.LOG_ORDER_OLDEST_FIRST,
        **filters,  # type: ignore[arg-type]  # text fields only
    )
    return [item.id for item in (await servicer.ListAuditEvents(request, None)).events]  # type: ignore[arg-type]  # not used


async def test_filters_find_what_they_name_and_nothing_else(trail: Trail, service: AuditServicer) -> None:
    """A method by its own name, a resource with what is below it; characters that mean something to SQL mean themselves."""
    bot, request, actor = new_id(), new_id(), new_id()
    post = await append(trail, action=METHOD, resource=f"bots/{bot}/posts/1", bot_id=bot)
    own = await append(trail, action="post.published", resource=f"bots/{bot}", request_id=request)
    strange = await append(trail, action="post_published", resource=f"bots/{bot}x", actor=actor)
    refused = await append(trail, action=f"{METHOD}s", outcome="PERMISSION_DENIED", service="configuration")
    for filters, expected in (
        ({"action": "CreatePost"}, [post]),
        ({"action": METHOD}, [post]),
        ({"action": "post.published"}, [own]),
        ({"action": "post_published"}, [strange]),
        ({"resource": f"bots/{bot}"}, [post, own]),
        ({"resource": f"bots/{bot}/"}, [post, own]),
        ({"resource": f"bots/{bot}/posts"}, [post]),
        ({"resource": "bots/%"}, []),
        ({"outcome": "PERMISSION_DENIED"}, [refused]),
        ({"service": "configuration"}, [refused]),
        ({"bot_id": bot}, [post]),
        ({"request_id": request}, [own]),
        ({"actor": actor}, [strange]),
        ({}, [post, own, strange, refused]),
    ):
        assert await found(service, trail, **filters) == expected, filters


async def test_pages_go_on_where_they_ended_while_events_come_in(
    trail: Trail, service: AuditServicer
) -> None:
    """And a token is good for its own list only."""
    await trail.append(5)
    request = pb2.ListAuditEventsRequest(chain=trail.chain, page_size=2)
    seen: list[int] = []
    while True:
        page = await service.ListAuditEvents(request, None)  # type: ignore[arg-type]  # not used
        seen += [item.sequence for item in page.events]
        await trail.append(1)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [5, 4, 3, 2, 1]
    request.chain = "main"
    with pytest.raises(InvalidArgument, match="page_token"):
        await service.ListAuditEvents(request, None)  # type: ignore[arg-type]  # not used


async def test_events_carry_everything_that_proves_them(trail: Trail, service: AuditServicer) -> None:
    """Format, commitment and salt: an export is made of nothing else."""
    await trail.append(1)
    answer = await service.ListAuditEvents(pb2.ListAuditEventsRequest(chain=trail.chain), None)  # type: ignore[arg-type]  # not used
    [message], [stored] = answer.events, await trail.read()
    assert (message.chain, message.format, message.erased) == (trail.chain, 2, False)
    assert (message.salt, message.commitment) == (stored.salt.hex(), stored.commitment.hex())
    assert (message.hash, message.previous_hash) == (stored.hash.hex(), "0" * 64)


async def test_a_proof_says_what_was_read_and_what_is_wrong(trail: Trail, service: AuditServicer) -> None:
    """A broken chain is an answer."""
    await trail.append(4)
    request = pb2.VerifyAuditChainRequest(chain=trail.chain)
    answer = await service.VerifyAuditChain(request, None)  # type: ignore[arg-type]  # not used
    assert (answer.valid, answer.checked_count, answer.first_sequence, answer.last_sequence) == (
        True,
        4,
        1,
        4,
    )
    assert answer.last_hash == (await trail.read())[-1].hash.hex()
    trail.tamper("DELETE FROM audit_events WHERE chain = %(chain)s AND sequence = 2")
    answer = await service.VerifyAuditChain(request, None)  # type: ignore[arg-type]  # not used
    assert not answer.valid
    assert answer.defect.kind == audit_event_pb2.AUDIT_DEFECT_KIND_REMOVED
    assert (answer.defect.sequence, answer.checked_count, answer.last_sequence) == (2, 1, 1)
    assert "Event 2 is missing" in answer.defect.message


async def test_checkpoints_are_signed_on_demand_and_listed_when_kept(
    trail: Trail, service: AuditServicer
) -> None:
    """One that was asked for is the caller's to keep; the list shows the server's own, newest first."""
    for _ in range(3):
        await trail.append(2)
        await trail.checkpoint()
    await trail.append(1)
    asked = (
        await service.GetAuditCheckpoint(pb2.GetAuditCheckpointRequest(chain=trail.chain), None)  # type: ignore[arg-type]  # not used
    ).checkpoint
    assert (asked.sequence, asked.note.split("\n")[1]) == (7, "7")
    assert await trail.found(note=asked.note) is None
    request = pb2.ListAuditCheckpointsRequest(chain=trail.chain, page_size=2)
    page = await service.ListAuditCheckpoints(request, None)  # type: ignore[arg-type]  # not used
    assert [item.sequence for item in page.checkpoints] == [6, 4]
    request.page_token = page.next_page_token
    page = await service.ListAuditCheckpoints(request, None)  # type: ignore[arg-type]  # not used
    assert ([item.sequence for item in page.checkpoints], page.next_page_token) == ([2], "")


async def test_an_erasure_counts_what_it_erased(trail: Trail, service: AuditServicer) -> None:
    """However the id is spelled."""
    person = new_id()
    await trail.append(3, actor=person)
    request = pb2.EraseAuditActorRequest(actor=person.upper(), reason="request 17")
    answer = await service.EraseAuditActor(request, None)  # type: ignore[arg-type]  # not used
    assert (answer.erased_event_count, answer.erased_record_count) == (3, 0)
    assert await found(service, trail, actor=person) == []


async def test_a_chain_that_does_not_exist_is_not_found(trail: Trail, service: AuditServicer) -> None:
    """Only the current one may be empty."""
    with pytest.raises(NotFound):
        await service.VerifyAuditChain(pb2.VerifyAuditChainRequest(chain="nowhere"), None)  # type: ignore[arg-type]  # not used
    with pytest.raises(NotFound):
        await service.GetAuditCheckpoint(pb2.GetAuditCheckpointRequest(chain="nowhere"), None)  # type: ignore[arg-type]  # not used
    with pytest.raises(NotFound):
        await service.ListAuditCheckpoints(pb2.ListAuditCheckpointsRequest(chain="nowhere"), None)  # type: ignore[arg-type]  # not used
