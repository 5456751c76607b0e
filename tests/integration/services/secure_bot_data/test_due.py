"""What should be replaced, over all bots: complete, in order, page by page, and found by an index."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy.dialects import postgresql

from cli.embedded import EmbeddedMesh
from mesh.errors import InvalidArgument, PermissionDenied
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.secure_bot_data.convert import from_due_position, to_due_position
from services.secure_bot_data.domain.destroying import BotSecretDestroyer
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import Draft, SecretKind, SecretMetadata, SecretRef
from services.secure_bot_data.servicers.bot_secrets import BotSecretServicer
from services.secure_bot_data.store.catalogue import PostgresCatalogue, due_query
from tests.fakes.mesh import serving
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import (
    BotSecretServiceStub,
    add_BotSecretServiceServicer_to_server,
)

EPOCH = datetime(1999, 1, 1, tzinfo=UTC)
"""Long before any other test's secrets are due."""
YEARS = timedelta(days=1000)


@pytest.fixture
def refs() -> list[SecretRef]:
    return [SecretRef(new_id(), name) for name in ("a", "b", "c", "d", "e")]


async def test_the_most_pressing_come_first_and_pages_neither_repeat_nor_skip(
    parts: Parts, refs: list[SecretRef]
) -> None:
    """Whoever replaces secrets works off the list from its head; equal times are the rule, since jobs set them."""
    for ref, days in zip(refs, (3, 1, 2, 2, 2), strict=True):
        await _put(parts, ref, rotate_time=EPOCH + timedelta(days=days))
    expected = [refs[1], *sorted(refs[2:], key=lambda ref: (ref.bot_id, ref.name)), refs[0]]
    found: list[SecretMetadata] = []
    while page := await _due(parts.catalogue, EPOCH + YEARS, found[-1] if found else None, limit=2):
        found += page
    assert [one.ref for one in found if one.ref in refs] == expected
    assert len({one.ref for one in found}) == len(found)


async def test_the_earlier_of_both_times_decides_and_its_bound_is_excluded(
    parts: Parts, refs: list[SecretRef]
) -> None:
    """A secret that ends before it is to be replaced has to be replaced before it ends."""
    later = datetime.now(UTC) + YEARS
    bound = later + timedelta(days=1)
    await _put(parts, refs[0], rotate_time=later, expire_time=bound)
    await _put(parts, refs[1], rotate_time=bound, expire_time=later)
    await _put(parts, refs[2], rotate_time=bound)
    await _put(parts, refs[3])
    assert {one.ref for one in await _due(parts.catalogue, bound)} & set(refs) == set(refs[:2])


async def test_only_active_ones_that_are_due_by_now_and_of_the_kind(
    parts: Parts, refs: list[SecretRef]
) -> None:
    """What is deleted needs no successor; without a time the question is what is due now."""
    for ref in refs[:2]:
        await _put(parts, ref, rotate_time=EPOCH)
    await _put(parts, refs[2], rotate_time=datetime.now(UTC) + MINUTE)
    await parts.changer.change(refs[1], Event.DELETE, [])
    assert {one.ref for one in await _due(parts.catalogue, None)} & set(refs) == {refs[0]}
    others = await _due(parts.catalogue, None, kind=SecretKind.X_OAUTH2)
    assert not {one.ref for one in others} & set(refs)


async def test_a_new_version_is_due_by_its_own_times(parts: Parts, refs: list[SecretRef]) -> None:
    """Otherwise a replaced secret would stay at the head of the list for ever."""
    await _put(parts, refs[0], rotate_time=EPOCH)
    await parts.writer.put(refs[0], oauth1("next"), 1, CALLER)
    assert refs[0] not in {one.ref for one in await _due(parts.catalogue, None)}


