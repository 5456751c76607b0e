"""secure_bot_data as a process with its vault and database, and refreshers of several replicas that speak to it as bot_manager does."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import pytest

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.tokens.keeping import SECRET_NAME, MeshPairKeeper, PairKeeper
from services.bot_manager.tokens.port import TokenEndpoint
from services.bot_manager.tokens.refresher import TokenRefresher
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.integration.services.secure_bot_data.test_process import channel_as
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

SECOND = timedelta(seconds=1)
SHORT = 5 * SECOND
"""The shortest claim that the contract allows, so that abandoned ones end soon."""


@dataclass
class Replica:
    """One process of bot_manager, as far as refreshing goes."""

    keeper: PairKeeper
    tasks: TaskSet
    stub: BotSecretServiceStub

    def refresher(self, endpoint: TokenEndpoint, keeper: PairKeeper | None = None) -> TokenRefresher:
        """A refresher of this replica; `keeper` replaces its own."""
        return TokenRefresher(
            keeper or self.keeper, endpoint, self.tasks, SystemClock(), exchange_timeout=SECOND
        )

    async def connect(self, endpoint: FakeTokenEndpoint) -> tuple[str, str]:
        """A bot with a stored pair: its id and its refresh token."""
        bot_id, fields = new_id(), endpoint.connect()
        await self.stub.StoreBotSecret(
            pb2.StoreBotSecretRequest(
                bot_id=bot_id, name=SECRET_NAME, kind=bot_secret_pb2.SECRET_KIND_X_OAUTH2, fields=fields
            ),
            timeout=10,
        )
        return bot_id, fields["refresh_token"]

    async def stored(self, bot_id: str) -> tuple[int, dict[str, str]]:
        """The current version and its values."""
        pair = await self.keeper.pair(bot_id)
        return pair.version, {name: value.reveal() for name, value in pair.fields.items()}


@pytest.fixture
async def replicas(engines: EmbeddedMesh, secure_bot_data: None) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two processes' worth of parts, each with its own connection."""
    async with AsyncExitStack() as stack:

        async def make() -> Replica:
            channel = await stack.enter_async_context(channel_as(engines, "bot_manager"))
            stub = BotSecretServiceStub(channel)
            tasks = await stack.enter_async_context(TaskSet())
            return Replica(MeshPairKeeper(stub, SystemClock(), SHORT), tasks, stub)

        yield await make(), await make()


@pytest.fixture
def endpoint() -> FakeTokenEndpoint:
    return FakeTokenEndpoint()
