"""Open streams and the credential they hang on, over real mutual TLS: they end when it ends, and not before."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from loguru import logger

from mesh.errors import MeshError, Unauthenticated
from mesh.status import from_rpc_error
from tests.fakes.mesh import LocalServer, serving, until
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_SIGNING_KEY,
    REVOCATION_KIND_TOKEN,
    REVOCATION_KIND_USER,
)
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2, log_service_pb2_grpc

USER = "0190c6a1-0000-7000-8000-000000000001"
ROLES = {"viewer": frozenset({"logs.read"})}
AT_ONCE_SECONDS = 20.0
"""Far below what would end the stream otherwise; how fast it is in truth is a figure of the benchmarks."""
LARGE = "x" * 1_000_000


class Logs(log_service_pb2_grpc.LogServiceServicer):
    """Streams that go on until somebody ends them; counts how many are open."""

    def __init__(self) -> None:
        self.open = 0

    async def TailLogs(
        self, request: log_service_pb2.TailLogsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[log_service_pb2.TailLogsResponse]:
        self.open += 1
        try:
            yield log_service_pb2.TailLogsResponse()
            while request.text == "flood":
                yield log_service_pb2.TailLogsResponse(record=log_record_pb2.LogRecord(body=LARGE))
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def IngestLogs(
        self,
        request_iterator: AsyncIterator[log_service_pb2.IngestLogsRequest],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> log_service_pb2.IngestLogsResponse:
        self.open += 1
        try:
            async for _ in request_iterator:
                pass
        finally:
            self.open -= 1
        return log_service_pb2.IngestLogsResponse()


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[tuple[LocalServer, Logs]]:
    servicer = Logs()
    registered = [(log_service_pb2_grpc.add_LogServiceServicer_to_server, servicer)]
    async with serving(
        tmp_path, "logging", ["vivesphere.logging.v1.LogService"], registered, roles=ROLES
    ) as server:
        yield server, servicer


class Tail:
    """An open stream, read to its end unless nobody reads it."""

    def __init__(self, stream: Any, *, read: bool) -> None:
        self._end = asyncio.ensure_future(self._read(stream)) if read else None

    async def goes_on(self) -> bool:
        """Whether it is still open after a moment."""
        assert self._end is not None
        done, _ = await asyncio.wait([self._end], timeout=0.3)
        return not done

    async def error(self) -> MeshError:
        """What ends it."""
        assert self._end is not None
        async with asyncio.timeout(AT_ONCE_SECONDS):
            return from_rpc_error(await self._end)

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
            await asyncio.wait([self._end])

    async def _read(self, stream: Any) -> grpc.aio.AioRpcError:
        try:
            while True:
                await stream.read()
        except grpc.aio.AioRpcError as error:
            return error


@asynccontextmanager
async def tailing(
    server: LocalServer, credential: str, text: str = "", *, read: bool = True
) -> AsyncIterator[Tail]:
    """An open tail that has begun."""
    async with server.channel("gateway", "logging") as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        metadata = (("authorization", f"Bearer {credential}"),)
        stream = stub.TailLogs(log_service_pb2.TailLogsRequest(text=text), metadata=metadata, timeout=30)
        await stream.read()
        tail = Tail(stream, read=read)
        yield tail
        await tail.close()
        stream.cancel()


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Fields of every line that is logged."""
    found: list[dict[str, Any]] = []
    sink = logger.add(lambda message: found.append(dict(message.record["extra"])), level="DEBUG")
    yield found
    logger.remove(sink)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (REVOCATION_KIND_SESSION, lambda server: "session-1"),
        (REVOCATION_KIND_USER, lambda server: USER),
        (REVOCATION_KIND_TOKEN, lambda server: "token-1"),
        (REVOCATION_KIND_SIGNING_KEY, lambda server: server.issuer.key_id),
    ],
    ids=["session", "user", "token", "signing key"],
)
async def test_a_stream_ends_when_its_token_is_revoked(
    logs: tuple[LocalServer, Logs],
    lines: list[dict[str, Any]],
    kind: int,
    name: Callable[[LocalServer], str],
) -> None:
    """Signed out is signed out: the tail on the forgotten screen must not go on."""
    server, servicer = logs
    async with tailing(server, server.issuer.token("viewer")) as tail:
        assert await tail.goes_on()
        server.feed.revoke(kind, name(server))
        error = await tail.error()
    assert (type(error), error.reason) == (Unauthenticated, "TOKEN_INVALID")
    assert servicer.open == 0
    [line] = [fields for fields in lines if "rpc_method" in fields]
    assert (line["rpc_code"], line["auth_fault"]) == ("UNAUTHENTICATED", "revoked")


