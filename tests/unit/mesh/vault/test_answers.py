"""Every answer a vault or something in front of it can give, and what becomes of it."""

import asyncio
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta

import pytest
from loguru import logger

from mesh.errors import (
    Aborted,
    Internal,
    MeshError,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from mesh.secret import Secret
from mesh.vault import VaultClient, VaultState
from mesh.vault.wire import MAX_ANSWER_BYTES
from tests.unit.mesh.vault.conftest import NewClient
from tests.unit.mesh.vault.scripted import LOOKUP, TOKEN, Reply, ScriptedVault, Seen, login_reply

CANARY = "canary-value"
PATH = ("0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b", "x_oauth1")


def errors(*texts: str) -> dict[str, list[str]]:
    return {"errors": [*texts, CANARY]}


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(
        lines.append, level="TRACE", format="{message} {extra} {exception}", diagnose=True, backtrace=True
    )
    yield lines
    logger.remove(sink)


async def put(client: VaultClient) -> MeshError:
    """The error of a write that answers badly."""
    with pytest.raises(MeshError) as caught:
        await client.kv("bots").put(PATH, {"token": Secret(CANARY)}, cas=1)
    return caught.value


async def get(client: VaultClient) -> MeshError:
    """The error of a read that answers badly."""
    with pytest.raises(MeshError) as caught:
        await client.kv("bots").get(PATH)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "error", "reason", "state"),
    [
        (Reply(503, errors("Vault is sealed")), Unavailable, "VAULT_SEALED", VaultState.SEALED),
        (Reply(501, {}), Unavailable, "VAULT_SEALED", VaultState.SEALED),
        (Reply(503, b"<html>busy</html>"), Unavailable, "VAULT_UNAVAILABLE", VaultState.UNREACHABLE),
        (Reply(472, errors()), Unavailable, "VAULT_STANDBY", VaultState.STANDBY),
        (Reply(473, errors()), Unavailable, "VAULT_STANDBY", VaultState.STANDBY),
        (Reply(412, errors()), Unavailable, "VAULT_STANDBY", VaultState.STANDBY),
        (Reply(307, {}, {"Location": "/v1/x"}), Unavailable, "VAULT_STANDBY", VaultState.STANDBY),
        (
            Reply(500, errors("local node not active but active cluster node not found")),
            Unavailable,
            "VAULT_STANDBY",
            VaultState.STANDBY,
        ),
        (Reply(429, errors()), ResourceExhausted, "VAULT_THROTTLED", VaultState.READY),
        (Reply(500, errors()), OutcomeUnknown, "VAULT_UNAVAILABLE", VaultState.UNREACHABLE),
        (Reply(502, b"bad gateway"), OutcomeUnknown, "VAULT_UNAVAILABLE", VaultState.UNREACHABLE),
        (Reply(504, b""), OutcomeUnknown, "VAULT_UNAVAILABLE", VaultState.UNREACHABLE),
        (
            Reply(200, b'{"data": {"version": 2}}', cut=9),
            OutcomeUnknown,
            "VAULT_UNAVAILABLE",
            VaultState.UNREACHABLE,
        ),
        (Reply(200, b"not json"), OutcomeUnknown, "VAULT_UNAVAILABLE", VaultState.UNREACHABLE),
        (Reply(404, errors("no handler for route")), Unavailable, "VAULT_UNAVAILABLE", VaultState.READY),
        (Reply(404, {"errors": []}), NotFound, "SECRET_NOT_FOUND", VaultState.READY),
        (
            Reply(500, errors("put failed due to value being too large; got 1, max: 0")),
            OutOfRange,
            "MESSAGE_TOO_LARGE",
            VaultState.READY,
        ),
        (Reply(413, errors()), OutOfRange, "MESSAGE_TOO_LARGE", VaultState.READY),
        (
            Reply(400, errors("check-and-set parameter did not match the current version")),
            Aborted,
            "VERSION_MISMATCH",
            VaultState.READY,
        ),
        (Reply(400, errors("something else")), Internal, "INTERNAL", VaultState.READY),
        (Reply(200, {"data": {"version": CANARY}}), Internal, "INTERNAL", VaultState.READY),
    ],
)
async def test_a_write_ends_in_exactly_one_meaning(
    vault: ScriptedVault,
    client: VaultClient,
    log: list[str],
    reply: Reply,
    error: type[MeshError],
    reason: str,
    state: VaultState,
) -> None:
    """Unknown only when it may have been done; and neither error nor log holds anything of the secret, the path or the answer."""
    vault.script = lambda _: reply
    raised = await put(client)
    assert (type(raised), raised.reason, client.state) == (error, reason, state)
    shown = "".join(traceback.format_exception(raised)) + repr(vars(raised)) + "".join(log)
    for hidden in (CANARY, TOKEN, "canary-secret-id", PATH[0], "vivesphere-kv", vault.address):
        assert hidden not in shown
    assert raised.__context__ is None
    assert raised.__cause__ is None


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (Reply(503, errors("Vault is sealed")), Reply(472), "VAULT_STANDBY"),
        (Reply(472), Reply(503, errors("Vault is sealed")), "VAULT_STANDBY"),
        (Reply(503, errors("Vault is sealed")), Reply(503), "VAULT_SEALED"),
        (Reply(503), Reply(503, errors("Vault is sealed")), "VAULT_SEALED"),
        (Reply(472), Reply(500), "VAULT_UNAVAILABLE"),
        (Reply(472), None, "VAULT_STANDBY"),
        (Reply(503, errors("Vault is sealed")), None, "VAULT_SEALED"),
    ],
)
async def test_of_several_nodes_the_one_that_tells_most_is_listened_to(
    vault: ScriptedVault,
    other_vault: ScriptedVault,
    new_client: NewClient,
    first: Reply,
    second: Reply | None,
    reason: str,
) -> None:
    """A sealed node beside standbys is not what is missing, and a dead one says nothing. The order of addresses decides nothing."""
    client = new_client([vault.address, other_vault.address])
    await client.kv("bots").list()
    vault.script = lambda _: first
    if second is None:
        other_vault.close()
    else:
        other_vault.script = lambda _: second
    assert (await get(client)).reason == reason
    with pytest.raises(Unavailable) as caught:
        client.check()
    assert caught.value.reason == reason


