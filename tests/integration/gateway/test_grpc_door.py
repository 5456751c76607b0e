"""Laws of the gRPC door, with a real gRPC client and the real grpcurl."""

import asyncio
import json
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.backends import Backends
from gateway.door import GrpcDoor, GrpcServer
from gateway.health import HealthService
from gateway.metrics import Metrics
from gateway.proxies import Proxies
from gateway.readiness import Readiness
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from tests.integration.gateway.conftest import Running
from tests.integration.gateway.test_rest import until

ROOT = Path(__file__).parents[3]
SERVICE = "vivesphere.echo.v1.EchoService"


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[Any]:
    """A client's channel to the door."""
    running.backend.seen.clear()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as made:
        yield made


def thing(running: Running, **fields: Any) -> bytes:
    made: bytes = running.backend.type("vivesphere.echo.v1.Thing")(**fields).SerializeToString()
    return made


def fail(running: Running, code: int, with_: str, after: int = 0) -> bytes:
    request = running.backend.type("vivesphere.echo.v1.FailRequest")(
        code=code, after=after, **{"with": with_}
    )
    made: bytes = request.SerializeToString()
    return made


async def test_all_four_arities_pass(channel: Any, running: Running) -> None:
    """The door relays whatever the contract declares."""
    one, two = thing(running, big=1), thing(running, big=2)

    async def both() -> AsyncIterator[bytes]:
        yield one
        yield two

    assert await channel.unary_unary(f"/{SERVICE}/ListThings")(one) == one
    assert await channel.stream_unary(f"/{SERVICE}/Collect")(both()) == two
    counted = channel.unary_stream(f"/{SERVICE}/Count")(fail(running, 0, "", after=2))
    assert [item async for item in counted] == [thing(running), one]
    chat = channel.stream_stream(f"/{SERVICE}/Chat")(both())
    assert [item async for item in chat] == [one, two]


