"""`vivesphere vault …` on a real OpenBao, and a service that runs on what it has made: under other names, with a wrapped secret id."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
import hvac
import pytest
from click.testing import Result
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.layout import DataDir, write_private
from cli.main import app
from cli.ports import LOOPBACK
from cli.processlog import ProcessLog
from cli.registry import load_registry
from cli.setup.vault import connect
from cli.setup.vault_policies import policy_text
from mesh.channels import channel_credentials
from mesh.ids import new_id
from mesh.settings import TlsSettings
from mesh.status import from_rpc_error
from mesh.vault_names import VaultNames
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

NAME = "secure_bot_data"
USERS = [service for service in load_registry() if service.vault]
SECONDS = 30

Command = Callable[..., Result]


def fresh_names() -> VaultNames:
    """Names that no other test uses, none of them a default."""
    mark = f"s{secrets.token_hex(4)}"
    return VaultNames(f"{mark}-kv", "accounts", f"{mark}-transit", f"{mark}-approle", mark)


def options(names: VaultNames) -> list[str]:
    """The names as arguments."""
    pairs = [("--" + name.replace("_", "-"), value) for name, value in vars(names).items()]
    return [part for pair in pairs for part in pair]


def root_token(engines: EmbeddedMesh) -> str:
    keys = engines.data.secret("setup", "vault_keys.json").read_text(encoding="utf-8")
    token: str = json.loads(keys)["root_token"]
    return token


@pytest.fixture
def admin(engines: EmbeddedMesh) -> hvac.Client:
    """The vault's administrator."""
    return connect(engines.vault_address, engines.data.tls_files("setup").ca_file, root_token(engines))


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Where login files are written."""
    return DataDir(tmp_path / "data")


@pytest.fixture
def command(engines: EmbeddedMesh, data: DataDir, tmp_path: Path) -> Command:
    """Runs `vivesphere vault setup` against the engines' OpenBao."""
    token_file = tmp_path / "admin-token"
    write_private(token_file, root_token(engines))

    def run(names: VaultNames, *more: str, token_file: Path = token_file, address: str = "") -> Result:
        arguments = ["vault", "setup", "--address", address or engines.vault_address]
        arguments += ["--ca-file", str(engines.data.tls_files("setup").ca_file)]
        arguments += ["--token-file", str(token_file), "--data-dir", str(data.root), *options(names), *more]
        result = CliRunner().invoke(app, arguments)
        assert root_token(engines) not in result.output
        return result

    return run


def everything(admin: hvac.Client) -> str:
    """What a set-up could have changed."""
    parts = (
        admin.sys.list_mounted_secrets_engines()["data"],
        admin.sys.list_auth_methods()["data"],
        admin.sys.list_policies()["data"],
    )
    return json.dumps(parts, sort_keys=True)


def files(data: DataDir) -> dict[str, str]:
    """Every file below the data directory with its content."""
    return {
        str(path.relative_to(data.root)): path.read_text() for path in data.root.rglob("*") if path.is_file()
    }


def test_it_makes_what_is_missing_and_nothing_twice(command: Command, data: DataDir) -> None:
    """It may stand in a script that runs every night."""
    names = fresh_names()
    first = command(names)
    assert first.exit_code == 0
    made = re.findall(r"^made  (.*)$", first.stdout, flags=re.MULTILINE)
    assert f"KV mount {names.kv_mount}" in made
    assert f"policy {names.role_prefix}-secure-bot-data" in made
    assert {"key bot-secrets", "key service-values"} <= set(made)
    written = files(data)
    expected = {
        f"secrets/{user.name}/{name}" for user in USERS for name in ("vault_role_id", "vault_secret_id")
    }
    assert written.keys() == expected
    second = command(names)
    assert re.fullmatch(r"(\d+) of \1 were right already\n", second.stdout)
    assert files(data) == written


def test_a_dry_run_tells_and_changes_nothing(command: Command, data: DataDir, admin: hvac.Client) -> None:
    """Whoever owns the vault wants to read first what will be done to it."""
    names, before = fresh_names(), everything(admin)
    told = command(names, "--dry-run")
    assert told.exit_code == 0
    assert everything(admin) == before
    assert not data.root.exists()
    would = re.findall(r"^would make  (.*)$", told.stdout, flags=re.MULTILINE)
    assert would == re.findall(r"^made  (.*)$", command(names).stdout, flags=re.MULTILINE)
    assert "would make" not in command(names, "--dry-run").stdout


