"""Ways to say who we are, and what becomes of them, on a real server."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from mesh.errors import Unavailable
from mesh.vault import Kubernetes, VaultClient, VaultState, WrappedAppRole
from tests.integration.mesh.vault.bao import Vault, self_signed, write_private
from tests.integration.mesh.vault.conftest import NewClient
from tests.integration.mesh.vault.kubernetes import NAMESPACE, Cluster, cluster
from tests.integration.mesh.vault.waiting import running, until

SPENT_EVENT = (
    "wrapped secret id was already unwrapped or has expired: somebody else may hold the service's secret id"
)
FOREIGN_EVENT = "wrapped secret id was not made by the AppRole"
ACCOUNT = "secure-bot-data"
LOOPBACK = "https://127.0.0.1:", "http://127.0.0.1:", "https://localhost:", "http://localhost:"


@pytest.fixture
def alarms() -> Iterator[list[str]]:
    """What is logged as an error."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR", format="{message} {extra}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the wrapping token."""
    return tmp_path / "wrapped-secret-id"


@pytest.fixture
def wrapped_client(vault: Vault, new_client: NewClient, file: Path) -> VaultClient:
    """A client that logs in with what the file holds."""
    return new_client(credentials=WrappedAppRole(vault.role_id_file, file, vault.names.approle_mount))


async def deliver(file: Path, wrap: Callable[[], str]) -> str:
    """Puts a wrapping token into the file."""
    token = await asyncio.to_thread(wrap)
    write_private(file, token)
    return token


async def denied(client: VaultClient) -> None:
    await until(lambda: client.state is VaultState.DENIED)
    with pytest.raises(Unavailable) as caught:
        client.check()
    assert caught.value.reason == "VAULT_PERMISSION_LOST"


async def test_a_wrapped_secret_id_outlasts_the_tokens_it_leads_to(
    vault: Vault, wrapped_client: VaultClient, file: Path, alarms: list[str]
) -> None:
    """Its wrapping opens once; afterwards a token that was revoked is replaced from memory."""
    await deliver(file, vault.wrapped)
    async with running(wrapped_client):
        await until(lambda: wrapped_client.state is VaultState.READY)
        await asyncio.to_thread(vault.revoke_tokens)
        assert await wrapped_client.kv("bots").list() is not None
    assert alarms == []


async def test_one_that_somebody_else_has_opened_is_an_alarm_until_there_is_another(
    vault: Vault, wrapped_client: VaultClient, file: Path, alarms: list[str]
) -> None:
    """The thief can log in as we do, so an operator has to know; a fresh one is found without a restart."""
    token = await deliver(file, vault.wrapped)
    assert await asyncio.to_thread(vault.status, token, "POST", "sys/wrapping/unwrap") == 200
    async with running(wrapped_client):
        await denied(wrapped_client)
        with pytest.raises(Unavailable) as caught:
            await wrapped_client.kv("bots").list()
        assert caught.value.reason == "VAULT_PERMISSION_LOST"
        assert [line.strip() for line in alarms] == [f"{SPENT_EVENT} {{}}"]
        await deliver(file, vault.wrapped)
        await until(lambda: wrapped_client.state is VaultState.READY)
        wrapped_client.check()
    assert token not in "".join(alarms)


async def test_an_expired_one_is_an_alarm_too(
    vault: Vault, wrapped_client: VaultClient, file: Path, alarms: list[str]
) -> None:
    """From here it looks like a stolen one."""
    token = await deliver(file, lambda: vault.wrapped(ttl="1s"))
    for _ in range(100):
        if await asyncio.to_thread(vault.status, "", "POST", "sys/wrapping/lookup", {"token": token}) != 200:
            break
        await asyncio.sleep(0.1)
    async with running(wrapped_client):
        await denied(wrapped_client)
    assert len(alarms) == 1
    assert alarms[0].startswith(SPENT_EVENT)


async def test_one_that_the_approle_did_not_make_is_not_opened(
    vault: Vault, wrapped_client: VaultClient, file: Path, alarms: list[str]
) -> None:
    """Anybody may wrap anything: with their secret id we would write our secrets under their eyes."""
    planted = {"secret_id": "00000000-0000-0000-0000-000000000000"}
    token = await deliver(file, lambda: vault.wrapped("sys/wrapping/wrap", body=planted))
    async with running(wrapped_client):
        await denied(wrapped_client)
    assert alarms[0].startswith(FOREIGN_EVENT)
    assert await asyncio.to_thread(vault.status, token, "POST", "sys/wrapping/unwrap") == 200


