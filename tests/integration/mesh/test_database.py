"""The database while PostgreSQL is frozen: connections stand, and nothing answers. Callers are told soon, and what is true."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg.errors
import pytest
from sqlalchemy import make_url, text

from cli.embedded import EmbeddedMesh
from mesh.database import Database, copy, once_committed, open_database
from mesh.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from mesh.ids import new_id
from mesh.outbox import first_delivery
from tests.fakes.engines import database_of, settings_of
from tests.fakes.proxy import Proxy, proxy_to

SERVICE = "configuration"
SOON_SECONDS = 8


@asynccontextmanager
async def behind_proxy(engines: EmbeddedMesh) -> AsyncIterator[tuple[Database, Proxy]]:
    """A database that has one connection in its pool, and the proxy on its way."""
    settings = settings_of(engines, SERVICE)
    url = make_url(settings.database_url or "")
    async with proxy_to(url.port or 5432) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        database = open_database(settings.model_copy(update={"database_url": through}), SERVICE)
        try:
            await database.check()
            yield database, proxy
        finally:
            await database.close()


async def write(database: Database, message: str) -> bool:
    async with database.transaction() as connection:
        return await first_delivery(connection, "test", message)


async def test_a_server_frozen_before_checkout_is_unavailable_until_it_thaws(engines: EmbeddedMesh) -> None:
    """The pool's own test of a connection must not wait either, and no place in the pool may be lost by it."""
    async with behind_proxy(engines) as (database, proxy):
        proxy.freeze()
        async with asyncio.timeout(SOON_SECONDS):
            told = await asyncio.gather(*(database.check() for _ in range(20)), return_exceptions=True)
        assert {(type(error), getattr(error, "reason", None)) for error in told} == {
            (Unavailable, "DATABASE_UNAVAILABLE")
        }
        proxy.thaw()
        await asyncio.gather(*(database.check() for _ in range(16)))


async def test_a_server_frozen_in_mid_transaction_is_unavailable_and_nothing_is_written(
    engines: EmbeddedMesh,
) -> None:
    """The statement ends soon, and the rollback after it does not wait a second time."""
    message = new_id()
    async with behind_proxy(engines) as (database, proxy):

        async def block() -> None:
            async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
                await first_delivery(connection, "test", message)
                proxy.freeze()
                await connection.execute(text("SELECT 1"))

        with pytest.raises(Unavailable, match="nothing was written"):
            await block()
        proxy.thaw()
        assert await write(database, message)


async def test_a_commit_without_an_answer_is_not_told_as_not_written(engines: EmbeddedMesh) -> None:
    """The server did commit here: a caller that repeats blindly would write twice."""
    message = new_id()
    async with behind_proxy(engines) as (database, proxy):

        async def block() -> None:
            async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
                await first_delivery(connection, "test", message)
                proxy.answers.clear()

        with pytest.raises(OutcomeUnknown, match="did not confirm the commit") as caught:
            await block()
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        proxy.thaw()
        assert not await write(database, message)


async def test_the_error_of_a_block_survives_a_rollback_without_an_answer(engines: EmbeddedMesh) -> None:
    """What went wrong first is what the caller has to know."""
    async with behind_proxy(engines) as (database, proxy):

        async def block() -> None:
            async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
                await connection.execute(text("SELECT 1"))
                proxy.freeze()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await block()
        proxy.thaw()
        await database.check()


async def test_a_cancelled_caller_is_let_go_of_soon(engines: EmbeddedMesh) -> None:
    """A call whose client has gone must not hold its place while the database is frozen."""
    async with behind_proxy(engines) as (database, proxy):
        waiting = asyncio.Event()

        async def ask() -> None:
            async with database.transaction() as connection:
                await connection.execute(text("SELECT 1"))
                proxy.freeze()
                waiting.set()
                await connection.execute(text("SELECT 1"))

        task = asyncio.create_task(ask())
        await waiting.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=SOON_SECONDS)
        assert done
        assert task.cancelled()
        proxy.thaw()
        await database.check()


async def test_a_cancellation_is_not_lost_to_what_cleans_up_after_it(engines: EmbeddedMesh) -> None:
    """A consumer whose handler fails instead takes the next message, and its process does not stop."""

    async with behind_proxy(engines) as (database, proxy):
        begun = asyncio.Event()

        def rows() -> Iterator[bytes]:
            proxy.freeze()  # soon the copy waits for the server, as it does when that has much to do
            begun.set()
            while True:
                yield f"test\t{new_id()}{'x' * 8_000}\n".encode()

        async def work() -> None:
            async with database.transaction() as connection, connection.begin_nested():
                await copy(connection, COPY, rows())

        task = asyncio.create_task(work())
        await begun.wait()
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_slow_statement_on_a_live_server_is_out_of_time(engines: EmbeddedMesh) -> None:
    """A server that answers the request to cancel is not away."""
    async with behind_proxy(engines) as (database, _):
        with pytest.raises(DeadlineExceeded):
            async with asyncio.timeout(SOON_SECONDS), database.read() as connection:
                await connection.execute(text("SELECT pg_sleep(12)"))
        await database.check()


COPY = "COPY inbox (consumer, message_id) FROM STDIN"


async def test_copied_rows_are_part_of_the_transaction(engines: EmbeddedMesh) -> None:
    """What is copied comes and goes with what else the block wrote, and followers hear of commits alone."""
    told: list[str] = []

    async def block(message: str, error: Exception | None = None) -> None:
        async with database.transaction() as connection:
            await once_committed(connection, lambda: told.append(message))
            await copy(connection, COPY, [f"test\t{message}\n".encode()])
            if error is not None:
                raise error

    async with database_of(engines, SERVICE) as database:
        kept, lost = new_id(), new_id()
        await block(kept)
        with pytest.raises(ZeroDivisionError):
            await block(lost, ZeroDivisionError())
        assert told == [kept]
        assert not await write(database, kept)
        assert await write(database, lost)
        async with database.read() as connection:
            with pytest.raises(RuntimeError, match="not in a transaction"):
                await once_committed(connection, lambda: told.append("read"))


async def test_a_refused_copy_leaves_what_was_before_its_savepoint(engines: EmbeddedMesh) -> None:
    """Whoever copies can try again with less, without giving up the transaction."""
    first, second = new_id(), new_id()
    async with database_of(engines, SERVICE) as database:
        async with database.transaction() as connection:
            await copy(connection, COPY, [f"test\t{first}\n".encode()])
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with connection.begin_nested():
                    await copy(connection, COPY, [f"test\t{second}\ntest\t{first}\n".encode()])
        assert not await write(database, first)
        assert await write(database, second)


async def test_a_copy_into_a_frozen_server_ends_soon(engines: EmbeddedMesh) -> None:
    """COPY goes past SQLAlchemy, not past the bounds."""
    row = f"test\t{'x' * 8_000}\n".encode()
    async with behind_proxy(engines) as (database, proxy):

        async def block() -> None:
            async with asyncio.timeout(SOON_SECONDS), database.transaction() as connection:
                await first_delivery(connection, "test", new_id())
                proxy.freeze()
                await copy(connection, COPY, (row for _ in range(10_000)))

        with pytest.raises(Unavailable):
            await block()