async def test_streams_of_others_go_on(logs: tuple[LocalServer, Logs]) -> None:
    """Another session, and the user's own session of a moment later: a new sign-in after "end all sessions" is a new sign-in."""
    server, _ = logs
    now = int(time.time())
    new = server.issuer.token("viewer", sid="session-2", iat=now + 2, nbf=now + 2)
    other = server.issuer.token("viewer", sid="session-3", subject="0190c6a1-0000-7000-8000-000000000002")
    async with tailing(server, new) as first, tailing(server, other) as second:
        server.feed.revoke(REVOCATION_KIND_SESSION, "session-1")
        server.feed.revoke(REVOCATION_KIND_USER, USER)
        assert await first.goes_on()
        assert await second.goes_on()


@pytest.mark.parametrize("kind", [REVOCATION_KIND_API_KEY, REVOCATION_KIND_USER])
async def test_a_stream_of_an_api_key_ends_when_key_or_owner_is_revoked(
    logs: tuple[LocalServer, Logs], kind: int
) -> None:
    """A key lives for months; the owner who was disabled must not go on listening through it."""
    server, _ = logs
    key = server.api_keys.add("viewer")
    principal = server.api_keys.principals[key]
    async with tailing(server, key) as tail:
        assert await tail.goes_on()
        server.feed.revoke(kind, principal.token_id if kind == REVOCATION_KIND_API_KEY else principal.user_id)
        assert (await tail.error()).reason == "TOKEN_INVALID"


async def test_a_stream_of_an_api_key_ends_with_the_key(logs: tuple[LocalServer, Logs]) -> None:
    """Expiry is a promise to whoever made the key."""
    server, _ = logs
    async with tailing(server, server.api_keys.add("viewer", life=0.7)) as tail:
        assert (await tail.error()).reason == "TOKEN_INVALID"


async def test_a_clients_own_stream_ends_too(logs: tuple[LocalServer, Logs]) -> None:
    """Whichever side streams, the credential is asked once and must hold to the end."""
    server, servicer = logs
    metadata = (("authorization", f"Bearer {server.issuer.token()}"),)
    async with server.channel("gateway", "logging") as channel:
        call = log_service_pb2_grpc.LogServiceStub(channel).IngestLogs(metadata=metadata, timeout=30)
        await call.write(log_service_pb2.IngestLogsRequest(records=[log_record_pb2.LogRecord(body="x")]))
        await until(lambda: servicer.open == 1)
        server.feed.revoke(REVOCATION_KIND_SESSION, "session-1")
        async with asyncio.timeout(AT_ONCE_SECONDS):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
    assert from_rpc_error(caught.value).reason == "TOKEN_INVALID"
    assert servicer.open == 0


async def test_a_stream_that_nobody_reads_ends_too(logs: tuple[LocalServer, Logs]) -> None:
    """Its handler hangs in a write that flow control holds back, where no answer can reach the client; it must not hang for ever."""
    server, servicer = logs
    async with tailing(server, server.issuer.token("viewer"), "flood", read=False):
        assert servicer.open == 1
        await asyncio.sleep(0.2)  # the window fills
        server.feed.revoke(REVOCATION_KIND_SESSION, "session-1")
        await until(lambda: servicer.open == 0)


async def test_silence_of_the_feed_ends_no_stream(logs: tuple[LocalServer, Logs]) -> None:
    """An outage of authentication must not tear down what is not dangerous; what it missed is caught up with when it is back."""
    server, _ = logs
    server.rules.max_staleness = server.rules.max_staleness * 0
    server.feed.silent = True
    async with tailing(server, server.issuer.token("viewer")) as tail:
        assert not server.revocations.fresh
        assert await tail.goes_on()
        server.feed.revoke(REVOCATION_KIND_SESSION, "session-1")
        assert await tail.goes_on()
        server.feed.silent = False
        assert (await tail.error()).reason == "TOKEN_INVALID"


async def test_clients_that_hang_up_in_the_middle_of_an_answer_do_no_harm(
    logs: tuple[LocalServer, Logs], lines: list[dict[str, Any]]
) -> None:
    """gRPC forgets such a call before our generator is closed; to ask it for the peer then ends the process (SIGSEGV)."""
    server, servicer = logs
    for _ in range(10):
        async with tailing(server, server.issuer.token("viewer"), "flood", read=False):
            await asyncio.sleep(0.05)
        await until(lambda: servicer.open == 0)
    ended = [fields for fields in lines if "rpc_method" in fields]
    assert [(fields["rpc_code"], fields["peer"]) for fields in ended] == [("CANCELLED", "gateway")] * 10
