"""Every way to log in, and what a wrapping token that is no good any more leads to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from mesh.clock import SystemClock
from mesh.errors import MeshError, Unavailable
from mesh.settings import ProcessSettings
from mesh.vault import Kubernetes, VaultClient, VaultState, WrappedAppRole, open_vault
from mesh.vault.credentials import LOOKUP, UNWRAP
from tests.unit.mesh.vault.conftest import NewClient
from tests.unit.mesh.vault.scripted import LOGIN, Reply, ScriptedVault, Seen, login_reply

KUBERNETES_LOGIN = "/v1/auth/pods/login"
SPENT_EVENT = (
    "wrapped secret id was already unwrapped or has expired: somebody else may hold the service's secret id"
)
FOREIGN_EVENT = "wrapped secret id was not made by the AppRole"
ORIGIN = "auth/approle/role/vivesphere-logging/secret-id"
SPENT = Reply(400, {"errors": ["wrapping token is not valid or does not exist"]})


class Wrapping:
    """Answers like a vault that knows some wrapping tokens; each opens once."""

    def __init__(self, vault: ScriptedVault) -> None:
        self.secret_ids: dict[str | None, str] = {}
        self.origin = ORIGIN
        self._vault = vault
        vault.script = self._answer

    def logins(self) -> list[str]:
        """Secret ids that were sent, in order."""
        return [seen.body["secret_id"] for seen in self._vault.seen if seen.path == LOGIN]

    def unwrapped(self) -> list[str | None]:
        """Tokens that unwrapping was asked for under."""
        return [seen.token for seen in self._vault.seen if seen.path == UNWRAP]

    def _answer(self, seen: Seen) -> Reply:
        if seen.path == LOOKUP:
            known = seen.body["token"] in self.secret_ids
            return Reply(body={"data": {"creation_path": self.origin}}) if known else SPENT
        if seen.path == UNWRAP:
            secret_id = self.secret_ids.pop(seen.token, None)
            return Reply(body={"data": {"secret_id": secret_id}}) if secret_id else SPENT
        return Reply(body={"data": {"keys": []}})


@pytest.fixture
def wrapping(vault: ScriptedVault) -> Wrapping:
    return Wrapping(vault)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with the wrapping token."""
    path = tmp_path / "wrapped-secret-id"
    path.write_text("canary-wrapping-1\n")
    return path


@pytest.fixture
def client(new_client: NewClient, tmp_path: Path, file: Path) -> VaultClient:
    return new_client(credentials=WrappedAppRole(tmp_path / "role-id", file), jitter=lambda: 0.0)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged, with its level."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="TRACE", format="{level} {message} {extra}")
    yield lines
    logger.remove(sink)


