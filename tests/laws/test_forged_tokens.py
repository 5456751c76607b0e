"""No forged token gets into any service, and none does harm on its way out again.

Every case of `tests/fakes/forgery.py` against one method of every service, over real mutual TLS. After each, a good token is sent again:
a forgery must not poison a cache, use up a budget or end a key set.
"""

import asyncio
import secrets
import tomllib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from loguru import logger

from mesh.contract import MethodPolicy, Who, policies_of, services_of
from mesh.errors import MeshError
from mesh.interceptors.access import CREDENTIAL_FAULTS
from mesh.status import from_rpc_error
from tests.fakes.contracts import registrations
from tests.fakes.forgery import OUR_OWN_SIZE, Forged, Forger, accepted, forgeries
from tests.fakes.mesh import LocalServer, serving

ROOT = Path(__file__).resolve().parents[2]
SERVICES = tuple(tomllib.loads((ROOT / "services" / "registry.toml").read_text()))
IDS = sorted({forged.id for forged in forgeries(Ed25519PrivateKey.generate())})
LET_IN = {"UNIMPLEMENTED", "INVALID_ARGUMENT"}
"""What the servicers without a line of their own answer to whoever passes the access stage."""
STORM = 1000


@dataclass
class Target:
    """A running service, and the method that is tried."""

    server: LocalServer
    policies: dict[str, MethodPolicy]
    channel: grpc.aio.Channel
    path: str
    cases: dict[str, list[Forged]]
    lines: list[dict[str, Any]]

    async def call(self, token: str | None, path: str = "", *more: tuple[str, str]) -> MeshError:
        """What a caller with this bearer token is told; every answer here is an error."""
        path = path or self.path
        policy = self.policies.get(path)
        request_streaming = policy is not None and policy.request_streaming
        response_streaming = policy is not None and policy.response_streaming
        arity = f"{'stream' if request_streaming else 'unary'}_{'stream' if response_streaming else 'unary'}"
        metadata = (*more, ("authorization", f"Bearer {token}")) if token is not None else more
        request: Any = iter([b""]) if request_streaming else b""
        call = getattr(self.channel, arity)(path)(request, metadata=metadata, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if response_streaming else call)
        return from_rpc_error(caught.value)

    async def lets_in(self, token: str) -> bool:
        """Whether the access stage lets the token pass."""
        return (await self.call(token)).code in LET_IN


@pytest.fixture(scope="module", params=SERVICES)
async def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    """One server for all cases, as in life."""
    service: str = request.param
    names = list(services_of(service))
    policies = policies_of(names)
    folder = tmp_path_factory.mktemp(service)
    lines: list[dict[str, Any]] = []
    sink = logger.add(
        lambda message: lines.append({"text": str(message), **message.record["extra"]}),
        level="TRACE",
        format="{message} {extra} {exception}",
    )
    async with (
        serving(folder, service, names, registrations(service), roles={"admin": frozenset({"*"})}) as server,
        server.channel("gateway", service) as channel,
    ):
        cases: dict[str, list[Forged]] = defaultdict(list)
        for forged in forgeries(server.issuer.key):
            cases[forged.id].append(forged)
        yield Target(server, policies, channel, _plain_method(policies), cases, lines)
    logger.remove(sink)


def _plain_method(policies: dict[str, MethodPolicy]) -> str:
    """A unary method that a good token of an administrator is enough for."""
    return next(
        path
        for path, policy in sorted(policies.items())
        if policy.who in (Who.PERMISSION, Who.AUTHENTICATED)
        and not (policy.request_streaming or policy.response_streaming)
        and not (policy.step_up or policy.session or policy.high_risk)
    )


async def test_good_tokens_get_in(target: Target) -> None:
    """JWT-001, JWT-060: else everything below would prove nothing."""
    for good in accepted(target.server.issuer.key):
        assert await target.lets_in(good.token), good.label


