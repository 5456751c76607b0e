"""The running service and its callers: what people and services get, and that whoever is turned away is on the access trail, once."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedMesh
from mesh.identity.rules import REVOCATIONS_MAX_STALENESS
from mesh.ids import new_id
from services.configuration.convert.values import from_json
from tests.integration.services.configuration.running import channel
from tests.integration.services.secure_bot_data.people import People, eventually, people_of, refusal
from vivesphere.configuration.v1 import settings_service_pb2 as settings_pb2
from vivesphere.configuration.v1 import watch_service_pb2
from vivesphere.configuration.v1.settings_service_pb2_grpc import SettingsServiceStub
from vivesphere.configuration.v1.watch_service_pb2_grpc import WatchServiceStub
from vivesphere.logging.v1.log_record_pb2 import LogRecord
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1 import secret_access_pb2 as access_pb2

USER = "0190c6a1-0000-7000-8000-000000000001"
GENERIC = secret_pb2.SECRET_KIND_GENERIC
REVEAL, LEASE = access_pb2.SECRET_ACCESS_KIND_REVEAL, access_pb2.SECRET_ACCESS_KIND_LEASE
MiB = 1024 * 1024
REQUEST_ID = (("x-request-id", "request-of-the-test"),)
CLIENT = (("x-forwarded-for", "192.0.2.7"),)


@pytest.fixture(scope="module")
async def people(engines: EmbeddedMesh) -> AsyncIterator[People]:
    async with people_of(engines) as made:
        yield made


def reveal(bot_id: str, name: str = "x_oauth1", **more: object) -> pb2.RevealBotSecretRequest:
    """What a curious person sends."""
    values = {"reason": "curious", **more}
    return pb2.RevealBotSecretRequest(bot_id=bot_id, name=name, **values)  # type: ignore[arg-type]  # of mixed types


async def test_a_person_brings_earlier_values_back(people: People) -> None:
    """From the answer to the audit trail, as an administrator at the gateway does it."""
    bot_id, gateway, admin = new_id(), people.as_peer("gateway"), people.token("admin")
    for value in ("first", "second"):
        put = pb2.PutBotSecretRequest(
            bot_id=bot_id, name="proxy", kind=GENERIC, fields={"password": value}, owner="ana"
        )
        await gateway.PutBotSecret(put, metadata=admin, timeout=5)
    request = pb2.RollbackBotSecretRequest(bot_id=bot_id, name="proxy", version=1, expected_version=2)
    answer = await gateway.RollbackBotSecret(request, metadata=admin, timeout=5)
    assert (answer.metadata.version, answer.metadata.owner, answer.metadata.updated_by) == (3, "ana", USER)
    error = await refusal(gateway.RollbackBotSecret(request, metadata=admin, timeout=5))
    assert (error.code, error.reason) == ("ABORTED", "VERSION_MISMATCH")
    listed = await gateway.ListBotSecretVersions(
        pb2.ListBotSecretVersionsRequest(bot_id=bot_id, name="proxy"), metadata=admin, timeout=5
    )
    assert [version.rolled_back_from for version in listed.versions] == [1, 0, 0]
    shown = await gateway.RevealBotSecret(reveal(bot_id, "proxy"), metadata=admin, timeout=5)
    assert dict(shown.fields) == {"password": "first"}
    assert _audited(people.engines, bot_id, "RollbackBotSecret") == ["OK", "ABORTED"]


async def test_the_largest_secret_passes_every_limit_on_its_way(people: People) -> None:
    """Messages, audit, encryption and storage each have a bound of their own; the contract's has to be the least."""
    bot_id, gateway, admin = new_id(), people.as_peer("gateway"), people.token("admin")
    fields = {"one": "\x01" * MiB, "two": '"' * MiB}
    put = pb2.PutBotSecretRequest(bot_id=bot_id, name="large", kind=GENERIC, fields=fields)
    await gateway.PutBotSecret(put, metadata=admin, timeout=10)
    shown = await gateway.RevealBotSecret(reveal(bot_id, "large"), metadata=admin, timeout=10)
    assert dict(shown.fields) == fields
    put.fields["two"] += "x"
    error = await refusal(gateway.PutBotSecret(put, metadata=admin, timeout=10))
    assert (error.reason, error.violations[0].field) == ("INVALID_FIELD", "fields['two']")


