"""The service as people meet it: its process, configuration's for the roles, and tokens as authentication signs them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from cli.embedded import EmbeddedMesh
from cli.ports import LOOPBACK
from mesh.errors import MeshError
from mesh.identity.tokens import SECOND_FACTOR_CLAIM
from mesh.status import from_rpc_error
from tests.fakes.issuer import Issuer
from tests.fakes.revocations import Feed, fake_authentication
from tests.integration.services.configuration.history import empty_history
from tests.integration.services.configuration.running import Service, as_user, channel
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

NAME = "secure_bot_data"


class People:
    """Callers of the running service."""

    def __init__(self, engines: EmbeddedMesh, service: Service, issuer: Issuer, feed: Feed) -> None:
        self.engines = engines
        self.service = service
        self.feed = feed
        self._issuer = issuer
        self._channels: dict[str, grpc.aio.Channel] = {}

    def as_peer(self, identity: str) -> BotSecretServiceStub:
        """The service as called with the certificate of `identity`; people come through `gateway`."""
        if identity not in self._channels:
            self._channels[identity] = channel(self.engines, identity, NAME)
        return BotSecretServiceStub(self._channels[identity])

    def token(self, *roles: str, factor: bool = True, **claims: Any) -> tuple[tuple[str, str], ...]:
        """Metadata of a person's call; `factor`: a second factor was proved just now."""
        proved = {SECOND_FACTOR_CLAIM: int(time.time())} if factor else {}
        return as_user(self._issuer.token(*roles, **proved, **claims))

    async def accesses(self, bot_id: str, count: int) -> list[Any]:
        """The trail of a bot, newest first, once it has `count` rows: one is written after its caller was answered."""
        request = pb2.ListSecretAccessRequest(bot_id=bot_id)
        list_accesses = self.as_peer("gateway").ListSecretAccess

        async def enough() -> list[Any] | None:
            answer = await list_accesses(request, metadata=self.token("admin"), timeout=5)
            return list(answer.accesses) if len(answer.accesses) >= count else None

        return await eventually(enough)

    async def close(self) -> None:
        """Ends the channels."""
        for made in self._channels.values():
            await made.close()


@asynccontextmanager
async def people_of(engines: EmbeddedMesh) -> AsyncIterator[People]:
    """The running service, when it knows roles and keys."""
    issuer, feed = Issuer(), Feed()
    address = f"{LOOPBACK}:{engines.ports['authentication']}"
    services = Service(engines), Service(engines, NAME)
    people = People(engines, services[1], issuer, feed)
    async with empty_history(engines), fake_authentication(engines.data, address, issuer, feed):
        try:
            for service in services:
                await service.start()
            await eventually(lambda: _allowed(people))
            yield people
        finally:
            await people.close()
            for service in services:
                await service.stop()


async def refusal(call: Awaitable[Any]) -> MeshError:
    """What the caller is told."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError("the call was not refused")


async def eventually(question: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is something."""
    async with asyncio.timeout(25):
        while (answer := await question()) is None:
            await asyncio.sleep(0.05)
    return answer


async def _allowed(people: People) -> bool | None:
    try:
        await people.as_peer("gateway").ListBotSecrets(
            pb2.ListBotSecretsRequest(bot_id="0190c6a1-0000-7000-8000-0000000000aa"),
            metadata=people.token("admin"),
            timeout=5,
        )
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED):
            raise
        return None
    return True
