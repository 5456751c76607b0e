"""The service as a process, spoken to over mutual TLS as bot_manager does; afterwards every place where a value could lie is searched."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from cli.processlog import ProcessLog
from mesh.channels import channel_credentials
from mesh.ids import new_id
from mesh.settings import TlsSettings
from mesh.status import from_rpc_error
from tests.fakes.leak_scan import Scan, files, messages, tables
from tests.integration.services.secure_bot_data.root import Root
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

NAME = "secure_bot_data"
CANARY = "canary-7Jq2mXv9"
FIELDS = {
    name: f"{CANARY}-{name}"
    for name in ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
}
FAR_SECONDS = 20
REQUEST_ID = (("x-request-id", "request-of-the-test"),)


@pytest.fixture(scope="module")
async def log(engines: EmbeddedMesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The running service; what it prints."""
    path = tmp_path_factory.mktemp("process") / "output.log"
    output = ProcessLog(path)
    child = Child(engines.service_spec(NAME), output)
    await child.spawn()
    try:
        await child.wait_ready()
        yield path
    finally:
        await child.stop()
        output.close()


@asynccontextmanager
async def channel_as(engines: EmbeddedMesh, identity: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with the certificate of `identity`."""
    files = engines.data.tls_files(identity)
    tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
    options = (("grpc.ssl_target_name_override", "secure-bot-data"), ("grpc.use_local_subchannel_pool", 1))
    address = f"{LOOPBACK}:{engines.ports[NAME]}"
    async with grpc.aio.secure_channel(address, channel_credentials(tls), options=options) as channel:
        yield channel


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """The block must be refused for this reason, without a word of the values."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert from_rpc_error(caught.value).reason == reason
    assert CANARY not in f"{caught.value!r} {caught.value.trailing_metadata()}"


def store(bot_id: str, name: str = "x_oauth1", **more: object) -> pb2.StoreBotSecretRequest:
    """What bot_manager sends when an account is connected."""
    values = {"kind": secret_pb2.SECRET_KIND_X_OAUTH1, "fields": FIELDS, **more}
    return pb2.StoreBotSecretRequest(bot_id=bot_id, name=name, **values)  # type: ignore[arg-type]  # of mixed types


def lease(bot_id: str, name: str = "x_oauth1") -> pb2.LeaseBotSecretRequest:
    """What bot_manager sends before it posts."""
    ttl = Duration()
    ttl.FromTimedelta(timedelta(seconds=30))
    return pb2.LeaseBotSecretRequest(bot_id=bot_id, name=name, ttl=ttl, reason="publish post 1")


async def test_bot_manager_stores_leases_and_revokes(engines: EmbeddedMesh, log: Path) -> None:
    """The way of every credential, from connecting an account to posting with it."""
    bot_id = new_id()
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        stored = await stub.StoreBotSecret(store(bot_id, expected_version=0), timeout=10)
        assert (stored.metadata.version, stored.metadata.kind) == (1, secret_pb2.SECRET_KIND_X_OAUTH1)
        assert stored.metadata.updated_by == "spiffe://vivesphere/bot_manager"
        call = stub.LeaseBotSecret(lease(bot_id), timeout=10, metadata=REQUEST_ID)
        leased = await call
        assert dict(leased.fields) == FIELDS
        assert leased.ttl.ToTimedelta() == timedelta(seconds=30)
        assert ("cache-control", "no-store") in [tuple(pair) for pair in await call.initial_metadata()]
        revoke = pb2.RevokeBotLeasesRequest(bot_id=bot_id, reason="bot paused")
        assert (await stub.RevokeBotLeases(revoke, timeout=10)).revoked_count == 1


async def test_bot_manager_claims_a_secret_stores_its_successor_and_others_may_not(
    engines: EmbeddedMesh, log: Path
) -> None:
    """The way of a token that can be exchanged once, over the wire."""
    bot_id = new_id()
    about = {"bot_id": bot_id, "name": "x_oauth1"}
    claim = pb2.ClaimSecretRotationRequest(**about, reason="expires soon")
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        with refused("SECRET_NOT_FOUND"):
            await stub.ClaimSecretRotation(claim, timeout=10)
        await stub.StoreBotSecret(store(bot_id), timeout=10)
        claimed = await stub.ClaimSecretRotation(claim, timeout=10)
        assert (claimed.version, claimed.interrupted) == (1, False)
        assert claimed.ttl.ToTimedelta() == timedelta(minutes=1)
        with pytest.raises(grpc.aio.AioRpcError) as second:
            await stub.ClaimSecretRotation(claim, timeout=10)
        told = from_rpc_error(second.value)
        assert (told.code, told.reason) == ("ABORTED", "ROTATION_CLAIMED")
        assert told.retry_after is not None
        assert timedelta() < told.retry_after <= timedelta(minutes=1)
        with refused("INVALID_FIELD"):
            await stub.StoreBotSecret(store(bot_id, rotation_id=claimed.rotation_id), timeout=10)
        await stub.StoreBotSecret(
            store(bot_id, expected_version=1, rotation_id=claimed.rotation_id), timeout=10
        )
        release = pb2.ReleaseSecretRotationRequest(**about, rotation_id=claimed.rotation_id)
        assert not (await stub.ReleaseSecretRotation(release, timeout=10)).released
        assert (await stub.ClaimSecretRotation(claim, timeout=10)).version == 2
    async with channel_as(engines, "gateway") as channel:
        with refused("SERVICE_NOT_ALLOWED"):
            await BotSecretServiceStub(channel).ClaimSecretRotation(claim, timeout=10)


async def test_bad_input_names_the_field_and_writes_nothing(engines: EmbeddedMesh, log: Path) -> None:
    """Whoever connects an account needs to know what is missing, and nobody else what was given."""
    bot_id = new_id()
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StoreBotSecret(store(bot_id, fields={"consumer_key": CANARY}), timeout=10)
        told = from_rpc_error(caught.value)
        assert told.violations[0].field == "fields['access_token']"
        assert (told.reason, len(told.violations)) == ("INVALID_FIELD", 3)
        with refused("INVALID_FIELD"):
            await stub.StoreBotSecret(store("not-a-uuid"), timeout=10)
        with refused("INVALID_FIELD"):
            await stub.StoreBotSecret(store(bot_id, name="../../sys"), timeout=10)
        with refused("SECRET_NOT_FOUND"):
            await stub.LeaseBotSecret(lease(bot_id), timeout=10)
        with refused("VERSION_MISMATCH"):
            await stub.StoreBotSecret(store(bot_id, expected_version=3), timeout=10)


async def test_only_bot_manager_gets_leases(engines: EmbeddedMesh, log: Path) -> None:
    """Values for machines go to one machine; people have another method and leave a reason."""
    bot_id = new_id()
    for identity in ("gateway", "logging"):
        async with channel_as(engines, identity) as channel:
            stub = BotSecretServiceStub(channel)
            with refused("SERVICE_NOT_ALLOWED"):
                await stub.LeaseBotSecret(lease(bot_id), timeout=10)
            with refused("CREDENTIAL_MISSING"):
                await stub.RevealBotSecret(
                    pb2.RevealBotSecretRequest(bot_id=bot_id, name="x_oauth1", reason="curious"), timeout=10
                )


async def test_a_seal_shows_in_health_and_in_the_reason_and_passes(
    engines: EmbeddedMesh, log: Path, root: Root
) -> None:
    """Who operates the mesh sees which part is missing, and restarts nothing of ours."""
    bot_id = new_id()
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        await stub.StoreBotSecret(store(bot_id), timeout=10)
        await root.seal()
        try:
            await _health_becomes(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
            with refused("VAULT_SEALED"):
                await stub.LeaseBotSecret(lease(bot_id), timeout=10)
            with refused("VAULT_SEALED"):
                await stub.StoreBotSecret(store(bot_id), timeout=10)
        finally:
            await root.restart()
        await _health_becomes(channel, health_pb2.HealthCheckResponse.SERVING)
        assert (await stub.LeaseBotSecret(lease(bot_id), timeout=10)).version == 1


async def test_no_value_lies_anywhere(engines: EmbeddedMesh, log: Path, root: Root) -> None:
    """The promise of this service: PostgreSQL, the vault's storage, the message store and every process's output hold no value."""
    bot_id = new_id()
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        await stub.StoreBotSecret(store(bot_id), timeout=10)
        await stub.LeaseBotSecret(lease(bot_id), timeout=10)
        # An answer of the vault that makes no sense: the process logs a failure while it holds the request.
        body = {"data": {"format": "1", "about": "{", "ciphertext": "vault:v1:x"}, "options": {"cas": 1}}
        await root.kv("POST", bot_id, "x_oauth1", body)
        with refused("INTERNAL"):
            await stub.LeaseBotSecret(lease(bot_id), timeout=10)
        with refused("INTERNAL"):
            await stub.StoreBotSecret(store(bot_id), timeout=10)
    with engines.admin.connect(autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        content = dict(tables(connection))
    content |= dict(await messages(engines)) | dict(files(engines.data.root)) | dict(files(log.parent))
    # The search finds what does lie there: in the database's files, its rows, and the audit messages.
    for place in ("postgres/", "secure_bot_data.accesses", "AUDIT/audit.secure_bot_data"):
        assert any(b"publish post 1" in data for name, data in content.items() if name.startswith(place))
    assert Scan({"canary": CANARY}).report(content.items()) == {}


async def _health_becomes(channel: grpc.aio.Channel, status: int) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(FAR_SECONDS):
        while True:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service="vault"), timeout=5)
            if answer.status == status:
                return
            await asyncio.sleep(0.1)