HOSTILE = (
    "",
    ".",
    "..",
    "../x",
    "../../sys/mounts",
    "..%2f",
    "a/b",
    "a?b",
    "a#b",
    "a b",
    "A",
    "ä",
    "٣",
    "a\0",
    "a\n",
    "-a",
    "a" * 64,
)


@pytest.mark.parametrize(
    "method", ["PutBotSecret", "GetBotSecretMetadata", "RevealBotSecret", "RollbackBotSecret"]
)
async def test_hostile_names_are_refused_and_named(people: People, method: str) -> None:
    """A name becomes part of a path in the vault, with our token."""
    values = {
        "PutBotSecret": {"kind": GENERIC, "fields": {"a": "1"}},
        "RevealBotSecret": {"reason": "curious"},
        "RollbackBotSecret": {"version": 1},
    }.get(method, {})
    call, make = getattr(people.as_peer("gateway"), method), getattr(pb2, f"{method}Request")
    asked = [("name", new_id(), name) for name in HOSTILE]
    asked += [("bot_id", bot_id, "x") for bot_id in (*HOSTILE, new_id()[:-1], new_id() + "0")]
    for field, bot_id, name in asked:
        request = make(bot_id=bot_id, name=name, **values)
        error = await refusal(call(request, metadata=people.token("admin"), timeout=5))
        assert (error.reason, error.violations[0].field) == ("INVALID_FIELD", field)


async def test_services_encrypt_each_for_itself_and_nobody_for_the_gateway(people: People) -> None:
    """The identity comes from the certificate: no request can name another one, and no browser gets here."""
    own, other = people.as_peer("authentication"), people.as_peer("logging")
    sealed = await own.Encrypt(pb2.EncryptRequest(plaintext=b"seed", context="totp/1"), timeout=5)
    request = pb2.DecryptRequest(ciphertext=sealed.ciphertext, context="totp/1")
    for credential in ((), people.token("admin")):
        assert (await own.Decrypt(request, metadata=credential, timeout=5)).plaintext == b"seed"
        error = await refusal(other.Decrypt(request, metadata=credential, timeout=5))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    gateway, admin = people.as_peer("gateway"), people.token("admin")
    wanted = pb2.EncryptRequest(plaintext=b"seed", context="totp/1")
    for call in (gateway.Encrypt(wanted, metadata=admin), gateway.Decrypt(request, metadata=admin)):
        assert (await refusal(call)).reason == "SERVICE_NOT_ALLOWED"


async def test_every_way_to_be_turned_away_is_on_the_trail(people: People) -> None:
    """An auditor sees attempts, not only successes: with whom, from where, and why they failed."""
    bot_id, gateway = new_id(), people.as_peer("gateway")
    attempts = [
        (CLIENT, reveal(bot_id), "CREDENTIAL_MISSING", ""),
        (people.token("admin", aud="other"), reveal(bot_id), "TOKEN_INVALID", ""),
        (people.token("viewer"), reveal(bot_id), "PERMISSION_MISSING", USER),
        (people.token("admin", factor=False), reveal(bot_id), "STEP_UP_REQUIRED", USER),
        (people.token("admin"), reveal(bot_id, reason=" "), "INVALID_FIELD", USER),
        (people.token("admin"), reveal(bot_id), "SECRET_NOT_FOUND", USER),
    ]
    for credential, request, reason, _ in attempts:
        call = gateway.RevealBotSecret(request, metadata=(*credential, *REQUEST_ID), timeout=5)
        assert (await refusal(call)).reason == reason
    found = await people.accesses(bot_id, len(attempts))
    told = [(access.denied_reason, access.actor) for access in reversed(found)]
    assert told == [(reason, actor) for *_, reason, actor in attempts]
    assert {(a.kind, a.name, a.allowed, a.version, a.request_id) for a in found} == {
        (REVEAL, "x_oauth1", False, 0, "request-of-the-test")
    }
    assert found[-1].peer == "192.0.2.7"
    assert [access.reason for access in found].count("curious") == 5


