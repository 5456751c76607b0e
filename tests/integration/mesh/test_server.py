"""The chain over real mutual TLS: who gets in, what the refused are told, and what is recorded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.errors import (
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.status import from_rpc_error
from tests.fakes.mesh import LocalServer, serving
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2, log_service_pb2_grpc
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2, bot_secret_service_pb2_grpc

BOT = "0190c6a1-0000-7000-8000-0000000000aa"
SECRET_TEXT = "hunter2-must-not-travel"
ROLES = {"viewer": frozenset({"logs.read"}), "keeper": frozenset({"secrets.*"}), "none": frozenset[str]()}


class Logs(log_service_pb2_grpc.LogServiceServicer):
    """Answers, fails or streams as the query's text says."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()

    async def QueryLogs(
        self, request: log_service_pb2.QueryLogsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> log_service_pb2.QueryLogsResponse:
        self.calls += 1
        if request.text == "crash":
            raise RuntimeError(SECRET_TEXT)
        if request.text == "missing":
            raise NotFound("BOT_NOT_FOUND", "no such bot")
        if request.text == "wait":
            await self.gate.wait()
        return log_service_pb2.QueryLogsResponse(next_page_token="ok")

    async def IngestLogs(
        self,
        request_iterator: AsyncIterator[log_service_pb2.IngestLogsRequest],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> log_service_pb2.IngestLogsResponse:
        count = 0
        async for request in request_iterator:
            count += len(request.records)
        return log_service_pb2.IngestLogsResponse(accepted_count=count)

    async def TailLogs(
        self, request: log_service_pb2.TailLogsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[log_service_pb2.TailLogsResponse]:
        yield log_service_pb2.TailLogsResponse()
        if request.text == "crash":
            raise RuntimeError(SECRET_TEXT)
        await asyncio.Event().wait()


class Secrets(bot_secret_service_pb2_grpc.BotSecretServiceServicer):
    """One mesh-only and audited method; the others are not served."""

    async def LeaseBotSecret(
        self,
        request: bot_secret_service_pb2.LeaseBotSecretRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> bot_secret_service_pb2.LeaseBotSecretResponse:
        return bot_secret_service_pb2.LeaseBotSecretResponse()


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[tuple[LocalServer, Logs]]:
    servicer = Logs()
    registered = [(log_service_pb2_grpc.add_LogServiceServicer_to_server, servicer)]
    async with serving(
        tmp_path, "logging", ["vivesphere.logging.v1.LogService"], registered, roles=ROLES, max_calls=2
    ) as server:
        yield server, servicer
        servicer.gate.set()


async def query(server: LocalServer, token: str | None, **fields: Any) -> log_service_pb2.QueryLogsResponse:
    async with server.channel("gateway", "logging") as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return await stub.QueryLogs(log_service_pb2.QueryLogsRequest(**fields), metadata=metadata, timeout=10)


async def refusal(call: Any) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_caller_with_the_permission_gets_in(logs: tuple[LocalServer, Logs]) -> None:
    """The base case of everything below."""
    server, _ = logs
    assert (await query(server, server.issuer.token("viewer"))).next_page_token == "ok"


async def test_callers_without_a_token_or_with_a_bad_one_learn_nothing(
    logs: tuple[LocalServer, Logs],
) -> None:
    """No credential and a wrong one are told apart; why a token is wrong is not told."""
    server, servicer = logs
    assert (await refusal(query(server, None))).reason == "CREDENTIAL_MISSING"
    for bad in (
        "nonsense",
        server.issuer.token("viewer", life=-1),
        server.issuer.token("viewer", aud="other"),
    ):
        error = await refusal(query(server, bad))
        assert (type(error), error.reason) == (Unauthenticated, "TOKEN_INVALID")
    assert servicer.calls == 0


async def test_authorisation_comes_before_validation(logs: tuple[LocalServer, Logs]) -> None:
    """A stranger does not learn what a valid request looks like (AIP-211)."""
    server, _ = logs
    denied = await refusal(query(server, server.issuer.token("none"), bot_id="not-a-uuid"))
    assert isinstance(denied, PermissionDenied)
    assert denied.metadata == {"permission": "logs.read"}
    bad = await refusal(query(server, server.issuer.token("viewer"), bot_id="not-a-uuid"))
    assert isinstance(bad, InvalidArgument)
    assert [v.field for v in bad.violations] == ["bot_id"]


async def test_each_message_of_a_client_stream_is_held_against_the_contract(
    logs: tuple[LocalServer, Logs],
) -> None:
    """The request is not there when the call is let in, so what comes later must not slip past the rules."""
    server, _ = logs
    metadata = (("authorization", f"Bearer {server.issuer.token()}"),)
    good = log_service_pb2.IngestLogsRequest(records=[log_record_pb2.LogRecord(body="x")])
    async with server.channel("gateway", "logging") as channel:
        ingest = log_service_pb2_grpc.LogServiceStub(channel).IngestLogs
        answer = await ingest(iter([good, good]), metadata=metadata, timeout=10)
        assert answer.accepted_count == 2
        error = await refusal(
            ingest(iter([good, log_service_pb2.IngestLogsRequest()]), metadata=metadata, timeout=10)
        )
    assert isinstance(error, InvalidArgument)
    assert [v.field for v in error.violations] == ["records"]


async def test_unknown_roles_are_not_no_roles(logs: tuple[LocalServer, Logs]) -> None:
    """Before configuration was heard of, the answer is "come back", neither yes nor no."""
    server, _ = logs
    server.policy.roles = None
    assert isinstance(await refusal(query(server, server.issuer.token("viewer"))), Unavailable)


async def test_an_unexpected_exception_tells_an_incident_and_nothing_else(
    logs: tuple[LocalServer, Logs],
) -> None:
    """Exception texts hold secrets; grpcio would send them to the caller, from streams as well."""
    server, _ = logs
    error = await refusal(query(server, server.issuer.token("viewer"), text="crash"))
    assert error.code == "INTERNAL"
    assert SECRET_TEXT not in str(error)
    assert error.metadata["incident"] in error.message
    async with server.channel("gateway", "logging") as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        request = log_service_pb2.TailLogsRequest(text="crash")
        stream = stub.TailLogs(
            request, metadata=(("authorization", f"Bearer {server.issuer.token('viewer')}"),)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [item async for item in stream]
    assert from_rpc_error(caught.value).code == "INTERNAL"
    assert SECRET_TEXT not in (caught.value.details() or "")


async def test_errors_of_the_domain_keep_their_reason(logs: tuple[LocalServer, Logs]) -> None:
    """Clients switch on reasons."""
    server, _ = logs
    error = await refusal(query(server, server.issuer.token("viewer"), text="missing"))
    assert (type(error), error.reason) == (NotFound, "BOT_NOT_FOUND")


async def test_an_open_stream_ends_with_its_token(logs: tuple[LocalServer, Logs]) -> None:
    """A stolen or ended token must not keep a tail open for ever."""
    server, _ = logs
    async with server.channel("gateway", "logging") as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        token = server.issuer.token("viewer", life=2)
        stream = stub.TailLogs(
            log_service_pb2.TailLogsRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=20
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [item async for item in stream]
    assert from_rpc_error(caught.value).reason == "TOKEN_INVALID"


async def test_what_is_over_the_bound_is_refused_at_once(logs: tuple[LocalServer, Logs]) -> None:
    """A queue without a bound is how a server dies; the refused are told when to come back."""
    server, servicer = logs
    token = server.issuer.token("viewer")
    waiting = [asyncio.ensure_future(query(server, token, text="wait")) for _ in range(2)]
    while servicer.calls < 2:
        await asyncio.sleep(0.01)
    error = await refusal(query(server, token))
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after is not None
    servicer.gate.set()
    await asyncio.gather(*waiting)
    assert (await query(server, token)).next_page_token == "ok"


async def test_methods_not_built_yet_say_so(logs: tuple[LocalServer, Logs]) -> None:
    """UNIMPLEMENTED with a reason, not a crash."""
    server, _ = logs
    async with server.channel("gateway", "logging") as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        request = log_service_pb2.GetLogHistogramRequest()
        request.start_time.FromSeconds(1_700_000_000)
        request.end_time.FromSeconds(1_700_003_600)
        request.interval.FromSeconds(60)
        call = stub.GetLogHistogram(
            request, metadata=(("authorization", f"Bearer {server.issuer.token('viewer')}"),)
        )
        assert (await refusal(call)).code == "UNIMPLEMENTED"


async def test_mesh_methods_go_by_the_peers_certificate(tmp_path: Path) -> None:
    """No user, not even an administrator, reaches a method that is for services; nor does a service that is not named."""
    registered = [(bot_secret_service_pb2_grpc.add_BotSecretServiceServicer_to_server, Secrets())]
    names = ["vivesphere.secure_bot_data.v1.BotSecretService"]
    async with serving(
        tmp_path, "secure_bot_data", names, registered, roles={"admin": frozenset({"*"})}
    ) as server:
        request = bot_secret_service_pb2.LeaseBotSecretRequest(bot_id=BOT, name="x-oauth1", reason="publish")
        admin = (("authorization", f"Bearer {server.issuer.token('admin')}"),)
        for peer, metadata in (("gateway", admin), ("logging", ()), ("gateway", ())):
            async with server.channel(peer, "secure_bot_data") as channel:
                stub = bot_secret_service_pb2_grpc.BotSecretServiceStub(channel)
                assert (
                    await refusal(stub.LeaseBotSecret(request, metadata=metadata))
                ).reason == "SERVICE_NOT_ALLOWED"
        async with server.channel("bot_manager", "secure_bot_data") as channel:
            await bot_secret_service_pb2_grpc.BotSecretServiceStub(channel).LeaseBotSecret(request)
        outcomes = [outcome for _, outcome, _ in server.audit.records]
        assert outcomes == ["PERMISSION_DENIED"] * 3 + ["OK"]


async def test_what_is_not_on_the_trail_was_not_done(tmp_path: Path) -> None:
    """If the record of an audited call cannot be written, the call fails, even though its handler succeeded."""
    registered = [(bot_secret_service_pb2_grpc.add_BotSecretServiceServicer_to_server, Secrets())]
    names = ["vivesphere.secure_bot_data.v1.BotSecretService"]
    async with serving(tmp_path, "secure_bot_data", names, registered) as server:
        server.audit.failing = True
        async with server.channel("bot_manager", "secure_bot_data") as channel:
            request = bot_secret_service_pb2.LeaseBotSecretRequest(
                bot_id=BOT, name="x-oauth1", reason="publish"
            )
            call = bot_secret_service_pb2_grpc.BotSecretServiceStub(channel).LeaseBotSecret(request)
            assert isinstance(await refusal(call), Unavailable)


async def test_without_a_certificate_of_the_mesh_nobody_gets_a_connection(
    logs: tuple[LocalServer, Logs],
) -> None:
    """Mesh ports accept mutual TLS and nothing else."""
    server, _ = logs
    authority = server.data.tls_files("gateway").ca_file.read_bytes()
    options = (("grpc.ssl_target_name_override", "logging"),)
    for channel in (
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"),
        grpc.aio.secure_channel(
            f"127.0.0.1:{server.port}", grpc.ssl_channel_credentials(authority), options=options
        ),
    ):
        async with channel:
            call = log_service_pb2_grpc.LogServiceStub(channel).QueryLogs(
                log_service_pb2.QueryLogsRequest(), timeout=5
            )
            assert isinstance(await refusal(call), Unavailable)
