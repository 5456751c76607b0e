"""No method of any contract is open by accident."""

import tomllib
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool

from mesh.contract import ContractError, Who, is_idempotent, policies_of, rule_of, services_of
from mesh.interceptors.chain import ORDER, Chain
from mesh.server import check_complete
from mesh.status import from_rpc_error
from tests.fakes.contracts import registrations
from tests.fakes.mesh import serving

ROOT = Path(__file__).resolve().parents[2]
SERVICES = tuple(tomllib.loads((ROOT / "services" / "registry.toml").read_text()))


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_carries_an_access_rule(service: str) -> None:
    """A server with a method that has none does not start, so none may be without."""
    policies = policies_of(services_of(service))
    pool = descriptor_pool.Default()
    methods = {
        f"/{name}/{method.name}"
        for name in services_of(service)
        for method in pool.FindServiceByName(name).methods
    }
    assert methods
    assert policies.keys() == methods


def test_a_contract_without_an_access_rule_does_not_start() -> None:
    """gRPC's own reflection service stands for a contract of ours that somebody forgot to guard."""
    from grpc_reflection.v1alpha import reflection_pb2

    name = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
    with pytest.raises(ContractError, match="carries no access rule"):
        policies_of([name])


def test_an_adopted_method_is_under_our_law() -> None:
    """A contract of others carries no option of ours; without the adoption its methods would not be served at all."""
    policies = policies_of(services_of("logging"))
    export = policies["/opentelemetry.proto.collector.logs.v1.LogsService/Export"]
    assert (export.who, export.permission, export.adopted) == (Who.PERMISSION, "logs.ingest", True)
    assert export.confidential, "nobody knows what its messages hold"
    assert not any(policy.adopted for path, policy in policies.items() if path.startswith("/vivesphere."))
    assert rule_of(export.path).permission == "logs.ingest"
    assert is_idempotent(export.path)


def test_a_server_without_all_of_its_guards_does_not_start() -> None:
    """The order of the stages is part of the security of every method."""
    assert ORDER.index("access") < ORDER.index("validation")
    assert ORDER.index("audit") < ORDER.index("access")
    with pytest.raises(ValueError, match="this is a bug"):
        Chain(())


def test_a_service_that_nobody_serves_stops_the_start() -> None:
    """gRPC answers for it before any of our guards is asked, so a stranger would learn what is missing."""
    [first, *others] = services_of("authentication")
    with pytest.raises(ContractError, match=first):
        check_complete([first, *others], registrations("authentication")[1:])
    check_complete([first, *others], registrations("authentication"))


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_without_a_credential_reaches_a_method_that_is_not_public(
    service: str, tmp_path: Path
) -> None:
    """Called as the gateway calls for a browser that has not signed in: refused, whatever the request says."""
    policies = policies_of(services_of(service))
    async with (
        serving(tmp_path, service, list(services_of(service)), registrations(service), roles={}) as server,
        server.channel("gateway", service) as channel,
    ):
        for path, policy in policies.items():
            answer = await refusal(channel, path, policy.request_streaming, policy.response_streaming)
            if policy.who is Who.PUBLIC:
                assert answer.code in {"UNIMPLEMENTED", "INVALID_ARGUMENT"}, path
            elif policy.who is Who.SERVICES:
                assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "SERVICE_NOT_ALLOWED"), path
            else:
                assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "CREDENTIAL_MISSING"), path


@pytest.mark.parametrize("service", SERVICES)
async def test_a_signed_in_user_without_roles_gets_no_further_than_the_own_account(
    service: str, tmp_path: Path
) -> None:
    """Deny is the default: a token alone opens nothing that names a permission."""
    policies = policies_of(services_of(service))
    async with (
        serving(tmp_path, service, list(services_of(service)), registrations(service), roles={}) as server,
        server.channel("gateway", service) as channel,
    ):
        for path, policy in policies.items():
            if policy.who is Who.PERMISSION:
                token = server.issuer.token()
                answer = await refusal(
                    channel, path, policy.request_streaming, policy.response_streaming, token
                )
                assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING"), path


async def refusal(
    channel: grpc.aio.Channel, path: str, client_stream: bool, server_stream: bool, token: str = ""
) -> Any:
    arity = f"{'stream' if client_stream else 'unary'}_{'stream' if server_stream else 'unary'}"
    request: Any = iter([b""]) if client_stream else b""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    call = getattr(channel, arity)(path)(request, metadata=metadata, timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if server_stream else call)
    return from_rpc_error(caught.value)