def test_a_policy_that_somebody_has_widened_is_put_right(command: Command, admin: hvac.Client) -> None:
    """And that is all that is reported."""
    names = fresh_names()
    command(names)
    policy = f"{names.role_prefix}-logging"
    admin.sys.create_or_update_policy(policy, 'path "*" { capabilities = ["read"] }')
    assert command(names, "--dry-run").stdout.startswith(f"would make  policy {policy}\n")
    assert command(names).stdout.startswith(f"made  policy {policy}\n")
    (service,) = (service for service in USERS if service.name == "logging")
    assert admin.sys.read_policy(policy)["data"]["rules"] == policy_text(service, names)


def test_wrapped_secret_ids_open_once(command: Command, data: DataDir, admin: hvac.Client) -> None:
    """No secret id lies in a file, and one that was looked at on its way is known to be."""
    names = fresh_names()
    assert command(names, "--wrap-ttl", "10m").exit_code == 0
    written = files(data)
    assert not any(path.endswith("/vault_secret_id") for path in written)
    token = written["secrets/logging/vault_wrapped_secret_id"]
    assert "made" not in command(names, "--wrap-ttl", "10m").stdout
    wrapped = connect(admin.url, Path(str(admin.session.verify)), token)
    secret_id = wrapped.sys.unwrap()["data"]["secret_id"]
    assert secret_id not in "".join(written.values())
    again = command(names, "--wrap-ttl", "10m")
    assert re.findall(r"^made  file .*/(.*)/vault_wrapped", again.stdout, flags=re.MULTILINE) == ["logging"]


def test_what_is_somebody_elses_is_left_alone(command: Command, admin: hvac.Client) -> None:
    """A mount of another kind is not ours to use."""
    names = fresh_names()
    admin.sys.enable_secrets_engine("kv", path=names.kv_mount, options={"version": "1"})
    result = command(names)
    assert result.exit_code == 1
    assert f"{names.kv_mount} exists and is not kv of version 2" in result.stderr
    admin.sys.enable_secrets_engine("transit", path=names.transit_mount)
    admin.secrets.transit.create_key("bot-secrets", derived=False, mount_point=names.transit_mount)
    result = command(VaultNames(**vars(names) | {"kv_mount": f"{names.role_prefix}-more"}))
    assert result.exit_code == 1
    assert "the key bot-secrets" in result.stderr


def test_failures_are_one_line(command: Command, tmp_path: Path) -> None:
    """No traceback, whose local variables would be secrets, and none of the vault's own words."""
    junk = tmp_path / "junk"
    write_private(junk, "canary-token")
    refused = {
        "an administrator's is needed": command(fresh_names(), token_file=junk),
        "No such file": command(fresh_names(), token_file=tmp_path / "absent"),
        "does not answer": command(fresh_names(), address=f"https://{LOOPBACK}:1"),
        "kv_mount must be": command(VaultNames(kv_mount="../sys")),
    }
    for words, result in refused.items():
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), words
        assert words in result.stderr
        assert "canary-token" not in result.output


def test_a_policy_is_printed_to_be_applied_by_hand(admin: hvac.Client) -> None:
    """Where set-up may not be an administrator, people do it; what is printed is what the vault takes."""
    names = VaultNames(kv_mount="kv-a", kv_prefix="accounts", transit_mount="transit-a")
    chosen = ["--kv-mount", "kv-a", "--kv-prefix", "accounts", "--transit-mount", "transit-a"]
    for service in USERS:
        result = CliRunner().invoke(app, ["vault", "policy", service.name, *chosen])
        assert (result.exit_code, result.stdout) == (0, policy_text(service, names))
        admin.sys.create_or_update_policy(f"printed-{service.dashed}", result.stdout)
    unknown = CliRunner().invoke(app, ["vault", "policy", "nobody"])
    assert (unknown.exit_code, "secure_bot_data" in unknown.stderr) == (1, True)


