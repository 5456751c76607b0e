"""The service's schema on the shared PostgreSQL, emptied for each test, and ways to fill it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.processlog import ProcessLog
from mesh.clock import SystemClock
from mesh.database import Database, open_database
from mesh.ids import new_id
from mesh.outbox import metadata as mesh_metadata
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Bot, BotState, Part, Post, PostState
from services.bot_manager.domain.money import App
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.tables import metadata
from tests.fakes.engines import settings_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATENESS = timedelta(hours=1)
SCHEMA = "bot_manager_tests"

NEWS = ("events", "event_ticks", "webhooks", "webhook_cursor")

AddBot = Callable[..., Awaitable[Bot]]
AddPost = Callable[..., Awaitable[Post]]


@pytest.fixture(scope="session")
def schema(engines: EmbeddedMesh) -> str:
    """A schema of our own with the service's tables, so that a service that runs on these engines does not publish our posts.

    That models and migrations agree is proven elsewhere.
    """
    engine = create_engine("postgresql+psycopg://", creator=engines.admin.connect, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        connection.execute(text(f"SET LOCAL search_path TO {SCHEMA}"))
        for tables in (metadata, mesh_metadata):
            tables.create_all(connection, checkfirst=False)
        connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO bot_manager"))
        connection.execute(
            text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO bot_manager")
        )
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO bot_manager"))
    return SCHEMA


@pytest.fixture(scope="module")
async def secure_bot_data(
    engines: EmbeddedMesh, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    """That service, running as a process."""
    output = ProcessLog(tmp_path_factory.mktemp("process") / "output.log")
    child = Child(engines.service_spec("secure_bot_data"), output)
    await child.spawn()
    try:
        await child.wait_ready()
        yield
    finally:
        await child.stop()
        output.close()


@pytest.fixture
async def database(engines: EmbeddedMesh, schema: str) -> AsyncIterator[Database]:
    """The service's role on empty tables."""
    database = open_database(settings_of(engines, "bot_manager"), schema)
    async with database.transaction() as connection:
        for table in (
            "bots",
            "apps",
            "rate_limits",
            "spend",
            "breakers",
            "lease_endings",
            "secret_destructions",
            "oauth_connects",
            "idempotency",
            "outbox",
            "inbox",
            *NEWS,
        ):
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names from the line above
    yield database
    await database.close()


async def add_app(database: Database, app_id: str, client_id: str = "") -> None:
    """An app for bots to have."""
    app = App(app_id, "app", NOW, NOW, client_id=client_id)
    await PostgresApps(database, SystemClock()).create(app, None)


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
