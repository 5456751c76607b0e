"""The contract of posts over the real chain with the policy checks on, for several people."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.database import Database
from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.bot_manager.domain.importing import Imports
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, BotState, CredentialsStatus
from services.bot_manager.domain.posts import Posts
from services.bot_manager.domain.previewing import Previews
from services.bot_manager.domain.resolving import Resolving
from services.bot_manager.domain.templates import TemplateComposer
from services.bot_manager.events.hub import Hub
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.media.shelf import LibraryShelf
from services.bot_manager.policy.inspector import PolicyInspector
from services.bot_manager.policy.settings import Policy
from services.bot_manager.servicers.posts import PostServicer
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.imports import PostgresImports
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.similarity import PostgresLikenesses
from services.bot_manager.store.surroundings import PostgresSurroundings
from tests.fakes.clock import ManualClock
from tests.fakes.mesh import LocalServer, serving
from tests.fakes.prices import ListPrices
from vivesphere.bot_manager.v1 import post_pb2, post_service_pb2_grpc
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

from .conftest import NOW

ANN = "0190c6a1-0000-7000-8000-00000000000a"
BEN = "0190c6a1-0000-7000-8000-00000000000b"
HOUR = timedelta(hours=1)
STATED = {"label_enabled": True, "operator_handle": "boss"}


@dataclass
class Desk:
    """Stubs of several people, and what stands behind the service."""

    stub: Any
    server: LocalServer
    bots: PostgresBots
    posts: PostgresPosts
    library: PostgresLibrary
    clock: ManualClock
    settings: Policy

    async def call(self, method: str, request: Any, who: str = ANN, *, key: str = "") -> Any:
        """Raises the MeshError that the service raised. `key`: an API key instead of a token of `who`."""
        token = key or self.server.issuer.token("editor", subject=who)
        try:
            return await getattr(self.stub, method)(
                request, timeout=30, metadata=(("authorization", f"Bearer {token}"),)
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def export(self, **fields: Any) -> bytes:
        """The whole file."""
        token = self.server.issuer.token("editor", subject=ANN)
        stream = self.stub.ExportPosts(
            pb.ExportPostsRequest(**fields), timeout=30, metadata=(("authorization", f"Bearer {token}"),)
        )
        try:
            return b"".join([chunk.body.data async for chunk in stream])
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def bot(self, handle: str = "acme", **policy: Any) -> Bot:
        """An active bot with nothing to find fault with."""
        bot = Bot(new_id(), handle, BotState.ACTIVE, NOW, NOW, automation=STATED, policy=policy or None)
        return await self.bots.create(replace(bot, credentials=CredentialsStatus("OAUTH1", 1, True)), None)

    async def post(self, bot: Bot, text: str = "hello", who: str = ANN, **fields: Any) -> post_pb2.Post:
        """A new post, an hour from now unless the fields of the request say otherwise."""
        message = fields.pop("post", None)
        if message is None:
            message = post_pb2.Post(text=text)
            if not fields:
                message.scheduled_time.CopyFrom(at(HOUR))
        return (
            await self.call("CreatePost", pb.CreatePostRequest(bot_id=bot.id, post=message, **fields), who)
        ).post

    async def kinds(self, post_id: str) -> list[str]:
        """Kinds of the post's story."""
        return [str(entry.kind) for entry in await self.posts.story(post_id, 0, 100)]


@asynccontextmanager
async def desk_of(database: Database, folder: Path) -> AsyncIterator[Desk]:
    """A desk on empty tables, at NOW."""
    clock = ManualClock(NOW)
    bots, posts = PostgresBots(database, "test-1"), PostgresPosts(database, "test-1")
    settings = Policy.of()
    library = PostgresLibrary(database)
    shelf = LibraryShelf(library, clock)
    inspector = PolicyInspector(
        PostgresLikenesses(database),
        PostgresSurroundings(database),
        ListPrices(),
        lambda: settings,
        media=shelf,
    )
    maker = Maker(shelf, TemplateComposer(lambda: 1), inspector)

    def lateness() -> timedelta:
        return HOUR

    secret = b"page secret of the test"
    hub = Hub(Ticks(database), StoredEvents(database), lambda: 1, clock)
    servicer = PostServicer(
        Posts(posts, bots, clock, new_id, lateness, maker),
        secret,
        previews=Previews(maker, bots, clock),
        imports=Imports(PostgresImports(database, "test-1"), bots, clock, new_id, lateness, maker),
        resolving=Resolving(posts, bots, clock, lateness),
        watching=Watching(hub, bots, secret),
        wake=lambda: None,
    )
    served = [(post_service_pb2_grpc.add_PostServiceServicer_to_server, servicer)]
    name = "vivesphere.bot_manager.v1.PostService"
    roles = {"editor": frozenset({"posts.*"})}
    async with (
        serving(folder, "bot_manager", [name], served, roles=roles) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        yield Desk(
            post_service_pb2_grpc.PostServiceStub(channel), server, bots, posts, library, clock, settings
        )


async def refusal(awaitable: Awaitable[Any]) -> tuple[str, str]:
    """Reason and first field of the error."""
    with pytest.raises(MeshError) as refused:
        await awaitable
    error = refused.value
    return error.reason, error.violations[0].field if error.violations else ""


def at(offset: timedelta) -> Timestamp:
    """A time from NOW."""
    timestamp = Timestamp()
    timestamp.FromDatetime(NOW + offset)
    return timestamp