async def test_a_fresh_one_is_taken_while_everything_works(
    vault: Vault, wrapped_client: VaultClient, file: Path
) -> None:
    """It expires within minutes, our token within hours: waiting for that would make a false alarm."""
    await deliver(file, vault.wrapped)
    async with running(wrapped_client):
        await until(lambda: wrapped_client.state is VaultState.READY)
        token = await deliver(file, vault.wrapped)
        for _ in range(100):
            status = await asyncio.to_thread(
                vault.status, "", "POST", "sys/wrapping/lookup", {"token": token}
            )
            if status != 200:
                break
            await asyncio.sleep(0.1)
        assert status == 400
        await until(lambda: wrapped_client.state is VaultState.READY)


async def test_a_policy_that_was_taken_away_is_told_and_its_return_needs_no_restart(
    vault: Vault, client: VaultClient
) -> None:
    """The token lives, so nothing but a call finds it out; and no login is wasted on it."""
    store = client.kv("bots")
    await store.list()
    tokens = await asyncio.to_thread(vault.tokens)
    await asyncio.to_thread(vault.forbid)
    try:
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                await store.list()
            assert caught.value.reason == "VAULT_PERMISSION_LOST"
    finally:
        await asyncio.to_thread(vault.allow)
    assert await store.list() is not None
    assert await asyncio.to_thread(vault.tokens) == tokens


@pytest.fixture
def pods(vault: Vault) -> Iterator[Cluster]:
    """A cluster whose service accounts the vault trusts, at the mount `<role prefix>-pods`."""
    if not vault.address.startswith(LOOPBACK):
        pytest.skip("the vault must reach a fake Kubernetes API on this machine")
    mount = f"{vault.names.role_prefix}-pods"
    with cluster() as pods:
        vault.admin("POST", f"sys/auth/{mount}", {"type": "kubernetes"})
        try:
            authority = self_signed()[0].decode()  # has to be given, though the fake speaks plain HTTP
            where = {
                "kubernetes_host": pods.address,
                "disable_local_ca_jwt": True,
                "kubernetes_ca_cert": authority,
            }
            vault.admin("POST", f"auth/{mount}/config", where)
            role = {
                "bound_service_account_names": ACCOUNT,
                "bound_service_account_namespaces": NAMESPACE,
                "audience": "https://kubernetes.default.svc",
                "token_policies": vault.role_name,
                "token_ttl": "600s",
            }
            vault.admin("POST", f"auth/{mount}/role/bots", role)
            yield pods
        finally:
            vault.admin("DELETE", f"sys/auth/{mount}")


async def test_a_pod_logs_in_as_its_service_account(
    vault: Vault, pods: Cluster, new_client: NewClient, tmp_path: Path
) -> None:
    """No secret has to be delivered; the cluster's token of the moment is enough, and yesterday's is not."""
    file = tmp_path / "token"
    write_private(file, pods.token(ACCOUNT))
    client = new_client(credentials=Kubernetes("bots", file, f"{vault.names.role_prefix}-pods"))
    async with running(client):
        await until(lambda: client.state is VaultState.READY)
        assert await client.kv("bots").list() is not None
        pods.rotate()
        await asyncio.to_thread(vault.revoke_tokens)
        with pytest.raises(Unavailable) as caught:
            await client.kv("bots").list()
        assert caught.value.reason == "VAULT_PERMISSION_LOST"
        await denied(client)
        write_private(file, pods.token(ACCOUNT))
        await until(lambda: client.state is VaultState.READY)


async def test_a_pod_of_another_service_account_stays_out(
    vault: Vault, pods: Cluster, new_client: NewClient, tmp_path: Path
) -> None:
    """The role names who may."""
    file = tmp_path / "token"
    write_private(file, pods.token("gateway"))
    client = new_client(credentials=Kubernetes("bots", file, f"{vault.names.role_prefix}-pods"))
    with pytest.raises(Unavailable) as caught:
        await client.kv("bots").list()
    assert caught.value.reason == "VAULT_PERMISSION_LOST"
    await denied(client)
