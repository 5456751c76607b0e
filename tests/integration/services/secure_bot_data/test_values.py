"""Values go into the vault and come back, and nothing else than this service can make sense of what lies there."""

import asyncio
import base64
import json
import secrets
from collections.abc import Callable

import pytest

from mesh.errors import Aborted, FailedPrecondition, Internal, InvalidArgument, MeshError, NotFound
from mesh.ids import new_id
from mesh.secret import Secret
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import VERSIONS_KEPT, Draft, SecretKind, SecretRef, State
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from tests.integration.services.secure_bot_data.root import Root

MiB = 1024 * 1024
WRITERS = 32


async def test_what_is_put_is_leased_and_described(parts: Parts, ref: SecretRef) -> None:
    """The one thing that everything else protects."""
    draft = oauth1()
    metadata = await parts.writer.put(ref, draft, 0, CALLER)
    opened, lease = await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert opened.fields == draft.fields
    assert (opened.version, lease.version, lease.expire_time - lease.create_time) == (1, 1, MINUTE)
    assert metadata == await parts.catalogue.find(ref)
    assert (metadata.version, metadata.versions, metadata.state) == (1, 1, State.ACTIVE)
    assert metadata.field_names == ("access_token", "access_token_secret", "consumer_key", "consumer_secret")
    assert metadata.updated_by == CALLER.actor


async def test_the_vault_holds_ciphertext_only(parts: Parts, ref: SecretRef, root: Root) -> None:
    """Whoever reads KV, the vault's own administrator included, learns no value from it."""
    await parts.writer.put(ref, oauth1("needle"), None, CALLER)
    stored = (await root.kv("GET", ref.bot_id, ref.name))["data"]["data"]
    assert set(stored) == {"format", "about", "ciphertext"}
    assert stored["ciphertext"].startswith("vault:v1:")
    raw = json.dumps(stored)
    assert "needle" not in raw
    assert base64.b64encode(b"needle").decode().rstrip("=")[:-1] not in raw


async def test_a_ciphertext_opens_only_where_it_was_put(parts: Parts, ref: SecretRef, root: Root) -> None:
    """Somebody who may write KV must not make one bot post with the keys of another, or with older ones."""
    await parts.writer.put(ref, oauth1("victim"), 0, CALLER)
    await parts.writer.put(ref, oauth1("second"), 1, CALLER)
    first = (await root.kv("GET", ref.bot_id, f"{ref.name}?version=1"))["data"]["data"]
    for other in (SecretRef(new_id(), ref.name), SecretRef(ref.bot_id, "other")):
        await root.kv("POST", other.bot_id, other.name, {"data": first, "options": {"cas": 0}})
        with pytest.raises(Internal):
            await parts.reader.lease(other, 0, MINUTE, "steal", CALLER)
    await root.kv("POST", ref.bot_id, ref.name, {"data": first, "options": {"cas": 2}})
    with pytest.raises(Internal):
        await parts.reader.lease(ref, 0, MINUTE, "replay", CALLER)
    assert (await parts.reader.lease(ref, 2, MINUTE, "own", CALLER))[0].fields == oauth1("second").fields


async def test_a_changed_description_makes_the_value_unreadable(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """An expiry that could be edited in KV would be none."""
    await parts.writer.put(ref, oauth1(), 0, CALLER)
    stored = (await root.kv("GET", ref.bot_id, ref.name))["data"]["data"]
    about = json.loads(stored["about"]) | {"owner": "mallory"}
    body = {"data": stored | {"about": json.dumps(about)}, "options": {"cas": 1}}
    await root.kv("POST", ref.bot_id, ref.name, body)
    with pytest.raises(Internal):
        await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)


async def test_of_many_writers_with_the_same_expectation_one_wins(
    open_parts: Callable[[], Parts], ref: SecretRef
) -> None:
    """A lost update of a rotated token would lose the account."""
    replicas = [open_parts(), open_parts()]
    await replicas[0].writer.put(ref, oauth1("first"), 0, CALLER)
    outcomes = await asyncio.gather(
        *(replicas[i % 2].writer.put(ref, oauth1(f"writer{i}"), 1, CALLER) for i in range(WRITERS)),
        return_exceptions=True,
    )
    won = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    lost = [outcome.reason for outcome in outcomes if isinstance(outcome, Aborted)]
    assert (len(won), lost) == (1, ["VERSION_MISMATCH"] * (WRITERS - 1))
    opened, _ = await replicas[1].reader.lease(ref, 0, MINUTE, "publish", CALLER)
    assert (opened.version, opened.fields) == (2, oauth1(f"writer{won[0]}").fields)


