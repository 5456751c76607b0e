"""The service as a process on the real engines, spoken to over mutual TLS as the gateway does."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cli.embedded import EmbeddedMesh
from cli.environment import inherited, python_module
from cli.ports import LOOPBACK
from cli.probes import grpc_serves
from cli.registry import PROJECT_ROOT
from mesh.channels import channel_credentials
from mesh.identity.keys import parse_jwks
from mesh.identity.tokens import AccessToken, verify
from mesh.ids import new_id
from mesh.server import server_credentials
from mesh.settings import TlsSettings
from mesh.status import from_rpc_error
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import token_pb2
from vivesphere.authentication.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from vivesphere.authentication.v1.authentication_service_pb2_grpc import AuthenticationServiceStub
from vivesphere.authentication.v1.user_service_pb2_grpc import UserServiceStub
from vivesphere.configuration.v1 import role_pb2, watch_pb2, watch_service_pb2
from vivesphere.configuration.v1.watch_service_pb2_grpc import (
    WatchServiceServicer,
    add_WatchServiceServicer_to_server,
)

PASSWORD = "first administrator"
READY_SECONDS = 30.0
FAR_SECONDS = 15.0
STOP_SECONDS = 10.0
ROLES = {
    "admin": ["*"],
    "operator": ["bots.read", "bots.write"],
    "viewer": ["bots.read"],
    "clerk": ["users.read", "users.write", "bots.read"],
}


def tls_of(engines: EmbeddedMesh, identity: str) -> TlsSettings:
    """The certificate of one identity of the mesh."""
    files = engines.data.tls_files(identity)
    return TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)


@dataclass(frozen=True, slots=True)
class Door:
    """Stubs of a running service, as the gateway has them."""

    authentication: AuthenticationServiceStub
    users: UserServiceStub
    api_keys: ApiKeyServiceStub


def bearer(access_token: str, **more: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a signed-in call."""
    return (("authorization", f"Bearer {access_token}"), *more.items())


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """The block must be refused for this reason."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        yield
    assert from_rpc_error(error.value).reason == reason


async def login(door: Door, username: str = "admin", password: str = PASSWORD) -> token_pb2.TokenPair:
    """Sign in."""
    answer = await door.authentication.Login(
        pb.LoginRequest(username=username, password=password), timeout=10
    )
    return answer.token_pair


async def read(door: Door, access_token: str) -> AccessToken:
    """The claims of a token that holds against the published keys."""
    answer = await door.authentication.GetJwks(pb.GetJwksRequest(), timeout=5)
    assert answer.jwks.content_type == "application/jwk-set+json"
    return verify(access_token, parse_jwks(answer.jwks.data), time.time())


async def eventually(question: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that comes without Unavailable."""
    async with asyncio.timeout(FAR_SECONDS):
        while True:
            try:
                return await question()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(engines: EmbeddedMesh, log: Path, **variables: str) -> AsyncIterator[Door]:
    """The service as a process until the end of the block. `variables` are added to its environment; `log` is what it prints.

    It keeps its files beside the log: what another test's service last knew of the configuration is no concern of this one.
    """
    data = log.parent / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    environment = inherited() | engines.environment("authentication")
    environment |= {"VIVESPHERE_DATA_DIR": str(data)} | variables
    address = f"{LOOPBACK}:{engines.ports['authentication']}"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *python_module("services.authentication"),
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        await _ready(process, address, engines, log)
        options = (("grpc.ssl_target_name_override", "authentication"), ("grpc.use_local_subchannel_pool", 1))
        credentials = channel_credentials(tls_of(engines, "gateway"))
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            yield Door(
                AuthenticationServiceStub(channel), UserServiceStub(channel), ApiKeyServiceStub(channel)
            )
    finally:
        await _stop(process)


async def _ready(process: asyncio.subprocess.Process, address: str, engines: EmbeddedMesh, log: Path) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while not await grpc_serves(address, "authentication", engines.data.tls_files("gateway")):
            if process.returncode is not None:
                raise AssertionError(f"the service ended with {process.returncode}: {_tail(log)}")
            await asyncio.sleep(0.1)


def _tail(log: Path) -> str:
    return log.read_text()[-4000:]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class FakeConfiguration(WatchServiceServicer):
    """Sends one snapshot of ROLES and stays."""

    async def RegisterDefinitions(
        self, request: watch_service_pb2.RegisterDefinitionsRequest, context: Any
    ) -> watch_service_pb2.RegisterDefinitionsResponse:
        return watch_service_pb2.RegisterDefinitionsResponse(revision=1)

    async def Watch(
        self, request: watch_service_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[watch_service_pb2.WatchResponse]:
        roles = [role_pb2.Role(id=name, permissions=held) for name, held in ROLES.items()]
        snapshot = watch_pb2.PolicySnapshot(revision=1, history_id=new_id(), roles=roles)
        yield watch_service_pb2.WatchResponse(snapshot=snapshot)
        while True:
            await asyncio.sleep(1)
            yield watch_service_pb2.WatchResponse(bookmark=watch_pb2.Bookmark(revision=1))

    async def AckRevision(
        self, request: watch_service_pb2.AckRevisionRequest, context: Any
    ) -> watch_service_pb2.AckRevisionResponse:
        return watch_service_pb2.AckRevisionResponse()


@asynccontextmanager
async def configuration(engines: EmbeddedMesh) -> AsyncIterator[Mapping[str, str]]:
    """A stand-in for configuration; gives the variables that lead the service to it."""
    server = grpc.aio.server()
    add_WatchServiceServicer_to_server(FakeConfiguration(), server)
    port = server.add_secure_port(f"{LOOPBACK}:0", server_credentials(tls_of(engines, "configuration")))
    await server.start()
    try:
        yield {"VIVESPHERE_TARGETS": f"configuration={LOOPBACK}:{port}"}
    finally:
        await server.stop(None)


class Relay:
    """A way to a port that can be opened later: the vault that is away, and then back."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def open(self, port: int) -> None:
        """Begin to pass connections on."""
        self._server = await asyncio.start_server(self._pass_on, LOOPBACK, port)

    async def close(self) -> None:
        """End it, with every connection."""
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self._target)
        ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        self._links.update(ways)
        await asyncio.gather(*ways, return_exceptions=True)
        self._links.difference_update(ways)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
