"""Sessions with PostgreSQL: one pool per process, short transactions, and errors that a caller can act on.

`transaction` commits what its block wrote, together with the audit record of the call that is being served and with messages put in
the outbox, or nothing at all. `read` is for queries. Losing the database becomes Unavailable (DATABASE_UNAVAILABLE); the pool tries
each connection before it lends it, so a restarted server is found again without a restart of ours.

A server that is there and says nothing is as good as away. Every wait on a connection, the pool's own test and rollback included, ends
after ANSWER_TIMEOUT_SECONDS; the server is then asked to cancel. One that lives does so within CANCEL_TIMEOUT_SECONDS and the caller
hears DeadlineExceeded; otherwise the socket is closed at once, and all that SQLAlchemy would still do on that connection fails without
waiting. A commit that was sent and not answered is OutcomeUnknown, never "nothing was written".

`copy` is for many rows at once: it goes past SQLAlchemy, but on the same connection, within its transaction and under the same bounds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any, LiteralString, TypeVar, cast

import psycopg
import psycopg.errors
from loguru import logger
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async
from sqlalchemy import exc, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine

from mesh.errors import Aborted, DeadlineExceeded, MeshError, OutcomeUnknown, Unavailable
from mesh.settings import ProcessSettings
from mesh.tasks import cancellations

CONNECT_TIMEOUT_SECONDS = 3
POOL_TIMEOUT_SECONDS = 3
ANSWER_TIMEOUT_SECONDS = 4
CANCEL_TIMEOUT_SECONDS = 1
BLOCK_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.1
STATEMENT_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 5_000
POOL_SIZE = 8
MAX_OVERFLOW = 8

Then = Callable[[], None]
Hook = Callable[[AsyncConnection], Awaitable[Then | None]]
Answer = TypeVar("Answer")


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
        self, *, concludes: bool = True, wake: bool = True, seconds: float | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends well.

        Raises Unavailable, Aborted, DeadlineExceeded (also for what is asked later than BLOCK_TIMEOUT_SECONDS after the beginning),
        or OutcomeUnknown when the commit was sent and not answered: read before repeating.

        `concludes=False`: the call may still fail after this commit (a counted sign-in attempt), so its audit record is not written
        here. `wake=False` is for those that are woken by commits, so that they do not wake themselves. `seconds` as in `read`.
        """
        then: list[Then] = []
        with _told_as_mesh_errors():
            async with self._connected(seconds) as connection:
                transaction = await connection.begin()
                (await _driver(connection)).followers = then
                yield connection
                for hook in self._before_commit if concludes else ():
                    follow_up = await hook(connection)
                    if follow_up is not None:
                        then.append(follow_up)
                if transaction.is_active:
                    await _commit(connection, transaction)
        for action in [*then, *(self._after_commit if wake else ())]:
            action()

    @asynccontextmanager
    async def read(self, *, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; whatever is written is rolled back. Raises Unavailable or DeadlineExceeded.

        `seconds` is for blocks that may take longer than usual: how long the block, and each answer in it, may take. The server's own
        `statement_timeout` is not touched.
        """
        with _told_as_mesh_errors():
            async with self._connected(seconds) as connection:
                yield connection

    @asynccontextmanager
    async def _connected(self, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection that answered just now, for one block; what the block did not commit is rolled back."""
        connection = self._engine.connect()
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            await connection.start()
        driver = await _driver(connection)
        driver.expires_at = monotonic() + (BLOCK_TIMEOUT_SECONDS if seconds is None else seconds)
        driver.answer_seconds = ANSWER_TIMEOUT_SECONDS if seconds is None else seconds
        try:
            yield connection
        finally:
            driver.expires_at, driver.followers = inf, None  # the rollback has its own bound
            driver.answer_seconds = ANSWER_TIMEOUT_SECONDS
            with suppress(exc.DBAPIError):  # the connection is lost and with it what was not committed
                await connection.close()

    async def check(self) -> None:
        """Raises Unavailable unless the database answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


class _BoundedConnection(psycopg.AsyncConnection[Any]):
    """A connection on which nothing waits for long, because everything that psycopg asks of a server goes through `wait`.

    psycopg's own `wait` knows no bound, and when cancelled it waits up to ten seconds more for the server.
    """

    expires_at = inf
    """When the block that uses the connection has to be through, on the monotonic clock; not a bound for a rollback."""
    answer_seconds: float = ANSWER_TIMEOUT_SECONDS
    """How long one answer may take."""
    followers: list[Then] | None = None
    """What is called once the transaction of the block is committed; None outside of a transaction."""

    async def wait(
        self, gen: PQGen[Answer], interval: float = POLL_SECONDS, timeout: float | None = None
    ) -> Answer:
        """The answer. Raises OperationalError when there is none and QueryCanceled when the server gave up in time."""
        left = self.expires_at - monotonic()
        if left <= 0:
            raise psycopg.errors.QueryCanceled("the block took too long; not sent")
        try:
            async with asyncio.timeout(min(left, self.answer_seconds)):
                return await wait_async(gen, self.pgconn.socket, interval, timeout)
        except TimeoutError:
            return await self._last_chance(gen, interval)
        except asyncio.CancelledError:
            await self._abandon()
            raise

    async def _last_chance(self, gen: PQGen[Answer], interval: float) -> Answer:
        """Ask the server to cancel: one that lives answers now, with the result or with QueryCanceled."""
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_SECONDS):
                await self.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
                return await wait_async(gen, self.pgconn.socket, interval)
        except TimeoutError:
            raise psycopg.OperationalError("the server does not answer") from None
        finally:
            self._hang_up()

    async def _abandon(self) -> None:
        """Nobody waits for the answer any more: tell the server, so that it lets go of its locks, and hang up."""
        try:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
        except psycopg.Error as error:
            logger.bind(error=type(error).__name__).warning("query not cancelled")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close the socket, without a word to the server, if an answer is still due."""
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self.pgconn.finish()


async def copy(connection: AsyncConnection, statement: LiteralString, chunks: Iterable[bytes]) -> None:
    """Run `COPY … FROM STDIN` within the connection's transaction; `chunks` are its data, asked for as the server takes them.

    Other tasks run between two chunks, so each should take a few milliseconds at most to make. Raises what psycopg raises, which
    the block of the transaction translates unless it is caught; after an error only a savepoint helps.
    """
    async with (await _driver(connection)).cursor().copy(statement) as stream:
        for chunk in chunks:
            await stream.write(chunk)
            await asyncio.sleep(0)


async def once_committed(connection: AsyncConnection, then: Then) -> None:
    """Call `then` once the connection's transaction is committed, and never if it is not; it must not block or raise.

    Raises RuntimeError on a connection for reading.
    """
    followers = (await _driver(connection)).followers
    if followers is None:
        raise RuntimeError("not in a transaction")
    followers.append(then)


async def _driver(connection: AsyncConnection) -> _BoundedConnection:
    return cast(_BoundedConnection, (await connection.get_raw_connection()).driver_connection)


async def _commit(connection: AsyncConnection, transaction: AsyncTransaction) -> None:
    """Raises OutcomeUnknown when the server may have committed and did not say so; other errors mean that it has not."""
    sent = not (connection.invalidated or (await _driver(connection)).closed)
    try:
        await transaction.commit()
    except Exception as error:
        if sent and isinstance(_translate(error), Unavailable):
            raise OutcomeUnknown(
                "DATABASE_UNAVAILABLE", "the database did not confirm the commit; read before repeating"
            ) from None
        raise


class _told_as_mesh_errors:
    """Context manager: what SQLAlchemy and psycopg raise becomes what a caller can act on; texts stay in our log.

    A task that is cancelled is cancelled: whoever cleans up on a connection that was hung up for it (savepoints, COPY, a commit) meets an
    error of the driver, which would take the cancellation's place, and the caller would try again.
    """

    def __enter__(self) -> None:
        self._before = cancellations()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        unknown = isinstance(error, OutcomeUnknown)
        if error is None or (isinstance(error, MeshError) and not unknown):
            return
        told = error if unknown else _translate(error)
        if told is None:
            return
        if cancellations() > self._before:
            raise asyncio.CancelledError from None
        if told is not error:
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
            "async_creator_fn": _BoundedConnection.connect,
        },
    )
    return Database(engine)