async def test_a_policy_that_forbids_is_told_from_a_lost_token(
    vault: ScriptedVault, client: VaultClient
) -> None:
    """Repeating does not help, and neither does another login; somebody has to look at the policy."""
    vault.script = lambda seen: Reply(200, {"data": {}}) if seen.path == LOOKUP else Reply(403, errors())
    for error in (await get(client), await put(client)):
        assert (type(error), error.reason, error.retry_after) == (Unavailable, "VAULT_PERMISSION_LOST", None)
    assert len(vault.seen) - len(vault.requests()) == 1


@pytest.mark.parametrize("status", [400, 403])
async def test_a_refused_login_is_lost_permission(
    vault: ScriptedVault, client: VaultClient, status: int
) -> None:
    """Also for those who come while it is not yet time for another try, and in health."""
    vault.login = lambda: Reply(status, errors("invalid role or secret ID"))
    for _ in range(3):
        assert (await get(client)).reason == "VAULT_PERMISSION_LOST"
    with pytest.raises(Unavailable) as caught:
        client.check()
    assert caught.value.reason == "VAULT_PERMISSION_LOST"


async def test_a_lost_token_that_cannot_be_replaced_shows(vault: ScriptedVault, client: VaultClient) -> None:
    """By its age it would be good for hours, and health would say that all is well."""
    await client.kv("bots").list()
    vault.script = lambda _: Reply(403, errors())
    vault.login = lambda: Reply(400, errors("invalid role or secret ID"))
    assert (await get(client)).reason == "VAULT_PERMISSION_LOST"
    assert client.state is VaultState.DENIED


async def test_while_nobody_asks_the_reason_stays_the_same(vault: ScriptedVault, client: VaultClient) -> None:
    """Calls that are turned away without being sent say why as precisely as those that were sent."""
    vault.script = lambda _: Reply(503, errors("Vault is sealed"))
    reasons = {(await get(client)).reason for _ in range(10)}
    assert (reasons, len(vault.requests())) == ({"VAULT_SEALED"}, 3)


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_read_is_never_of_unknown_outcome(
    vault: ScriptedVault, client: VaultClient, status: int
) -> None:
    """Repeating a read is free, so the caller is told to."""
    vault.script = lambda _: Reply(status, errors())
    assert type(await get(client)) is Unavailable


