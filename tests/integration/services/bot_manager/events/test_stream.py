"""WatchEvents over the real chain: who may, what a role on one bot opens, and that a stream ends with its session."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import MeshError
from mesh.status import from_rpc_error
from mesh.tasks import TaskSet
from services.bot_manager.events.hub import Hub
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.servicers.posts import PostServicer
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.store.bots import PostgresBots
from tests.fakes.mesh import LocalServer, serving
from tests.integration.services.bot_manager.conftest import AddBot, AddPost
from vivesphere.authentication.v1.revocation_pb2 import REVOCATION_KIND_SESSION
from vivesphere.bot_manager.v1 import post_service_pb2 as pb
from vivesphere.bot_manager.v1 import post_service_pb2_grpc

SECRET = b"page secret of the test"
ROLES = {"viewer": frozenset({"posts.read"}), "other": frozenset({"bots.read"})}


@dataclass
class Door:
    """A server and a stub of it."""

    server: LocalServer
    stub: Any

    def watch(self, token: str, **fields: Any) -> Any:
        """A stream."""
        metadata = (("authorization", f"Bearer {token}"),)
        return self.stub.WatchEvents(pb.WatchEventsRequest(**fields), timeout=30, metadata=metadata)


@pytest.fixture
async def door(database: Database, bots: PostgresBots, tmp_path: Path) -> AsyncIterator[Door]:
    hub = Hub(Ticks(database), StoredEvents(database), lambda: 3, SystemClock())
    database.after_commit(hub.wake)
    none: Any = None
    watching = Watching(hub, bots, SECRET)
    servicer = PostServicer(
        none, SECRET, previews=none, imports=none, resolving=none, watching=watching, wake=lambda: None
    )
    added = [(post_service_pb2_grpc.add_PostServiceServicer_to_server, servicer)]
    names = ["vivesphere.bot_manager.v1.PostService"]
    async with (
        TaskSet() as tasks,
        serving(tmp_path, "bot_manager", names, added, roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        tasks.spawn(hub.run(), name="hub")
        yield Door(server, post_service_pb2_grpc.PostServiceStub(channel))
        hub.close()


async def code(stream: Any) -> str:
    """How a stream ends, signs of life and events passed over."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        found: MeshError = from_rpc_error(error)
        return found.reason
    return ""


async def test_events_come_as_they_happen(door: Door, add_bot: AddBot, add_post: AddPost) -> None:
    """A page opens the stream once and is told."""
    bot = await add_bot()
    stream = door.watch(door.server.issuer.token("viewer"), bot_id=bot.id)
    first = await stream.read()
    assert not first.HasField("event")
    post = await add_post(bot, "hello")
    while not (response := await stream.read()).HasField("event"):
        pass
    assert response.event.post_id == post.id
    assert response.resume_token
    stream.cancel()


async def test_who_may_not_read_posts_is_told_nothing(door: Door, add_bot: AddBot) -> None:
    """Neither of a bot nor of all; nor is it said whether a bot exists."""
    token = door.server.issuer.token("other")
    assert await code(door.watch(token)) == "PERMISSION_MISSING"
    assert await code(door.watch(token, bot_id=(await add_bot()).id)) == "PERMISSION_MISSING"


async def test_a_stream_ends_with_the_session_that_opened_it(door: Door, add_bot: AddBot) -> None:
    """Whoever is signed out elsewhere sees nothing more."""
    token = door.server.issuer.token("viewer", sid="session-of-the-test")
    stream = door.watch(token)
    await stream.read()
    door.server.feed.revoke(REVOCATION_KIND_SESSION, "session-of-the-test")
    assert await code(stream) == "TOKEN_INVALID"