async def test_two_way_streams_flow_both_ways_at_once(channel: Any, running: Running) -> None:
    """A reply must not wait for the end of the requests."""
    call = channel.stream_stream(f"/{SERVICE}/Chat")()
    for number in range(3):
        await call.write(thing(running, big=number))
        assert await call.read() == thing(running, big=number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_metadata_passes_and_what_the_gateway_vouches_for_is_its_own(
    channel: Any, running: Running
) -> None:
    """Services believe x-forwarded-for because the door wrote it."""
    sent = (("authorization", "Bearer t"), ("x-forwarded-for", "6.6.6.6"), ("x-data-bin", b"\x00\xff"))
    call = channel.unary_unary(f"/{SERVICE}/ShowThing")(b"", metadata=sent, timeout=5)
    await call
    seen = running.backend.seen[-1]
    assert seen.metadata["authorization"] == "Bearer t"
    assert seen.metadata["x-forwarded-for"] == "127.0.0.1"
    assert seen.metadata["x-data-bin"] == b"\x00\xff"
    assert len(seen.metadata["x-request-id"]) == 36
    assert seen.remaining is not None
    assert 4 < seen.remaining < 5.5
    assert dict(await call.initial_metadata())["x-bytes-bin"] == b"\x00\x01"
    assert dict(await call.trailing_metadata())["x-trail"] == "t"


@pytest.mark.parametrize("method", ["Fail", "FailStream"])
async def test_status_and_details_pass_unchanged(channel: Any, running: Running, method: str) -> None:
    """The same reason a REST client reads."""
    request = fail(running, 5, "info")
    path = f"/{SERVICE}/{method}"
    waiting = (
        channel.unary_unary(path)(request) if method == "Fail" else channel.unary_stream(path)(request).read()
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "as asked")
    trailing = dict(caught.value.trailing_metadata() or ())
    assert (
        b"BOT_NOT_FOUND" in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details[0].value
    )


async def test_items_before_a_failure_arrive(channel: Any, running: Running) -> None:
    """A stream that breaks has still said what it said."""
    call = channel.unary_stream(f"/{SERVICE}/FailStream")(fail(running, 14, "info", after=2))
    assert await call.read() == thing(running)
    assert await call.read() == thing(running, big=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_cancels_cancels_the_services_call(channel: Any, running: Running) -> None:
    """Unary and streaming: nobody reads on."""
    seconds = b"\x08\x14"  # SleepRequest{seconds: 20}
    unary = channel.unary_unary(f"/{SERVICE}/Sleep")(seconds)
    await until(lambda: running.backend.seen)
    unary.cancel()
    await until(lambda: running.backend.seen[-1].cancelled)
    stream = channel.unary_stream(f"/{SERVICE}/Count")(fail(running, 0, "", after=100_000))
    await stream.read()
    stream.cancel()
    await until(lambda: running.backend.seen[-1].method == "Count" and running.backend.seen[-1].cancelled)


async def test_unknown_and_unreachable_answer_at_once(channel: Any) -> None:
    """UNIMPLEMENTED for what nobody owns, UNAVAILABLE with the service's name for what is down."""
    for path, code in (
        ("/nobody.v1.Service/Call", grpc.StatusCode.UNIMPLEMENTED),
        (f"/{SERVICE}/Newer", grpc.StatusCode.UNIMPLEMENTED),
        ("/vivesphere.missing.v1.Service/Call", grpc.StatusCode.UNAVAILABLE),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", timeout=3)
        assert caught.value.code() is code
    trailing = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert b"SERVICE_UNAVAILABLE" in status.details[0].value
    assert b"missing" in status.details[0].value
    assert status.message == "missing does not answer"


async def test_health_is_merged(channel: Any) -> None:
    """A name asks its service, the empty name asks all."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")

    async def ask(service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        status = health_pb2.HealthCheckResponse.FromString(await check(request, timeout=5)).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))

    assert await ask("echo") == await ask(SERVICE) == "SERVING"
    assert await ask("missing") == await ask("") == "NOT_SERVING"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask("nothing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(
        health_pb2.HealthCheckRequest(service="echo").SerializeToString()
    )
    assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1
    watch.cancel()


async def grpcurl(running: Running, *arguments: str, data: str = "") -> tuple[int, str]:
    """Exit code and output of the real grpcurl."""
    program = str(Path(sysconfig.get_path("scripts"), "grpcurl"))
    options = ["-plaintext", *(["-d", data] if data else [])]
    head, tail = ([], list(arguments)) if arguments[0] in ("list", "describe") else (list(arguments), [])
    process = await asyncio.create_subprocess_exec(
        program, *options, f"127.0.0.1:{running.grpc_port}", *head, *tail,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, output.decode()


async def test_grpcurl_lists_describes_and_calls(running: Running) -> None:
    """The whole contract is discoverable, options and imports included, with nothing but the address."""
    code, listed = await grpcurl(running, "list")
    assert code == 0, listed
    assert set(listed.split()) == {
        SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    }  # fmt: skip
    _, described = await grpcurl(running, "describe", f"{SERVICE}.GetThing")
    assert "google.api.http" in described
    assert "/api/v1/things/{id}" in described
    _, message = await grpcurl(running, "describe", "vivesphere.echo.v1.Thing")
    assert ".google.protobuf.Timestamp time = 12;" in message
    for name in ("grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health", "google.protobuf.Struct"):
        code, described = await grpcurl(running, "describe", name)
        assert code == 0, described
    code, called = await grpcurl(running, f"{SERVICE}/ListThings", data='{"displayName":"x","big":"7"}')
    assert json.loads(called) == {"displayName": "x", "big": "7"}
    code, failed = await grpcurl(running, f"{SERVICE}/Fail", data='{"code":5,"with":"info"}')
    assert code != 0
    assert "BOT_NOT_FOUND" in failed


@asynccontextmanager
async def door_of(schema: Schema, backends: Backends, limits: Limits) -> AsyncIterator[Any]:
    """A channel to a gRPC door of its own."""
    health = HealthService(schema, backends, Readiness(backends))
    server = GrpcServer(GrpcDoor(schema, backends, health, Metrics(), Proxies()), "127.0.0.1", 0, limits)
    await server.start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield channel
    await server.stop()


def symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Full names: every service and method of a file, and one of each other kind that it has."""
    for service in file.service:
        yield f"{file.package}.{service.name}"
        yield from (f"{file.package}.{service.name}.{method.name}" for method in service.method)
    yield from (f"{file.package}.{extension.name}" for extension in file.extension[:1])
    yield from _of_enums(file.enum_type[:1], file.package)
    for message in file.message_type[-1:]:
        name = f"{file.package}.{message.name}"
        yield name
        for parts in (message.field, message.oneof_decl, message.nested_type):
            yield from (f"{name}.{part.name}" for part in parts[:1])
        yield from _of_enums(message.enum_type[:1], name)


def _of_enums(enums: Iterable[descriptor_pb2.EnumDescriptorProto], scope: str) -> Iterator[str]:
    for enum in enums:
        yield f"{scope}.{enum.name}"
        yield f"{scope}.{enum.value[-1].name}"


async def test_everything_in_the_products_contract_is_described() -> None:
    """A client that has the address alone finds every service, method, message, field, enum and option, with all imports."""
    raw = (ROOT / "generated" / "vivesphere.binpb").read_bytes()
    wanted = [
        name for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file for name in symbols(file)
    ]
    assert "vivesphere.bot_manager.v1.PostService.CreatePost" in wanted
    files: dict[str, bytes] = {}
    async with door_of(Schema(raw), Backends({}), Limits()) as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=60)
        for name in wanted:
            await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
            answer = await call.read()
            assert answer.WhichOneof("message_response") == "file_descriptor_response", name
            files |= {str(hash(one)): one for one in answer.file_descriptor_response.file_descriptor_proto}
        await call.done_writing()
    found = [descriptor_pb2.FileDescriptorProto.FromString(one) for one in files.values()]
    assert {name for file in found for name in file.dependency} <= {file.name for file in found}


async def test_a_message_over_the_limit_is_refused_in_words(channel: Any, running: Running) -> None:
    """Neither a cut connection nor INTERNAL: the client can tell what was wrong, and go on with the same channel."""
    check = channel.unary_unary(f"/{SERVICE}/CheckThing")
    with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as caught:
        await check(thing(running, data=b"x" * 1_000_001), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.backend.seen == []

    async def vast(request: Any, context: Any) -> Any:
        return running.backend.type("vivesphere.echo.v1.Thing")(data=b"x" * 4_000_001)

    running.backend.behaviours["CheckThing"] = vast
    try:
        with pytest.raises(grpc.aio.AioRpcError, match="over the limit") as caught:
            await check(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        del running.backend.behaviours["CheckThing"]
    assert await check(b"", timeout=10) == b""


async def test_old_connections_are_asked_to_go_and_their_calls_go_on(running: Running) -> None:
    """A balancer in front spreads connections, not calls: clients must come anew, and a watch must not be cut for it."""
    limits = Limits(grpc_max_connection_age_seconds=0.2, drain_seconds=0.2)
    async with door_of(Schema(running.backend.raw), running.backends, limits) as channel:
        chat = channel.stream_stream(f"/{SERVICE}/Chat")()
        await chat.write(b"")
        assert await chat.read() == b""
        async with asyncio.timeout(30):
            while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
        await chat.write(thing(running, big=1))
        assert await chat.read() == thing(running, big=1)
        assert await channel.unary_unary(f"/{SERVICE}/CheckThing")(b"", timeout=10) == b""
        chat.cancel()


async def test_calls_that_are_left_leave_nothing(channel: Any, running: Running) -> None:
    """Clients come and go all day; a task for each that went would be the end of a long-lived process."""

    def tasks() -> Counter[str]:
        return Counter(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]  # every coroutine has a name

    await channel.unary_unary(f"/{SERVICE}/CheckThing")(b"")
    before = tasks()
    count = channel.unary_stream(f"/{SERVICE}/Count")
    chat, newer = (channel.stream_stream(f"/{SERVICE}/{name}") for name in ("Chat", "Newer"))
    for _ in range(20):
        stream = count(fail(running, 0, "", after=100_000))
        await stream.read()
        stream.cancel()
        talk = chat()
        await talk.write(b"")
        await talk.read()
        talk.cancel()
        unknown = newer()  # the service ends it while this side is open
        await unknown.write(b"")
        with pytest.raises(grpc.aio.AioRpcError):
            await unknown.read()
    counted = [seen for seen in running.backend.seen if seen.method == "Count"]
    assert len(counted) == 20
    await until(lambda: all(seen.cancelled for seen in counted))
    await until(lambda: not tasks() - before)
