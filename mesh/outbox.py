"""The transactional outbox: a message leaves if and only if the transaction that wrote it was committed.

`Outbox.add` writes a row in the caller's transaction; `relay` publishes rows that are not published yet and marks them, in every
replica at once (`FOR UPDATE SKIP LOCKED`), woken by each commit and by a slow tick. The row's id is the `Nats-Msg-Id`, so a message
that was published just before a crash is dropped as a duplicate when it is published again. Never a cursor on an id: ids commit out
of order. Consumers remember what they did in `inbox`, in the transaction of the effect.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from loguru import logger
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.tasks import set_within

BATCH = 200
TICK = timedelta(seconds=1)
GATHER = timedelta(milliseconds=20)
"""After a commit the relay waits this long for others: looking and marking cost as much for one message as for many."""
PUBLISH_TIMEOUT = timedelta(seconds=5)
KEEP = timedelta(days=3)
PRUNE_INTERVAL = timedelta(hours=1)

metadata = MetaData()

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("publish_time", DateTime(timezone=True)),
    Index("outbox_waiting", "create_time", "id", postgresql_where=text("publish_time IS NULL")),
    Index("outbox_published", "publish_time", postgresql_where=text("publish_time IS NOT NULL")),
)

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


_INSERT = insert(outbox)


class Publisher(Protocol):
    """Sends one message and waits until it is stored. Raises Unavailable if that is not certain."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None: ...


async def first_delivery(connection: AsyncConnection, consumer: str, message_id: str) -> bool:
    """Whether this consumer sees the message for the first time; remembers it in the same transaction."""
    statement = (
        insert(inbox)
        .values(consumer=consumer, message_id=message_id)
        .on_conflict_do_nothing()
        .returning(inbox.c.message_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


class Outbox:
    """The outbox of one service's schema."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._news = asyncio.Event()
        database.after_commit(self._news.set)

    async def add(
        self,
        connection: AsyncConnection,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Put a message into the caller's transaction. Returns its id."""
        identity = message_id or new_id()
        await self.add_many(connection, subject, [(identity, payload)], headers=headers)
        return identity

    async def add_many(
        self,
        connection: AsyncConnection,
        subject: str,
        messages: Sequence[tuple[str, bytes]],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put messages, each with its id, into the caller's transaction."""
        shared = {"subject": subject, "headers": dict(headers or {})}
        await connection.execute(
            _INSERT, [shared | {"id": identity, "payload": payload} for identity, payload in messages]
        )

    async def relay(self) -> None:
        """Publish what is waiting, until cancelled. Survives the loss of database and NATS."""
        while True:
            self._news.clear()
            try:
                full = await self._publish_batch() == BATCH
            except MeshError as error:
                logger.bind(reason=error.reason).warning("outbox waits")
                full = False
                await asyncio.sleep(TICK.total_seconds())
            if not full and await set_within(self._news, TICK):
                await asyncio.sleep(GATHER.total_seconds())

    async def prune(self) -> None:
        """Remove what was published more than three days ago, until cancelled. Until then streams can be rebuilt from here."""
        while True:
            try:
                async with self._database.transaction(wake=False) as connection:
                    limit = {"keep": KEEP}
                    await connection.execute(
                        text("DELETE FROM outbox WHERE publish_time < now() - CAST(:keep AS interval)"), limit
                    )
                    await connection.execute(
                        text("DELETE FROM inbox WHERE create_time < now() - CAST(:keep AS interval)"), limit
                    )
            except MeshError as error:
                logger.bind(reason=error.reason).warning("outbox not pruned")
            await asyncio.sleep(PRUNE_INTERVAL.total_seconds())

    async def oldest_age_seconds(self) -> float:
        """Age of the oldest message that still waits; 0 when none does. The health number of an outbox."""
        query = select(func.extract("epoch", func.now() - func.min(outbox.c.create_time))).where(
            outbox.c.publish_time.is_(None)
        )
        async with self._database.read() as connection:
            return float((await connection.execute(query)).scalar_one() or 0)

    async def _publish_batch(self) -> int:
        query = (
            select(outbox.c.id, outbox.c.subject, outbox.c.payload, outbox.c.headers)
            .where(outbox.c.publish_time.is_(None))
            .order_by(outbox.c.create_time, outbox.c.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction(wake=False) as connection:
            rows = (await connection.execute(query)).all()
            if not rows:
                return 0
            sent = await self._publish([tuple(row) for row in rows])
            if sent:
                await connection.execute(
                    update(outbox).where(outbox.c.id.in_(sent)).values(publish_time=func.now())
                )
        if len(sent) < len(rows):
            logger.bind(waiting=len(rows) - len(sent)).warning("outbox waits")
            await asyncio.sleep(TICK.total_seconds())
        return len(sent)

    async def _publish(self, rows: Sequence[tuple[str, str, bytes, dict[str, str]]]) -> list[str]:
        """Ids of the messages that are certainly stored."""
        results = await asyncio.gather(
            *(
                self._publisher.publish(
                    subject, payload, message_id=str(identity), headers=headers, timeout=PUBLISH_TIMEOUT
                )
                for identity, subject, payload, headers in rows
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, MeshError):
                raise result
        return [row[0] for row, result in zip(rows, results, strict=True) if result is None]
