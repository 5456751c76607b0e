"""A vault that goes away and comes back under a running client."""

import asyncio
from pathlib import Path

import pytest

from mesh.errors import MeshError, OutcomeUnknown, ResourceExhausted, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.vault import AppRole, VaultClient, VaultState
from tests.integration.mesh.vault.bao import Bao, Vault, self_signed, write_private
from tests.integration.mesh.vault.conftest import NewClient
from tests.integration.mesh.vault.waiting import running, until


async def test_sealed_in_the_middle_then_unsealed(bao: Bao, client: VaultClient) -> None:
    """Calls fail closed and fast, health says why, and nobody has to restart the service."""
    store, path = client.kv("bots"), (new_id(), "x")
    async with running(client):
        await until(lambda: client.state is VaultState.READY)
        await store.put(path, {"a": Secret("1")}, cas=0)
        await asyncio.to_thread(bao.seal)
        try:
            for _ in range(5):
                with pytest.raises(Unavailable) as caught:
                    await store.get(path)
                assert caught.value.reason == "VAULT_SEALED"
                assert caught.value.retry_after is not None
            assert client.state is VaultState.SEALED
        finally:
            await asyncio.to_thread(bao.unseal)
        await until(lambda: client.state is VaultState.READY)
        assert (await store.get(path)).fields["a"].reveal() == "1"


async def test_stopped_then_started(bao: Bao, client: VaultClient) -> None:
    """The pooled connections are dead and the client finds out by itself."""
    store, path = client.kv("bots"), (new_id(), "x")
    async with running(client):
        await until(lambda: client.state is VaultState.READY)
        await store.put(path, {"a": Secret("1")}, cas=0)
        await asyncio.to_thread(bao.stop)
        try:
            for _ in range(5):
                with pytest.raises((Unavailable, OutcomeUnknown)):
                    await store.put(path, {"a": Secret("2")}, cas=1)
            assert client.state is VaultState.UNREACHABLE
        finally:
            await asyncio.to_thread(bao.start)
        await until(lambda: client.state is VaultState.READY)
        assert (await store.get(path)).version == 1


async def test_starting_while_the_vault_is_away(bao: Bao, new_client: NewClient) -> None:
    """Services start in any order."""
    await asyncio.to_thread(bao.stop)
    try:
        client = new_client()
        async with running(client):
            assert client.state is VaultState.UNREACHABLE
            with pytest.raises(Unavailable):
                await client.kv("bots").list()
            await asyncio.to_thread(bao.start)
            await until(lambda: client.state is VaultState.READY)
            await client.kv("bots").list()
    finally:
        if not bao.running:
            await asyncio.to_thread(bao.start)


async def test_a_token_revoked_under_our_feet_costs_one_login(vault: Vault, client: VaultClient) -> None:
    """Everybody who notices waits for the same new token; no call fails."""
    store, path = client.kv("bots"), (new_id(), "x")
    await store.put(path, {"a": Secret("1")}, cas=0)
    await asyncio.to_thread(vault.revoke_tokens)
    assert not await asyncio.to_thread(vault.tokens)
    versions = await asyncio.gather(*(store.get(path) for _ in range(30)))
    assert {secret.version for secret in versions} == {1}
    assert len(await asyncio.to_thread(vault.tokens)) == 1


async def test_a_burst_at_start_costs_one_login(vault: Vault, new_client: NewClient) -> None:
    """A login per request makes leases explode."""
    await asyncio.to_thread(vault.revoke_tokens)
    store = new_client().kv("bots")
    await asyncio.gather(*(store.list() for _ in range(40)))
    assert len(await asyncio.to_thread(vault.tokens)) == 1


async def test_closing_gives_the_token_back(vault: Vault, new_client: NewClient) -> None:
    """Restarts leave no leases behind."""
    await asyncio.to_thread(vault.revoke_tokens)
    client = new_client()
    await client.kv("bots").list()
    await client.close()
    assert not await asyncio.to_thread(vault.tokens)


async def test_a_wrong_secret_id_is_denied_until_the_file_holds_a_right_one(
    vault: Vault, new_client: NewClient, tmp_path: Path
) -> None:
    """Rotating the secret id needs no restart, and a wrong one is not hammered."""
    secret_id_file = tmp_path / "secret-id"
    write_private(secret_id_file, "wrong-secret-id")
    credentials = AppRole(vault.role_id_file, secret_id_file, vault.names.approle_mount)
    client = new_client(credentials=credentials)
    async with running(client):
        await until(lambda: client.state is VaultState.DENIED)
        with pytest.raises(Unavailable) as caught:
            await client.kv("bots").list()
        assert "wrong-secret-id" not in repr(vars(caught.value))
        secret_id_file.write_text(vault.secret_id_file.read_text())
        await until(lambda: client.state is VaultState.READY)
        await client.kv("bots").list()


async def test_a_vault_of_another_authority_is_not_talked_to(new_client: NewClient, tmp_path: Path) -> None:
    """Whoever answers there, it gets neither secret id nor token."""
    stranger, _ = self_signed()
    (tmp_path / "ca.pem").write_bytes(stranger)
    client = new_client(ca_file=tmp_path / "ca.pem")
    with pytest.raises(Unavailable):
        await client.kv("bots").list()
    assert client.state is VaultState.UNREACHABLE


async def test_missing_login_files_are_a_denial(vault: Vault, new_client: NewClient, tmp_path: Path) -> None:
    """A deployment that forgot to mount them shows in health instead of a crash loop."""
    client = new_client(credentials=AppRole(tmp_path / "absent", vault.secret_id_file))
    with pytest.raises(Unavailable):
        await client.kv("bots").list()
    assert client.state is VaultState.DENIED


async def test_a_token_is_renewed_before_it_ends_and_replaced_at_its_maximum(
    vault: Vault, new_client: NewClient
) -> None:
    """Tokens of three seconds that may be renewed up to five: both paths within a few seconds."""
    await asyncio.to_thread(vault.revoke_tokens)
    await asyncio.to_thread(vault.token_life, "3s", token_max_ttl="5s")
    try:
        client = new_client()
        store = client.kv("bots")
        async with running(client):
            await until(lambda: client.state is VaultState.READY)
            seen = set()
            for _ in range(65):
                await store.list()
                seen |= await asyncio.to_thread(vault.tokens)
                await asyncio.sleep(0.1)
            # Without renewal it would take four; without replacement calls would fail after five seconds.
            assert 2 <= len(seen) <= 3
    finally:
        await asyncio.to_thread(vault.token_life, "600s", token_max_ttl="0s")


async def test_a_rate_limit_of_the_vault_is_said_as_such(vault: Vault, client: VaultClient) -> None:
    """The caller is told to slow down; the vault is not called away."""
    store = client.kv("bots")
    await store.list()
    name = f"sys/quotas/rate-limit/{vault.role_name}"
    quota = {"path": vault.names.kv_mount, "rate": 2}
    await asyncio.to_thread(vault.admin, "POST", name, quota)
    try:
        outcomes = await asyncio.gather(*(store.list() for _ in range(10)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
        assert refused
        assert all(isinstance(error, ResourceExhausted) and error.retry_after for error in refused)
        assert {error.reason for error in refused} == {"VAULT_THROTTLED"}
        assert client.state is VaultState.READY
    finally:
        await asyncio.to_thread(vault.admin, "DELETE", name)