@pytest.fixture
async def output(
    engines: EmbeddedMesh, command: Command, data: DataDir, tmp_path: Path
) -> AsyncIterator[tuple[VaultNames, Path]]:
    """secure_bot_data as a process, on a set-up of other names and with a wrapped secret id; the names and what it prints."""
    names = fresh_names()
    assert (await asyncio.to_thread(command, names, "--wrap-ttl", "10m")).exit_code == 0
    engines.extra[NAME] = {
        "VIVESPHERE_VAULT_KV_MOUNT": names.kv_mount,
        "VIVESPHERE_VAULT_KV_PREFIX": names.kv_prefix,
        "VIVESPHERE_VAULT_TRANSIT_MOUNT": names.transit_mount,
        "VIVESPHERE_VAULT_AUTH_MOUNT": names.approle_mount,
        "VIVESPHERE_VAULT_ROLE_ID_FILE": str(data.secret(NAME, "vault_role_id")),
        "VIVESPHERE_VAULT_SECRET_ID_FILE": "",
        "VIVESPHERE_VAULT_WRAPPED_SECRET_ID_FILE": str(data.secret(NAME, "vault_wrapped_secret_id")),
    }
    path = tmp_path / "output.log"
    log = ProcessLog(path)
    child = Child(engines.service_spec(NAME), log)
    await child.spawn()
    try:
        await child.wait_ready()
        yield names, path
    finally:
        await child.stop()
        log.close()
        del engines.extra[NAME]


async def test_a_service_runs_on_it_and_finds_its_policy_again(
    engines: EmbeddedMesh, output: tuple[VaultNames, Path], command: Command, admin: hvac.Client
) -> None:
    """From the command to a leased credential; and a policy that was taken away shows in health by its reason, until it is back."""
    names, path = output
    bot_id, policy = new_id(), f"{names.role_prefix}-secure-bot-data"
    files = engines.data.tls_files("bot_manager")
    tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
    target = (("grpc.ssl_target_name_override", "secure-bot-data"), ("grpc.use_local_subchannel_pool", 1))
    address = f"{LOOPBACK}:{engines.ports[NAME]}"
    async with grpc.aio.secure_channel(address, channel_credentials(tls), options=target) as channel:
        stub = BotSecretServiceStub(channel)
        await vault_becomes(channel, health_pb2.HealthCheckResponse.SERVING)
        await stub.StoreBotSecret(credentials(bot_id), timeout=10)
        kept = await asyncio.to_thread(
            admin.read, f"{names.kv_mount}/data/{names.kv_prefix}/{bot_id}/x_oauth1"
        )
        assert set(kept["data"]["data"]) == {"format", "about", "ciphertext"}

        narrowed = policy_text(engines.service(NAME), names).replace("/encrypt/bot-secrets", "/encrypt/none")
        for version, take_away in (
            (2, lambda: admin.sys.delete_policy(policy)),
            (3, lambda: admin.sys.create_or_update_policy(policy, narrowed)),
        ):
            await asyncio.to_thread(take_away)
            await vault_becomes(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.StoreBotSecret(credentials(bot_id), timeout=10)
            assert from_rpc_error(caught.value).reason == "VAULT_PERMISSION_LOST"
            lost = [line for line in path.read_text().splitlines() if "dependency lost" in line]
            assert "VAULT_PERMISSION_LOST" in lost[-1]

            repaired = await asyncio.to_thread(command, names, "--wrap-ttl", "10m")
            assert f"made  policy {policy}" in repaired.stdout
            await vault_becomes(channel, health_pb2.HealthCheckResponse.SERVING)
            stored = await stub.StoreBotSecret(credentials(bot_id), timeout=10)
            assert stored.metadata.version == version
        assert "somebody else may hold" not in path.read_text()


def credentials(bot_id: str) -> pb2.StoreBotSecretRequest:
    """What bot_manager sends when an account is connected."""
    names = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    return pb2.StoreBotSecretRequest(
        bot_id=bot_id,
        name="x_oauth1",
        kind=secret_pb2.SECRET_KIND_X_OAUTH1,
        fields={name: f"canary-{name}" for name in names},
    )


async def vault_becomes(
    channel: grpc.aio.Channel, status: health_pb2.HealthCheckResponse.ServingStatus
) -> None:
    """What the process says of its vault."""
    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(SECONDS):
        while (await stub.List(health_pb2.HealthListRequest(), timeout=5)).statuses["vault"].status != status:
            await asyncio.sleep(0.1)