async def test_a_service_that_may_not_lease_is_named(people: People) -> None:
    """A stolen mesh certificate that tries names must not go unnoticed."""
    bot_id = new_id()
    request = pb2.LeaseBotSecretRequest(bot_id=bot_id.upper(), name="x_oauth1", reason="publish")
    error = await refusal(people.as_peer("logging").LeaseBotSecret(request, timeout=5))
    assert error.reason == "SERVICE_NOT_ALLOWED"
    [access] = await people.accesses(bot_id, 1)
    assert (access.kind, access.actor) == (LEASE, "spiffe://vivesphere/logging")
    assert (access.denied_reason, access.peer) == ("SERVICE_NOT_ALLOWED", "127.0.0.1")


async def test_what_nobody_could_list_or_store_leaves_no_row_and_no_error(people: People) -> None:
    """Requests of strangers are unchecked; each is answered as ever, and its reason is cut to what the column is for."""
    bot_id, gateway = new_id(), people.as_peer("gateway")
    odd = [
        reveal("not-a-uuid"),
        reveal(bot_id, name="../../sys"),
        reveal(bot_id, name=""),
        reveal(bot_id, name="a\0b"),
        reveal(bot_id, name="x" * 100_000),
        reveal(bot_id, name="kept", reason="a\0" * 100_000),
    ]
    for request in odd:
        call = gateway.RevealBotSecret(request, metadata=people.token("viewer"), timeout=5)
        assert (await refusal(call)).reason == "PERMISSION_MISSING"
    [access] = await people.accesses(bot_id, 1)
    assert (access.name, access.reason) == ("kept", "a" * 500)


async def test_readings_are_refused_and_noted_while_revocations_are_stale(people: People) -> None:
    """The last one of this file: the feed stays silent. Whoever's session may be stolen does not get a value, and it shows."""
    bot_id, gateway = new_id(), people.as_peer("gateway")
    await _shorten_staleness(people)
    people.feed.silent = True

    async def stale() -> bool | None:
        call = gateway.RevealBotSecret(reveal(bot_id), metadata=people.token("admin"), timeout=5)
        return (await refusal(call)).reason == "REVOCATIONS_STALE" or None

    await eventually(stale)
    assert (await people.accesses(bot_id, 1))[0].denied_reason == "REVOCATIONS_STALE"


def _audited(engines: EmbeddedMesh, bot_id: str, method: str) -> list[str]:
    """How calls of a method about a bot ended, as the audit trail has it."""
    query = "SELECT payload FROM secure_bot_data.outbox WHERE subject = 'audit.secure_bot_data' ORDER BY id"
    with engines.admin.connect() as connection:
        records = [LogRecord.FromString(payload) for (payload,) in connection.execute(query)]
    return [
        record.audit.outcome
        for record in records
        if record.bot_id == bot_id and record.audit.action.endswith(f"/{method}")
    ]


async def _shorten_staleness(people: People) -> None:
    """To the least that the setting allows, as an administrator does."""
    definition = REVOCATIONS_MAX_STALENESS.to_proto()
    async with (
        channel(people.engines, "authentication", "configuration") as own,
        channel(people.engines, "gateway", "configuration") as gateway,
    ):
        await WatchServiceStub(own).RegisterDefinitions(
            watch_service_pb2.RegisterDefinitionsRequest(definitions=[definition], release="1.0.0"), timeout=5
        )
        await SettingsServiceStub(gateway).UpdateSetting(
            settings_pb2.UpdateSettingRequest(key=definition.key, value=from_json(3)),
            metadata=people.token("admin"),
            timeout=5,
        )
