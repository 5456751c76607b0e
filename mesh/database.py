"""Sessions with PostgreSQL: one pool per process, short transactions, and errors that a caller can act on.

`transaction` commits what its block wrote, together with the audit record of the call that is being served and with messages put in
the outbox, or nothing at all. `read` is for queries. Losing the database becomes Unavailable (DATABASE_UNAVAILABLE); the pool tries
each connection before it lends it, so a restarted server is found again without a restart of ours.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg.errors
from loguru import logger
from sqlalchemy import exc, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mesh.errors import Aborted, DeadlineExceeded, MeshError, Unavailable
from mesh.settings import ProcessSettings

CONNECT_TIMEOUT_SECONDS = 3
POOL_TIMEOUT_SECONDS = 3
ANSWER_TIMEOUT_SECONDS = 4
STATEMENT_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 5_000
POOL_SIZE = 8
MAX_OVERFLOW = 8

Then = Callable[[], None]
Hook = Callable[[AsyncConnection], Awaitable[Then | None]]


class Database:
    """The process's own schema. Hooks join every transaction just before it commits."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._before_commit: list[Hook] = []
        self._after_commit: list[Then] = []

    def before_commit(self, hook: Hook) -> None:
        """Run `hook` last inside every transaction that concludes a call. If it raises, nothing is committed.

        What it returns is called once the commit has succeeded.
        """
        self._before_commit.append(hook)

    def after_commit(self, then: Then) -> None:
        """Call `then` after every commit; it must not block or raise."""
        self._after_commit.append(then)

    @asynccontextmanager
    async def transaction(
        self, *, concludes: bool = True, wake: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends well. Raises Unavailable, Aborted or DeadlineExceeded.

        `concludes=False`: the call may still fail after this commit (a counted sign-in attempt), so its audit record is not written
        here. `wake=False` is for those that are woken by commits, so that they do not wake themselves.
        """
        then: list[Then] = []
        with _told_as_mesh_errors():
            async with self._connected() as connection, connection.begin():
                yield connection
                for hook in self._before_commit if concludes else ():
                    follow_up = await hook(connection)
                    if follow_up is not None:
                        then.append(follow_up)
        for action in [*then, *(self._after_commit if wake else ())]:
            action()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; whatever is written is rolled back."""
        with _told_as_mesh_errors():
            async with self._connected() as connection:
                yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection that answered just now. A server that is there and says nothing is as good as away."""
        connection = self._engine.connect()
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            await connection.start()
        try:
            yield connection
        finally:
            await connection.close()

    async def check(self) -> None:
        """Raises Unavailable unless the database answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


class _told_as_mesh_errors:
    """Context manager: what SQLAlchemy and psycopg raise becomes what a caller can act on; texts stay in our log."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MeshError):
            return
        told = _translate(error)
        if told is not None:
            raise told from None


def _translate(error: BaseException) -> MeshError | None:
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(original, (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)):
        return Aborted("VERSION_MISMATCH", "another writer was faster; repeat the call")
    if isinstance(original, (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)):
        return DeadlineExceeded("DEADLINE_TOO_SHORT", "the database did not finish in time")
    lost = isinstance(
        original, (psycopg.OperationalError, psycopg.InterfaceError, exc.TimeoutError, OSError, TimeoutError)
    )
    if lost or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        logger.bind(error=type(original).__name__).warning("database unavailable")
        return Unavailable(
            "DATABASE_UNAVAILABLE",
            "the database does not answer; nothing was written",
            retry_after=timedelta(seconds=1),
        )
    return None


def open_database(settings: ProcessSettings, schema: str) -> Database:
    """The database of `schema`, as the role of the same name. Connects when first used. Raises ValueError without a URL."""
    if settings.database_url is None:
        raise ValueError("VIVESPHERE_DATABASE_URL is not set")
    url = make_url(settings.database_url)
    if settings.database_password_file is not None:
        url = url.set(password=settings.database_password_file.read_text().strip())
    options = (
        f"-c search_path={schema} -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC"
    )
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=MAX_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": options,
            "application_name": f"vivesphere-{schema}",
        },
    )
    return Database(engine)