def deliver(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


def alarms(log: list[str], event: str) -> int:
    return sum(line.startswith(f"ERROR {event}") for line in log)


async def refusal(client: VaultClient) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await client.kv("bots").list()
    return caught.value


async def eventually_listed(client: VaultClient) -> None:
    """As soon as the back-off lets it."""
    for _ in range(200):
        try:
            await client.kv("bots").list()
        except Unavailable:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("it stays refused")


async def test_a_wrapped_secret_id_is_opened_once_and_used_again(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, file: Path, log: list[str]
) -> None:
    """The token opens once, so a login after the first must live from memory; the file may even be gone."""
    wrapping.secret_ids = {"canary-wrapping-1": "canary-secret"}
    tokens = iter(["s.one", "s.two"])
    vault.login = lambda: login_reply(next(tokens), life=1)
    await client.kv("bots").list()
    remove(file)
    held = client._login.held
    assert held is not None
    await client._login.replace(held, client._deadline(client._timeout))
    assert wrapping.logins() == ["canary-secret", "canary-secret"]
    assert wrapping.unwrapped() == ["canary-wrapping-1"]
    assert client.state is VaultState.READY
    assert "canary" not in "".join(log)
    assert "canary" not in repr(vars(client._login._credentials))


@pytest.mark.parametrize("status", [400, 403])
async def test_a_spent_wrapping_token_is_an_alarm_until_there_is_a_fresh_one(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, file: Path, log: list[str], status: int
) -> None:
    """Somebody who opened it before us can log in as we do. One alarm a token, however often we try, and nothing of it in the log."""
    honest = vault.script
    vault.script = lambda seen: Reply(status, SPENT.body) if seen.path == LOOKUP else honest(seen)
    for _ in range(20):
        assert (await refusal(client)).reason == "VAULT_PERMISSION_LOST"
    assert client.state is VaultState.DENIED
    with pytest.raises(Unavailable, match="fresh one is needed"):
        client.check()
    assert (alarms(log, SPENT_EVENT), wrapping.logins()) == (1, [])

    vault.script = honest
    wrapping.secret_ids = {"canary-wrapping-2": "canary-secret"}
    deliver(file, "canary-wrapping-2\n")
    await eventually_listed(client)
    assert client.state is VaultState.READY
    client.check()
    assert "canary" not in "".join(log)


async def test_a_token_that_was_opened_between_looking_and_opening_is_an_alarm_too(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, log: list[str]
) -> None:
    """The thief may come at any moment."""
    wrapping.secret_ids = {"canary-wrapping-1": ""}
    assert (await refusal(client)).reason == "VAULT_PERMISSION_LOST"
    assert alarms(log, SPENT_EVENT) == 1


@pytest.mark.parametrize(
    "origin",
    [
        "sys/wrapping/wrap",
        "auth/other/role/vivesphere-logging/secret-id",
        "auth/approle/role/x/custom-secret-id",
        "cubbyhole/auth/approle/role/x/secret-id",
        None,
    ],
)
async def test_a_token_that_others_wrapped_is_not_even_opened(
    wrapping: Wrapping, client: VaultClient, log: list[str], origin: Any
) -> None:
    """With a secret id of somebody's own choice we would work in their name."""
    wrapping.secret_ids, wrapping.origin = {"canary-wrapping-1": "planted"}, origin
    assert (await refusal(client)).reason == "VAULT_PERMISSION_LOST"
    assert (alarms(log, FOREIGN_EVENT), wrapping.unwrapped(), wrapping.logins()) == (1, [], [])
    assert client.state is VaultState.DENIED


async def test_a_fresh_token_is_opened_before_it_expires(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, file: Path
) -> None:
    """Our own token lives for hours, a wrapping token for minutes."""
    wrapping.secret_ids = {"canary-wrapping-1": "one", "canary-wrapping-2": "two"}
    await client.kv("bots").list()
    await client._tend()
    assert wrapping.logins() == ["one"]
    deliver(file, "canary-wrapping-2\n")
    await client._tend()
    await client._tend()
    assert wrapping.logins() == ["one", "two"]


async def test_a_spent_token_in_the_place_of_a_good_one_shows_though_work_goes_on(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, file: Path, log: list[str]
) -> None:
    """The token that we have is ours for certain; that somebody may have another must not stay unseen until it ends."""
    wrapping.secret_ids = {"canary-wrapping-1": "one"}
    await client.kv("bots").list()
    deliver(file, "canary-wrapping-2\n")
    for _ in range(5):
        await client._tend()
    assert (client.state, alarms(log, SPENT_EVENT)) == (VaultState.DENIED, 1)
    await client.kv("bots").list()


async def test_a_vault_that_is_away_spends_nothing(
    vault: ScriptedVault, wrapping: Wrapping, client: VaultClient, log: list[str]
) -> None:
    """A seal is no theft."""
    honest = vault.script
    vault.script = lambda _: Reply(503, {"errors": ["Vault is sealed"]})
    assert (await refusal(client)).reason == "VAULT_SEALED"
    wrapping.secret_ids = {"canary-wrapping-1": "one"}
    vault.script = honest
    await eventually_listed(client)
    assert (alarms(log, SPENT_EVENT), client.state) == (0, VaultState.READY)


async def test_an_absent_wrapping_token_is_a_denial_without_alarm(
    client: VaultClient, wrapping: Wrapping, file: Path, log: list[str]
) -> None:
    """It has not been delivered yet."""
    remove(file)
    assert (await refusal(client)).reason == "VAULT_PERMISSION_LOST"
    assert client.state is VaultState.DENIED
    assert not any(line.startswith("ERROR") for line in log)
    deliver(file, "canary-wrapping-1\n")
    wrapping.secret_ids = {"canary-wrapping-1": "one"}
    await eventually_listed(client)


async def test_kubernetes_sends_the_token_of_the_moment(
    vault: ScriptedVault, new_client: NewClient, tmp_path: Path
) -> None:
    """The cluster replaces it every hour; yesterday's is refused."""
    file = tmp_path / "token"
    deliver(file, "jwt-1")
    client = new_client(credentials=Kubernetes("bots", file, "pods"))

    def script(seen: Seen) -> Reply:
        return login_reply() if seen.path == KUBERNETES_LOGIN else Reply(body={"data": {"keys": []}})

    vault.script = script
    await client.kv("bots").list()
    deliver(file, "jwt-2")
    held = client._login.held
    assert held is not None
    await client._login.replace(held, client._deadline(client._timeout))
    bodies = [seen.body for seen in vault.seen if seen.path == KUBERNETES_LOGIN]
    assert bodies == [{"role": "bots", "jwt": "jwt-1"}, {"role": "bots", "jwt": "jwt-2"}]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a process with an AppRole is started with."""
    for name in ("cert", "key", "ca"):
        (tmp_path / f"{name}.pem").write_text("x")
        monkeypatch.setenv(f"VIVESPHERE_TLS_{name.upper()}_FILE", str(tmp_path / f"{name}.pem"))
    return {"vault_role_id_file": tmp_path / "r", "vault_secret_id_file": tmp_path / "s"}


@pytest.mark.parametrize(
    "name", ["vault_kv_mount", "vault_kv_prefix", "vault_transit_mount", "vault_auth_mount"]
)
@pytest.mark.parametrize("value", ["", "..", "a/b", "A", "kv?x"])
async def test_an_unsafe_name_ends_the_start_and_is_named(
    settings: dict[str, Any], name: str, value: str
) -> None:
    """With `..` in it, our token would go anywhere in the vault."""
    with pytest.raises(ValueError, match=f"VIVESPHERE_{name.upper()}"):
        open_vault(ProcessSettings(**settings | {name: value}), SystemClock())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vault_role_id_file": None}, "VIVESPHERE_VAULT_ROLE_ID_FILE"),
        ({"vault_secret_id_file": None}, "VIVESPHERE_VAULT_SECRET_ID_FILE"),
        ({"vault_wrapped_secret_id_file": Path("w")}, "VIVESPHERE_VAULT_WRAPPED_SECRET_ID_FILE"),
        ({"vault_auth_method": "kubernetes"}, "VIVESPHERE_VAULT_KUBERNETES_ROLE"),
    ],
)
async def test_what_is_missing_or_contradicts_itself_is_named(
    settings: dict[str, Any], change: dict[str, Any], named: str
) -> None:
    """Two secret ids are no better than none: which one counts would be a guess."""
    with pytest.raises(ValueError, match=named):
        open_vault(ProcessSettings(**settings | change), SystemClock())
    await open_vault(ProcessSettings(**settings), SystemClock()).close()