async def test_retry_after_of_a_rate_limit_is_passed_on_within_reason(
    vault: ScriptedVault, client: VaultClient
) -> None:
    """The vault knows when; an absurd number does not park us for a day."""
    for header, expected in (("7", 7), ("86400", 60), ("soon", 1), ("-1", 1)):
        headers = {"Retry-After": header}
        vault.script = lambda _, headers=headers: Reply(429, {}, headers)  # type: ignore[misc]  # bound per turn
        assert (await get(client)).retry_after == timedelta(seconds=expected)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_takes_the_token_nowhere(
    vault: ScriptedVault, other_vault: ScriptedVault, client: VaultClient, status: int
) -> None:
    """requests forwards custom headers such as X-Vault-Token to any host it is sent to."""
    vault.script = lambda seen: Reply(status, {}, {"Location": other_vault.address + seen.path})
    await get(client)
    await put(client)
    assert other_vault.seen == []


async def test_a_redirected_login_takes_the_secret_id_nowhere(
    vault: ScriptedVault, other_vault: ScriptedVault, client: VaultClient
) -> None:
    """307 repeats the body."""
    vault.login = lambda: Reply(307, {}, {"Location": other_vault.address + "/v1/auth/approle/login"})
    await get(client)
    assert other_vault.seen == []