async def test_pages_go_over_the_wire_and_only_to_who_may_read_secrets(
    parts: Parts, refs: list[SecretRef], tmp_path: Path
) -> None:
    """A token that was cut or of another list would skip what is most pressing."""
    for ref in refs[:3]:
        await _put(parts, ref, rotate_time=EPOCH - YEARS)
    servicer = BotSecretServicer(
        parts.writer,
        parts.changer,
        parts.reader,
        parts.rollback,
        parts.rotator,
        BotSecretDestroyer(parts.catalogue, parts.changer),
        parts.values,
        parts.catalogue,
        parts.trail,
        b"s" * 32,
    )
    name = "vivesphere.secure_bot_data.v1.BotSecretService"
    roles = {"auditor": frozenset({"secrets.read"}), "viewer": frozenset({"posts.read"})}
    servicers = [(add_BotSecretServiceServicer_to_server, servicer)]
    async with (
        serving(tmp_path, "secure_bot_data", [name], servicers, roles=roles) as server,
        server.channel("gateway", "secure_bot_data") as channel,
    ):
        stub = BotSecretServiceStub(channel)

        async def due(role: str = "auditor", **fields: Any) -> pb2.ListDueBotSecretsResponse:
            bearer = (("authorization", f"Bearer {server.issuer.token(role)}"),)
            request = pb2.ListDueBotSecretsRequest(page_size=2, **fields)
            try:
                return await stub.ListDueBotSecrets(request, timeout=10, metadata=bearer)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from None

        first = await due()
        rest = await due(page_token=first.next_page_token)
        found = [(one.bot_id, one.name) for one in (*first.secrets, *rest.secrets)]
        assert found[:3] == sorted((ref.bot_id, ref.name) for ref in refs[:3])
        kind = secret_pb2.SECRET_KIND_X_OAUTH2
        with pytest.raises(InvalidArgument, match="page_token"):
            await due(page_token=first.next_page_token, kind=kind)
        with pytest.raises(PermissionDenied):
            await due("viewer")


def test_few_due_secrets_among_many_are_found_by_the_index(engines: EmbeddedMesh) -> None:
    """The list is asked for again and again; it must not read every secret each time."""
    query = due_query(EPOCH, kind=None, after=(EPOCH - YEARS, new_id(), "a")).limit(50)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # of SQLAlchemy
    statement = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    with engines.admin.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path TO secure_bot_data")
        connection.execute(
            "INSERT INTO secrets SELECT gen_random_uuid(), 'x', 'GENERIC', 1, now(), now(), NULL,"
            " TIMESTAMPTZ '1998-01-01' + n * INTERVAL '1 day', '', '{}', 'x' FROM generate_series(1, 5000) AS n"
        )
        connection.execute(
            "INSERT INTO secret_versions (bot_id, name, version, state, create_time, created_by, rolled_back_from)"
            " SELECT bot_id, name, 1, 'ACTIVE', now(), 'x', 0 FROM secrets WHERE updated_by = 'x'"
        )
        connection.execute("ANALYZE secrets, secret_versions")
        plan = "\n".join(str(row[0]) for row in connection.execute(f"EXPLAIN {statement}".encode()))
    assert "Index Scan using secrets_due" in plan, plan
    assert "Seq Scan on secrets" not in plan, plan


async def _put(
    parts: Parts,
    ref: SecretRef,
    *,
    rotate_time: datetime | None = None,
    expire_time: datetime | None = None,
) -> None:
    draft = Draft(SecretKind.X_OAUTH1, oauth1().fields, expire_time=expire_time, rotate_time=rotate_time)
    await parts.writer.put(ref, draft, None, CALLER)


async def _due(
    catalogue: PostgresCatalogue,
    before: datetime | None,
    last: SecretMetadata | None = None,
    *,
    kind: SecretKind | None = None,
    limit: int = 500,
) -> list[SecretMetadata]:
    """A page, by way of the position that a token carries."""
    after = to_due_position(from_due_position(last)) if last else None
    return await catalogue.list_due(before, kind=kind, after=after, limit=limit)