@pytest.mark.parametrize("case", IDS)
async def test_forgeries_are_refused_and_leave_no_trace(target: Target, case: str) -> None:
    """The caller learns one thing, the log learns the reason in fixed words, nobody learns the token; a good one works on (JWT-002)."""
    good = target.server.issuer.token("admin")
    assert target.cases[case]
    for forged in target.cases[case]:
        target.lines.clear()
        told = await target.call(forged.token)
        if len(forged.token) > OUR_OWN_SIZE and told.code != "UNAUTHENTICATED":
            assert told.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"), (
                forged.label
            )  # by gRPC, which never shows it to us
        else:
            assert (told.code, told.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID"), forged.label
            assert told.message == "the access token is not valid; sign in or refresh it"
            [line] = [fields for fields in target.lines if "rpc_method" in fields]
            assert line["auth_fault"] in CREDENTIAL_FAULTS, forged.label
        if len(forged.token) > 8:
            assert not [fields for fields in target.lines if forged.token[-24:] in fields["text"]], (
                forged.label
            )
        assert await target.lets_in(good), f"after {forged.label}"


async def test_no_kind_of_method_forgets_to_ask(target: Target) -> None:
    """JWT-098: unary or streaming on either side, every method of the contract refuses a forgery; what is in none is not there."""
    forged = Forger(Ed25519PrivateKey.generate()).token()
    for path, policy in target.policies.items():
        told = await target.call(forged, path)
        if policy.who is Who.PUBLIC:
            assert told.code in LET_IN, path
        elif policy.who is Who.SERVICES:
            assert told.reason == "SERVICE_NOT_ALLOWED", path
        else:
            assert told.reason == "TOKEN_INVALID", path
    for path in ("/vivesphere.authentication.v1.AuthenticationService/Nothing", f"{target.path}/", "/"):
        told = await target.call(target.server.issuer.token("admin"), path)
        assert told.code == "UNIMPLEMENTED", path


async def test_a_token_counts_in_one_place_only(target: Target) -> None:
    """JWT-096: in an address it ends up in logs, in a cookie it is sent by strangers' pages."""
    good = target.server.issuer.token("admin")
    target.lines.clear()
    for name, value in (("access_token", good), ("cookie", f"access_token={good}"), ("x-access-token", good)):
        assert (await target.call(None, "", (name, value))).reason == "CREDENTIAL_MISSING", name
    assert (await target.call(None, f"{target.path}?access_token={good}")).code == "UNIMPLEMENTED"
    for scheme in ("Basic", "bearer", "Token", "DPoP"):
        told = await target.call(None, "", ("authorization", f"{scheme} {good}"))
        assert told.reason == "TOKEN_INVALID", scheme
    assert not [fields for fields in target.lines if good[-24:] in fields["text"]]


async def test_a_storm_of_unknown_key_ids_is_weathered(target: Target) -> None:
    """JWT-048: at most one look at the key set a minute, and good tokens work all the time."""
    forger, before = Forger(Ed25519PrivateKey.generate()), target.server.issuer.asked

    async def forge() -> str:
        token = forger.token(forger.header(kid=secrets.token_urlsafe(32)))
        return (await target.call(token)).reason

    good = target.server.issuer.token("admin")
    for _ in range(STORM // 50):
        answers = await asyncio.gather(*(forge() for _ in range(50)), target.lets_in(good))
        assert set(answers) == {"TOKEN_INVALID", True}
    assert target.server.issuer.asked - before <= 1


async def test_well_formed_keys_alone_are_looked_up(target: Target) -> None:
    """JWT-100: garbage costs authentication nothing, an ended or foreign key gets nobody in, and a good one does no more than it may."""
    directory = target.server.api_keys
    before = directory.asked
    for forged in target.cases["JWT-100"]:
        await target.call(forged.token)
    assert directory.asked - before == 1, "the one that is well-formed"
    assert await target.lets_in(directory.add("admin"))
    assert not await target.lets_in(directory.add("admin", life=-1))
    rule = target.policies[target.path]
    if rule.who is Who.PERMISSION:
        told = await target.call(directory.add("admin", scope=("nothing.else",)))
        assert told.reason == "PERMISSION_MISSING"