async def test_the_environment_and_home_change_nothing(
    vault: ScriptedVault, other_vault: ScriptedVault, client: VaultClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hvac reads VAULT_TOKEN, requests reads proxies and ~/.netrc; a process must not be steered that way."""
    monkeypatch.setenv("VAULT_TOKEN", "from-environment")
    monkeypatch.setenv("http_proxy", other_vault.address)
    monkeypatch.setenv("no_proxy", "")
    assert await client.kv("bots").list() == []
    assert [seen.token for seen in vault.requests()] == [TOKEN]
    assert other_vault.seen == []


async def test_a_hanging_vault_costs_the_timeout_and_a_late_write_is_unknown(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """The caller is answered in time, whatever the thread still waits for."""
    release = threading.Event()
    vault.script = lambda _: Reply(hang=release)
    client = new_client(timeout=timedelta(milliseconds=200))
    try:
        async with asyncio.timeout(30):
            assert type(await put(client)) is OutcomeUnknown
            assert type(await get(client)) is Unavailable
        assert client.state is VaultState.UNREACHABLE
    finally:
        release.set()


async def test_a_dripping_vault_costs_the_timeout_too(vault: ScriptedVault, new_client: NewClient) -> None:
    """A byte now and then keeps socket time-outs from ever firing, and threads are few."""
    vault.script = lambda _: Reply(body=b" " * 500, drip_seconds=0.02)
    client = new_client(timeout=timedelta(milliseconds=200), pool_size=1, queue_size=0)
    assert type(await get(client)) is Unavailable
    await asyncio.sleep(0.3)
    vault.script = lambda _: Reply(body={"data": {"keys": []}})
    assert await client.kv("bots").list() == []


async def test_an_endless_answer_is_cut_off(vault: ScriptedVault, client: VaultClient) -> None:
    """Memory is bounded whatever is in front of the vault."""
    vault.script = lambda _: Reply(body=b" " * (MAX_ANSWER_BYTES + 1))
    assert type(await get(client)) is Unavailable


async def test_more_calls_than_threads_and_queue_are_refused_at_once(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """A slow vault must not collect an unbounded pile of waiting calls."""
    client = new_client(pool_size=2, queue_size=3)
    await client.kv("bots").list()
    release = threading.Event()
    vault.script = lambda _: Reply(body={"data": {"keys": ["a"]}}, hang=release)
    calls = [asyncio.ensure_future(client.kv("bots").list()) for _ in range(9)]
    done, waiting = await asyncio.wait(calls, timeout=0.3)
    assert (len(done), len(waiting)) == (4, 5)
    for call in done:
        error = call.exception()
        assert isinstance(error, ResourceExhausted)
        assert (error.reason, bool(error.retry_after)) == ("OVERLOADED", True)
    release.set()
    assert await asyncio.gather(*waiting) == [["a"]] * 5


async def test_a_call_that_never_left_the_queue_is_overload_not_unknown(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """Nothing was sent, so nothing is in doubt."""
    client = new_client(pool_size=1, timeout=timedelta(milliseconds=200))
    await client.kv("bots").list()
    release = threading.Event()
    vault.script = lambda _: Reply(hang=release)
    try:
        first, second = await asyncio.gather(put(client), put(client))
        assert {type(first), type(second)} == {OutcomeUnknown, ResourceExhausted}
    finally:
        release.set()


async def test_a_standby_passes_the_call_to_the_next_address(
    vault: ScriptedVault, other_vault: ScriptedVault, new_client: NewClient
) -> None:
    """Fail-over needs no balancer, and the address that answered stays the first choice."""
    vault.login = lambda: Reply(472)
    vault.script = lambda _: Reply(472)
    other_vault.script = lambda _: Reply(body={"data": {"version": 2}})
    client = new_client([vault.address, other_vault.address])
    for _ in range(3):
        assert await client.kv("bots").put(PATH, {"a": Secret("1")}, cas=1) == 2
    assert len(vault.seen) == 1


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, b"{}", cut=1)])
async def test_a_write_that_may_have_been_done_is_not_sent_to_the_next_address(
    vault: ScriptedVault, other_vault: ScriptedVault, new_client: NewClient, reply: Reply
) -> None:
    """The second node would answer with a version mismatch against our own write. Reads go there at once."""
    client = new_client([vault.address, other_vault.address])
    vault.script = lambda _: reply
    assert type(await put(client)) is OutcomeUnknown
    assert other_vault.seen == []
    other_vault.script = lambda _: Reply(body={"data": {"keys": ["b"]}})
    assert await client.kv("bots").list() == ["b"]


async def test_a_hanging_address_is_left_after_one_call(
    vault: ScriptedVault, other_vault: ScriptedVault, new_client: NewClient
) -> None:
    """It eats the whole deadline, so there was no time to ask the next one; it must not eat the following ones too."""
    release = threading.Event()
    vault.script = lambda _: Reply(hang=release)
    other_vault.script = lambda _: Reply(body={"data": {"keys": ["b"]}})
    client = new_client([vault.address, other_vault.address], timeout=timedelta(milliseconds=300))
    try:
        assert type(await get(client)) is Unavailable
        assert await client.kv("bots").list() == ["b"]
    finally:
        release.set()


async def test_a_read_on_a_stale_connection_is_sent_again(vault: ScriptedVault, client: VaultClient) -> None:
    """Balancers and restarts close pooled connections at the moment we write to them."""
    replies = iter([Reply(200, b"{}", cut=0), Reply(body={"data": {"keys": ["a"]}})])
    vault.script = lambda _: next(replies)
    assert await client.kv("bots").list() == ["a"]


async def test_nobody_there_is_unavailable_for_writes_too(
    vault: ScriptedVault, new_client: NewClient
) -> None:
    """A refused connection proves that nothing was sent."""
    client = new_client()
    await client.kv("bots").list()
    vault.close()
    assert type(await put(client)) is Unavailable


async def test_a_lost_token_is_replaced_and_the_write_done_once(
    vault: ScriptedVault, client: VaultClient
) -> None:
    """403 proves that nothing was written, so even a write may go again with the new token."""
    tokens = iter(["s.old", "s.new"])
    vault.login = lambda: login_reply(next(tokens))

    def script(seen: Seen) -> Reply:
        return Reply(403, errors()) if seen.token == "s.old" else Reply(body={"data": {"version": 1}})

    vault.script = script
    assert await client.kv("bots").put(PATH, {"a": Secret("1")}, cas=0) == 1
    assert [(seen.path == LOOKUP, seen.token) for seen in vault.requests()] == [
        (False, "s.old"),
        (True, "s.old"),
        (False, "s.new"),
    ]


async def test_a_caller_who_gives_up_while_logging_in_leaves_one_login(
    vault: ScriptedVault, client: VaultClient
) -> None:
    """Its thread goes on; the next caller takes that token instead of a second one."""
    release = threading.Event()

    def slow() -> Reply:
        release.wait(5)
        return login_reply()

    vault.login = slow
    for _ in range(3):
        call = asyncio.ensure_future(client.kv("bots").list())
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    release.set()
    assert await client.kv("bots").list() == []
    assert len(vault.seen) - len(vault.requests()) == 1


def test_a_missing_ca_bundle_is_a_mistake_at_once(new_client: NewClient) -> None:
    """It would look like a vault that is away, for ever."""
    with pytest.raises(ValueError, match="CA bundle"):
        new_client("https://127.0.0.1:8200")


@pytest.mark.parametrize(
    "address",
    [
        "http://vault:8200",
        "ftp://127.0.0.1",
        "https://user:pw@vault",
        "https://vault/v1",
        "vault:8200",
        "https://v?x=1",
    ],
)
def test_addresses_without_protection_are_refused(new_client: NewClient, address: str) -> None:
    """Plain HTTP only within this machine; no credentials or paths hidden in an address, and no echo of it."""
    with pytest.raises(ValueError, match="a vault address is") as caught:
        new_client(address)
    assert address not in str(caught.value)
