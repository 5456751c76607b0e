"""A service that starts while configuration is away: with its last known copy it decides calls, without a good one it refuses all."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from mesh.errors import MeshError
from mesh.status import from_rpc_error
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import fake_authentication
from tests.integration.services.configuration.history import empty_history
from tests.integration.services.configuration.running import Service, as_user, channel
from vivesphere.configuration.v1 import role_pb2, role_service_pb2, role_service_pb2_grpc
from vivesphere.logging.v1 import audit_service_pb2, audit_service_pb2_grpc

OTHER, ROLE, OK = "logging", "inspector", "OK"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ROOT = "0190c6a1-0000-7000-8000-00000000000a"


@dataclass
class Pair:
    """Configuration, and a service that watches it."""

    configuration: Service
    other: Service
    issuer: Issuer
    folder: Path
    log: Path
    roles: grpc.aio.Channel
    calls: grpc.aio.Channel

    def metadata(self, role: str) -> tuple[tuple[str, str], ...]:
        """A call of somebody with this role."""
        return as_user(self.issuer.token(role, subject=ROOT))

    async def create_role(self) -> None:
        """One that may read the audit trail, as soon as configuration knows who may make it."""
        request = role_service_pb2.CreateRoleRequest(role=role_pb2.Role(id=ROLE, permissions=["audit.read"]))
        stub = role_service_pb2_grpc.RoleServiceStub(self.roles)
        async with asyncio.timeout(15):
            while True:
                try:
                    await stub.CreateRole(request, metadata=self.metadata("admin"), timeout=5)
                except grpc.aio.AioRpcError as error:
                    if from_rpc_error(error).code not in ("UNAVAILABLE", "UNAUTHENTICATED"):
                        raise
                    await asyncio.sleep(0.05)
                else:
                    return

    async def delete_role(self) -> None:
        """Take it away."""
        request = role_service_pb2.DeleteRoleRequest(role_id=ROLE)
        stub = role_service_pb2_grpc.RoleServiceStub(self.roles)
        await stub.DeleteRole(request, metadata=self.metadata("admin"), timeout=5)

    async def until_on_disk(self) -> None:
        """The role has reached the service's file."""
        async with asyncio.timeout(30):
            while not any(
                ROLE.encode() in file.read_bytes() for file in self.folder.glob("configuration-*.copy")
            ):
                await asyncio.sleep(0.02)

    async def list_audit_events(self, role: str = ROLE) -> str:
        """The reason why a caller with the role is refused, or OK."""
        stub = audit_service_pb2_grpc.AuditServiceStub(self.calls)
        try:
            await stub.ListAuditEvents(
                audit_service_pb2.ListAuditEventsRequest(), metadata=self.metadata(role), timeout=5
            )
        except grpc.aio.AioRpcError as error:
            refused: MeshError = from_rpc_error(error)
            return refused.reason
        return OK

    async def until_answered(self, answer: str, seconds: float = 15) -> None:
        """Ask with the role until this is the answer."""
        last = ""
        try:
            async with asyncio.timeout(seconds):
                while (last := await self.list_audit_events()) != answer:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"still {last}") from None

    async def health(self, name: str) -> int:
        """What the service says of a part of itself."""
        stub = health_pb2_grpc.HealthStub(self.calls)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        return int(answer.status)

    @property
    def file(self) -> Path:
        [file] = self.folder.glob("configuration-*.copy")
        return file


@pytest.fixture(scope="module")
async def pair(engines: EmbeddedMesh) -> AsyncIterator[Pair]:
    """Both running, and a role that only this history has."""
    issuer = Issuer()
    address = f"{LOOPBACK}:{engines.ports['authentication']}"
    folder = engines.data.service(OTHER)
    async with empty_history(engines), fake_authentication(engines.data, address, issuer):
        roles, calls = channel(engines, "gateway"), channel(engines, "gateway", OTHER)
        log = engines.data.logs / f"{OTHER}-under-test.log"
        pair = Pair(Service(engines), Service(engines, OTHER), issuer, folder, log, roles, calls)
        await asyncio.gather(pair.configuration.start(), pair.other.start())
        try:
            yield pair
        finally:
            await asyncio.gather(roles.close(), calls.close())
            await asyncio.gather(pair.configuration.stop(), pair.other.stop())


async def test_a_service_that_restarts_without_configuration_serves_whom_it_knows(pair: Pair) -> None:
    """Configuration killed, the service started again with nobody to ask: it decides, says that it stands alone, and catches up."""
    await pair.create_role()
    await pair.until_answered(OK)
    await pair.until_on_disk()
    await pair.configuration.stop(signal.SIGKILL)
    await pair.other.stop()
    await pair.other.start()
    await pair.until_answered(OK)
    assert await pair.list_audit_events("nothing") == "PERMISSION_MISSING"
    assert await pair.health("") == SERVING
    assert await pair.health("configuration") == NOT_SERVING
    assert "began with the last known configuration" in pair.log.read_text()

    await pair.configuration.start()
    async with asyncio.timeout(15):
        while await pair.health("configuration") != SERVING:
            await asyncio.sleep(0.05)


async def test_a_role_taken_away_is_refused_elsewhere_within_a_second(pair: Pair) -> None:
    """Measured from before the change is asked for until another service refuses."""
    await pair.until_answered(OK)
    started = asyncio.get_running_loop().time()
    await pair.delete_role()
    await pair.until_answered("PERMISSION_MISSING", seconds=1)
    assert asyncio.get_running_loop().time() - started < 1


async def test_a_tampered_copy_opens_nothing(pair: Pair) -> None:
    """A service that has neither configuration nor an authentic copy knows nobody's rights, and allows nothing."""
    await pair.create_role()
    await pair.until_answered(OK)
    await pair.until_on_disk()
    await pair.configuration.stop(signal.SIGKILL)
    await pair.other.stop()
    altered = pair.file.read_bytes().replace(b'"audit.read"', b'"audit.*"   ')
    pair.file.write_bytes(altered)
    pair.log.write_text("")
    await pair.other.start()
    await pair.until_answered("POLICY_NOT_LOADED")
    assert pair.log.read_text().count("last known configuration is ignored") == 1
    assert await pair.list_audit_events(ROLE) == "POLICY_NOT_LOADED"
    await pair.configuration.start()
    await pair.until_answered(OK)
