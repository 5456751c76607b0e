"""KV version 2 on a real OpenBao."""

import asyncio
from datetime import UTC, datetime

import pytest

from mesh.errors import Aborted, NotFound, OutOfRange, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.vault import KvStore, VaultClient, VaultState
from mesh.vault.kv import MAX_SECRET_BYTES
from tests.integration.mesh.vault.bao import Vault

WRITERS = 32


@pytest.fixture
def store(client: VaultClient) -> KvStore:
    return client.kv("bots")


async def test_what_was_put_is_read_back_by_version(store: KvStore) -> None:
    """Rolling back needs every old version as it was."""
    path = (new_id(), "x_oauth1")
    assert await store.put(path, {"token": Secret("first")}, cas=0) == 1
    assert await store.put(path, {"token": Secret("zweite ✓")}, cas=1) == 2
    latest, first = await store.get(path), await store.get(path, 1)
    assert (latest.version, latest.fields["token"].reveal()) == (2, "zweite ✓")
    assert (first.version, first.fields["token"].reveal()) == (1, "first")
    assert abs((datetime.now(UTC) - latest.create_time).total_seconds()) < 60
    assert "first" not in repr(first)


async def test_of_concurrent_writers_one_wins_each_version(store: KvStore) -> None:
    """A lost update of a rotated token loses the account."""
    path = (new_id(), "counter")
    await store.put(path, {"n": Secret("0")}, cas=0)

    async def write(writer: int) -> int | None:
        try:
            return await store.put(path, {"n": Secret(str(writer))}, cas=1)
        except Aborted:
            return None

    outcomes = await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    assert [version for version in outcomes if version is not None] == [2]
    winner = outcomes.index(2)
    assert (await store.get(path)).fields["n"].reveal() == str(winner)


async def test_read_modify_write_loops_lose_nothing(store: KvStore) -> None:
    """The loop callers write around compare-and-set adds up exactly."""
    path = (new_id(), "sum")
    await store.put(path, {"n": Secret("0")}, cas=0)

    async def increment() -> None:
        while True:
            current = await store.get(path)
            raised = Secret(str(int(current.fields["n"].reveal()) + 1))
            try:
                await store.put(path, {"n": raised}, cas=current.version)
            except Aborted:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(8)))
    assert (await store.get(path)).fields["n"].reveal() == "8"


async def test_creating_what_exists_is_a_version_mismatch(store: KvStore) -> None:
    """Version 0 means that nobody was here before, also after a soft delete."""
    path = (new_id(), "once")
    await store.put(path, {"a": Secret("1")}, cas=0)
    await store.delete(path, [1])
    with pytest.raises(Aborted) as caught:
        await store.put(path, {"a": Secret("2")}, cas=0)
    assert caught.value.reason == "VERSION_MISMATCH"


async def test_absent_secrets_and_versions_are_not_found(store: KvStore) -> None:
    """A stranger's guess and a typo get the same answer, without the path in it."""
    path = (new_id(), "none")
    for attempt in (store.get(path), store.metadata(path)):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert caught.value.reason == "SECRET_NOT_FOUND"
        assert path[0] not in str(caught.value)
    await store.put(path, {"a": Secret("1")}, cas=0)
    with pytest.raises(NotFound):
        await store.get(path, 7)


async def test_soft_delete_hides_undelete_shows_destroy_ends(store: KvStore) -> None:
    """Two steps to losing a value for good."""
    path = (new_id(), "life")
    await store.put(path, {"a": Secret("1")}, cas=0)
    await store.delete(path, [1])
    with pytest.raises(NotFound):
        await store.get(path)
    (deleted,) = (await store.metadata(path)).versions
    assert deleted.delete_time is not None
    assert not deleted.readable(datetime.now(UTC))

    await store.undelete(path, [1])
    assert (await store.get(path)).fields["a"].reveal() == "1"

    await store.destroy(path, [1])
    await store.undelete(path, [1])
    with pytest.raises(NotFound):
        await store.get(path, 1)
    assert (await store.metadata(path)).versions[0].destroyed


async def test_metadata_lists_versions_and_labels_without_values(store: KvStore) -> None:
    """Lists are shown to people who may not see values."""
    path = (new_id(), "labelled")
    for version in range(12):
        await store.put(path, {"a": Secret(f"value{version}")}, cas=version)
    await store.label(path, {"kind": "x_oauth1", "rotate_by": "2027-01-01"})
    metadata = await store.metadata(path)
    assert metadata.current == 12
    assert [info.version for info in metadata.versions] == list(range(1, 13))
    assert metadata.labels == {"kind": "x_oauth1", "rotate_by": "2027-01-01"}
    assert (await store.get(path)).labels == metadata.labels
    assert "value" not in repr(metadata)


async def test_list_names_what_is_below_a_folder(store: KvStore) -> None:
    """A bot without secrets has an empty list, not an error."""
    bot = new_id()
    assert await store.list((bot,)) == []
    await store.put((bot, "proxy"), {"a": Secret("1")}, cas=0)
    await store.put((bot, "x_oauth1"), {"a": Secret("1")}, cas=0)
    assert await store.list((bot,)) == ["proxy", "x_oauth1"]
    assert f"{bot}/" in await store.list()


async def test_a_large_value_is_stored_whole_and_a_larger_one_refused(
    store: KvStore, client: VaultClient
) -> None:
    """What the storage does not take (here raft's own 1 MiB) is told as the caller's mistake, not as an outage: nothing was written."""
    path = (new_id(), "large")
    large = "x" * 1_000_000
    await store.put(path, {"a": Secret(large)}, cas=0)
    assert (await store.get(path)).fields["a"].reveal() == large
    for size in (1_100_000, MAX_SECRET_BYTES):
        with pytest.raises(OutOfRange) as caught:
            await store.put(path, {"a": Secret("x" * size)}, cas=1)
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        assert [violation.field for violation in caught.value.violations] == ["fields"]
        assert client.state is VaultState.READY
    assert (await store.metadata(path)).current == 1


async def test_what_the_policy_forbids_is_refused_without_another_login(
    vault: Vault, client: VaultClient
) -> None:
    """A login cannot change a policy; one for every refused call would fill the vault with leases."""
    await client.kv("bots").list()
    before = await asyncio.to_thread(vault.tokens)
    with pytest.raises(Unavailable) as caught:
        await client.kv("others").get(("a",))
    assert caught.value.reason == "VAULT_PERMISSION_LOST"
    assert await asyncio.to_thread(vault.tokens) == before