async def test_many_writers_without_expectation_all_succeed(
    open_parts: Callable[[], Parts], ref: SecretRef
) -> None:
    """Whoever does not name a version asked to replace whatever is current, and must not be told of races."""
    replicas = [open_parts(), open_parts()]
    results = await asyncio.gather(
        *(replicas[i % 2].writer.put(ref, oauth1(f"writer{i}"), None, CALLER) for i in range(WRITERS))
    )
    assert sorted(result.version for result in results) == list(range(1, WRITERS + 1))
    metadata = await replicas[0].catalogue.get(ref)
    assert (metadata.version, metadata.versions) == (WRITERS, VERSIONS_KEPT)
    for i, result in enumerate(results):
        if result.version > WRITERS - VERSIONS_KEPT:
            opened = await replicas[1].vault.open(ref, result.version)
            assert opened.fields == oauth1(f"writer{i}").fields
    markers = await replicas[0].catalogue.announced(metadata.update_time + MINUTE)
    assert ref not in [marker.ref for marker in markers]


async def test_versions_beyond_the_kept_ones_are_forgotten_alike(parts: Parts, ref: SecretRef) -> None:
    """The catalogue must not promise versions that the vault has dropped."""
    for _ in range(12):
        await parts.writer.put(ref, oauth1(), None, CALLER)
    listed = [record.version for record in await parts.catalogue.list_versions(ref, before=None, limit=50)]
    assert listed == list(range(12, 2, -1))
    assert [fact.version for fact in await parts.vault.facts(ref)] == sorted(listed)


async def test_the_kind_of_a_secret_never_changes(parts: Parts, ref: SecretRef) -> None:
    """Readers rely on the fields of the kind they know."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    with pytest.raises(FailedPrecondition) as caught:
        await parts.writer.put(ref, Draft(SecretKind.GENERIC, {"anything": Secret("x")}), None, CALLER)
    assert caught.value.reason == "SECRET_KIND_MISMATCH"


async def test_deleted_comes_back_and_destroyed_does_not(parts: Parts, ref: SecretRef) -> None:
    """A slip of the finger can be undone, a decision cannot."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await parts.writer.put(ref, oauth1("two"), None, CALLER)
    assert (await parts.changer.change(ref, Event.DELETE, [])).state is State.DELETED
    assert await _refused(parts, ref) == "SECRET_DELETED"
    assert (await parts.changer.change(ref, Event.UNDELETE, [2])).state is State.ACTIVE
    assert (await parts.reader.reveal(ref, 0, "look", CALLER)).fields == oauth1("two").fields
    destroyed = await parts.changer.change(ref, Event.DESTROY, [2])
    assert (destroyed.state, destroyed.versions) == (State.DESTROYED, 1)
    assert await _refused(parts, ref) == "SECRET_DESTROYED"
    with pytest.raises(FailedPrecondition):
        await parts.changer.change(ref, Event.UNDELETE, [2])
    with pytest.raises(NotFound):
        await parts.changer.change(ref, Event.DELETE, [7])
    states = [(v.version, v.state) for v in await parts.catalogue.list_versions(ref, before=None, limit=9)]
    assert states == [(2, State.DESTROYED), (1, State.DELETED)]


LARGEST = {
    "random": base64.b64encode(secrets.token_bytes(3 * MiB // 4)).decode(),
    "escapes": "\x01" * MiB,
    "quotes": '"' * MiB,
    "wide": "\U0001f511" * (MiB // 4),
}


@pytest.mark.parametrize("name", LARGEST)
async def test_the_largest_values_of_the_contract_are_stored_whole(
    parts: Parts, ref: SecretRef, name: str
) -> None:
    """Two of a MiB each, whatever they consist of: what the contract allows must work on the vault that the set-up makes."""
    draft = Draft(SecretKind.GENERIC, {"one": Secret(LARGEST[name]), "two": Secret(LARGEST[name])})
    await parts.writer.put(ref, draft, 0, CALLER)
    assert (await parts.reader.reveal(ref, 0, "look", CALLER)).fields == draft.fields
    assert (await parts.rollback.roll_back(ref, 1, 1, CALLER)).version == 2


async def test_what_is_too_large_is_refused_before_anything_is_written(parts: Parts, ref: SecretRef) -> None:
    """Half a secret must not stay, and the caller learns what is wrong."""
    draft = Draft(SecretKind.GENERIC, {"one": Secret("x" * MiB), "two": Secret("x" * (MiB + 1))})
    with pytest.raises(InvalidArgument) as caught:
        await parts.writer.put(ref, draft, None, CALLER)
    assert [violation.field for violation in caught.value.violations] == ["fields"]
    assert await parts.settler.settle(ref) is None


async def _refused(parts: Parts, ref: SecretRef) -> str:
    with pytest.raises(MeshError) as caught:
        await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
    return caught.value.reason
