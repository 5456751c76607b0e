"""The embedded engines for real: least privilege, restarts, and nothing left behind."""

import asyncio
import os
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import hvac
import hvac.exceptions
import nats
import nats.errors
import psycopg
import pytest
from nats.aio.client import Client

from cli.embedded import EmbeddedMesh
from cli.layout import DataDir
from cli.ports import LOOPBACK
from cli.setup import DATABASE, streams, vault
from cli.state import AlreadyRunning
from mesh.vault_names import VaultNames
from tests.fakes.nats_client import settled


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedMesh]:
    async with EmbeddedMesh(tmp_path_factory.mktemp("mesh") / "data", fsync=False) as mesh:
        yield mesh


def as_service(mesh: EmbeddedMesh, name: str) -> psycopg.Connection:
    password = mesh.data.secret(name, "database_password").read_text()
    return psycopg.connect(
        host=LOOPBACK,
        port=mesh.ports["postgres"],
        user=name,
        password=password,
        dbname=DATABASE,
        autocommit=True,
    )


async def on_nats(mesh: EmbeddedMesh, name: str, denials: list[str] | None = None) -> Client:
    tls = mesh.data.tls_files(name)
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    context.load_cert_chain(tls.cert_file, tls.key_file)

    async def note(error: Exception) -> None:
        if denials is not None:
            denials.append(str(error))

    return await nats.connect(
        mesh.nats_url, tls=context, inbox_prefix=f"_INBOX_{name}", error_cb=note, allow_reconnect=False
    )


def on_vault(mesh: EmbeddedMesh, name: str) -> hvac.Client:
    client = vault.connect(mesh.vault_address, mesh.data.tls_files(name).ca_file, token="none")
    role_id = mesh.data.secret(name, "vault_role_id").read_text()
    secret_id = mesh.data.secret(name, "vault_secret_id").read_text()
    client.token = client.auth.approle.login(role_id, secret_id)["auth"]["client_token"]
    return client


def test_a_service_works_in_its_own_schema_only(mesh: EmbeddedMesh) -> None:
    """A hole in one service must not open the others' data."""
    with mesh.admin.connect() as admin:
        for schema in ("logging", "authentication"):
            admin.execute(
                f"CREATE TABLE IF NOT EXISTS {schema}.probe (id bigint GENERATED ALWAYS AS IDENTITY, t text)"
            )
    with as_service(mesh, "logging") as connection:
        connection.execute("INSERT INTO probe (t) VALUES ('mine')")
        assert connection.execute("SELECT t FROM logging.probe").fetchall() == [("mine",)]
        for forbidden in (
            "SELECT * FROM authentication.probe",
            "ALTER TABLE logging.probe ADD COLUMN more text",
            "TRUNCATE logging.probe",
            "CREATE TABLE logging.other (id int)",
            "CREATE TABLE public.other (id int)",
            "CREATE TEMPORARY TABLE other (id int)",
            "SET ROLE authentication",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)


