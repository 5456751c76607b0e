"""The service's schema on the shared PostgreSQL, emptied for each test, and ways to fill it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Bot, BotState, Part, Post, PostState
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.posts import PostgresPosts
from tests.fakes.engines import database_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATENESS = timedelta(hours=1)

AddBot = Callable[..., Awaitable[Bot]]
AddPost = Callable[..., Awaitable[Post]]


@pytest.fixture
async def database(engines: EmbeddedMesh) -> AsyncIterator[Database]:
    async with database_of(engines, "bot_manager") as database:
        async with database.transaction() as connection:
            for table in ("bots", "idempotency", "outbox"):
                await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names from the line above
        yield database


@pytest.fixture
def bots(database: Database) -> PostgresBots:
    return PostgresBots(database, "test-1")


@pytest.fixture
def posts(database: Database) -> PostgresPosts:
    return PostgresPosts(database, "test-1")


@pytest.fixture
def ledger(database: Database) -> PostgresLedger:
    return PostgresLedger(database, "test-1")


@pytest.fixture
def add_bot(bots: PostgresBots) -> AddBot:
    async def add(handle: str = "acme", state: BotState = BotState.ACTIVE) -> Bot:
        return await bots.create(Bot(new_id(), handle, state, NOW, NOW), None)

    return add


@pytest.fixture
def add_post(posts: PostgresPosts) -> AddPost:
    async def add(bot: Bot, *texts: str, due: datetime | None = NOW, lateness: timedelta = LATENESS) -> Post:
        parts = tuple(Part(index, one) for index, one in enumerate(texts or ("hello",)))
        change = rules.create(Post(new_id(), bot.id, PostState.DRAFT, parts, NOW, NOW), due, lateness)
        return await posts.create(change.post, change.entries, None)

    return add