def test_the_database_lets_nobody_in_without_a_password(mesh: EmbeddedMesh) -> None:
    """Loopback is shared with every user of the machine."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(
            host=LOOPBACK, port=mesh.ports["postgres"], user="admin", password="", dbname=DATABASE
        )


def test_the_database_is_durable_by_its_settings(mesh: EmbeddedMesh) -> None:
    """An answered call must survive a power cut; only `fsync=False` of this test gives that up."""
    with mesh.admin.connect() as admin:
        assert admin.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert admin.execute("SHOW data_checksums").fetchone() == ("on",)


async def test_only_bot_manager_can_publish_an_action(mesh: EmbeddedMesh) -> None:
    """The server, not good manners, keeps the others from posting."""
    denials: list[str] = []
    client = await on_nats(mesh, "logging", denials)
    with pytest.raises((nats.errors.TimeoutError, nats.errors.Error)):
        await client.jetstream(timeout=0.3).publish("actions.bot_manager.publish", b"x")
    await client.close()
    assert any("permissions violation" in denial.lower() for denial in denials)
    allowed = await on_nats(mesh, "bot_manager")
    acknowledged = await allowed.jetstream().publish(
        "actions.bot_manager.publish", b"x", headers={"Nats-Msg-Id": "one"}
    )
    again = await allowed.jetstream().publish(
        "actions.bot_manager.publish", b"x", headers={"Nats-Msg-Id": "one"}
    )
    await allowed.close()
    assert acknowledged.stream == "ACTIONS"
    assert again.duplicate


async def test_a_worker_fetches_and_acknowledges_from_its_durable_consumer(mesh: EmbeddedMesh) -> None:
    """Its permissions must be enough for the whole life of a message, or it would be delivered for ever."""
    denials: list[str] = []
    producer = await on_nats(mesh, "configuration", denials)
    await producer.jetstream().publish("logs.configuration", b"batch")
    await producer.close()
    client = await on_nats(mesh, "logging", denials)
    subscription = await client.jetstream().pull_subscribe_bind(consumer="logging", stream="LOGS")
    (message,) = await subscription.fetch(1, timeout=3)
    assert message.data == b"batch"
    await message.in_progress()
    await message.ack_sync(timeout=3)
    information = await subscription.consumer_info()
    assert information.num_ack_pending == 0
    await client.close()
    assert denials == []


@pytest.mark.parametrize(
    "subject", ["_INBOX_authentication.>", "logs.>", "hints.logging", "actions.>", "$JS.>", ">"]
)
async def test_nobody_hears_what_is_not_for_them(mesh: EmbeddedMesh, subject: str) -> None:
    """Answers and records of others may hold what this service must not know."""
    denials: list[str] = []
    client = await on_nats(mesh, "configuration", denials)
    await client.subscribe(subject)
    async with asyncio.timeout(30):
        while not denials:
            await asyncio.sleep(0.01)
    await client.close()
    assert any("permissions violation" in denial.lower() for denial in denials)


async def test_everyone_hears_the_hint_of_configuration(mesh: EmbeddedMesh) -> None:
    """A change of a setting reaches every service within milliseconds."""
    listener, speaker = await on_nats(mesh, "logging"), await on_nats(mesh, "configuration")
    subscription = await listener.subscribe("hints.configuration")
    await settled(listener)
    await speaker.publish("hints.configuration", b"7")
    assert (await subscription.next_msg(timeout=3)).data == b"7"
    await listener.close()
    await speaker.close()


async def test_a_client_without_a_mesh_certificate_is_refused(mesh: EmbeddedMesh) -> None:
    """There is no password to guess."""
    context = ssl.create_default_context(cafile=str(mesh.data.tls_files("setup").ca_file))
    with pytest.raises((nats.errors.Error, OSError)):
        await nats.connect(
            mesh.nats_url, tls=context, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0
        )
    assert await streams.accepts(mesh.nats_url, mesh.data.tls_files("setup"))


def test_each_service_uses_its_own_transit_key(mesh: EmbeddedMesh) -> None:
    """A ciphertext of one service must mean nothing to another."""
    client = on_vault(mesh, "logging")
    sealed = client.secrets.transit.encrypt_data("logging", "aGk=", mount_point=VaultNames.transit_mount)[
        "data"
    ]["ciphertext"]
    opened = client.secrets.transit.decrypt_data("logging", sealed, mount_point=VaultNames.transit_mount)
    assert opened["data"]["plaintext"] == "aGk="
    for key in ("authentication", *vault.DERIVED_KEYS):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.secrets.transit.encrypt_data(
                key, "aGk=", context="Yg==", mount_point=VaultNames.transit_mount
            )


def test_only_secure_bot_data_reads_and_writes_bot_secrets(mesh: EmbeddedMesh) -> None:
    """Not even bot_manager, which asks for a lease instead."""
    owner = on_vault(mesh, "secure_bot_data").secrets.kv.v2
    owner.create_or_update_secret("bots/b1/x", {"k": "v"}, cas=0, mount_point=VaultNames.kv_mount)
    read = owner.read_secret_version(
        "bots/b1/x", raise_on_deleted_version=True, mount_point=VaultNames.kv_mount
    )
    assert read["data"]["data"] == {"k": "v"}
    with pytest.raises(hvac.exceptions.InvalidRequest):
        owner.create_or_update_secret(
            "bots/b1/x", {"k": "w"}, mount_point=VaultNames.kv_mount
        )  # no check-and-set
    with pytest.raises(hvac.exceptions.Forbidden):
        owner.create_or_update_secret("elsewhere", {"k": "v"}, cas=0, mount_point=VaultNames.kv_mount)
    other = on_vault(mesh, "bot_manager").secrets.kv.v2
    with pytest.raises(hvac.exceptions.Forbidden):
        other.read_secret_version("bots/b1/x", raise_on_deleted_version=True, mount_point=VaultNames.kv_mount)


def test_a_bots_ciphertext_opens_only_with_that_bots_context(mesh: EmbeddedMesh) -> None:
    """Two records swapped in storage must fail to decrypt."""
    transit = on_vault(mesh, "secure_bot_data").secrets.transit
    sealed = transit.encrypt_data("bot-secrets", "aGk=", context="YjE=", mount_point=VaultNames.transit_mount)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.decrypt_data(
            "bot-secrets", sealed["data"]["ciphertext"], context="YjI=", mount_point=VaultNames.transit_mount
        )


async def test_a_second_mesh_on_the_directory_is_refused(mesh: EmbeddedMesh) -> None:
    """And it must not disturb the first."""
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        await EmbeddedMesh(mesh.data.root).__aenter__()
    with mesh.admin.connect() as admin:
        assert admin.execute("SELECT 1").fetchone() == (1,)


def test_everything_on_disk_is_private(mesh: EmbeddedMesh) -> None:
    """The seal key and the passwords lie below this directory."""
    private = ("secrets", "tls", "run", "logs")
    files = [path for folder in private for path in (mesh.data.root / folder).rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(mesh.data.root.stat().st_mode) == 0o700


def test_no_secret_is_printed_by_an_engine(mesh: EmbeddedMesh) -> None:
    """Logs are shown to more people than secrets are."""
    printed = "".join(path.read_text(errors="replace") for path in mesh.data.logs.iterdir())
    for path in (mesh.data.root / "secrets").rglob("*"):
        if path.is_file() and path.name != "openbao_seal_key":
            assert path.read_text() not in printed, path.name


def test_a_service_is_told_files_not_secrets(mesh: EmbeddedMesh) -> None:
    """Environments end up in crash dumps."""
    environment = mesh.environment("secure_bot_data")
    secrets = [
        path.read_bytes().decode(errors="replace")
        for path in (mesh.data.root / "secrets").rglob("*_*")
        if path.is_file()
    ]
    assert not any(secret in value for value in environment.values() for secret in secrets)
    assert all(Path(value).exists() for name, value in environment.items() if name.endswith("_FILE"))


async def test_a_second_start_finds_data_ports_and_logins_again(tmp_path: Path) -> None:
    """A restart is not a new installation."""
    root = tmp_path / "data"
    async with EmbeddedMesh(root, fsync=False) as first:
        with first.admin.connect() as admin:
            admin.execute("CREATE TABLE logging.kept AS SELECT 42 AS n")
        on_vault(first, "secure_bot_data").secrets.kv.v2.create_or_update_secret(
            "bots/b1/x", {"k": "v"}, cas=0, mount_point=VaultNames.kv_mount
        )
        client = await on_nats(first, "logging")
        await client.jetstream().publish("logs.logging", b"kept")
        await client.close()
        ports, secrets = dict(first.ports), _secrets(first.data)
    async with EmbeddedMesh(root, fsync=False) as second:
        assert second.ports == ports
        assert _secrets(second.data) == secrets
        with as_service(second, "logging") as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (42,)
        kv = on_vault(second, "secure_bot_data").secrets.kv.v2
        kept = kv.read_secret_version(
            "bots/b1/x", raise_on_deleted_version=True, mount_point=VaultNames.kv_mount
        )
        assert kept["data"]["data"] == {"k": "v"}
        client = await on_nats(second, "logging")
        subscription = await client.jetstream().pull_subscribe_bind(consumer="logging", stream="LOGS")
        assert [message.data for message in await subscription.fetch(1, timeout=3)] == [b"kept"]
        await client.close()


def _secrets(data: DataDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (data.root / "secrets").rglob("*") if path.is_file()}
