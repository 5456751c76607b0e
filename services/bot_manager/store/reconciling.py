"""What the reconciler asks of the record beside the ledger, and whose turn it is to read an account.

The lease of an account's reading and all times that the settle window is measured by are the database's: replicas whose clocks differ
neither read at once nor shorten the window.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Interval, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from services.bot_manager.domain.model import AttemptOutcome, EntryKind, Post, PostState
from services.bot_manager.domain.reconciling import OPEN, History, Lost
from services.bot_manager.store.tables import attempts, post_events, post_parts, posts
from services.bot_manager.store.tables.reconciling import account_reads
from services.bot_manager.store.writing import with_parts


class ReconcilingStore(Protocol):
    """The reconciler's questions."""

    async def begin(self, bot_id: str, reader: str, lease: timedelta) -> datetime | None:
        """Take the reading of the bot's account for `lease`: the database's time; None while another reader has it."""
        ...

    async def end(self, bot_id: str, reader: str) -> None:
        """Give it back."""
        ...

    async def histories(self, found: Sequence[Post]) -> dict[str, History]:
        """By post in UNKNOWN, what its next part has been through; without those of which no call is open."""
        ...

    async def being_sent(self, bot_id: str) -> Sequence[Post]:
        """Posts of the bot that X is being called for."""
        ...

    async def adopted(self, x_post_ids: Collection[str]) -> set[str]:
        """Those of the posts on X that belong to a part here."""
        ...


class PostgresReconciling:
    """Implements ReconcilingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, bot_id: str, reader: str, lease: timedelta) -> datetime | None:
        """See the port."""
        until = func.clock_timestamp() + literal(lease, Interval())
        wanted = insert(account_reads).values(bot_id=bot_id, reader=reader, lease_end_time=until)
        free = or_(account_reads.c.lease_end_time <= func.clock_timestamp(), account_reads.c.reader == reader)
        taken = wanted.on_conflict_do_update(
            index_elements=["bot_id"], set_={"reader": reader, "lease_end_time": until}, where=free
        ).returning(func.clock_timestamp())
        async with self._database.transaction(concludes=False, wake=False) as connection:
            began: datetime | None = (await connection.execute(taken)).scalar_one_or_none()
        return began

    async def end(self, bot_id: str, reader: str) -> None:
        """See the port."""
        given = delete(account_reads).where(
            account_reads.c.bot_id == bot_id, account_reads.c.reader == reader
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(given)

    async def histories(self, found: Sequence[Post]) -> dict[str, History]:
        """See the port."""
        async with self._database.read() as connection:
            histories = await _calls(connection, found)
            looks = await _looks(connection, list(histories))
        return {
            post_id: replace(history, looks=len(looks[post_id]), clean_looks=sum(looks[post_id]))
            for post_id, history in histories.items()
        }

    async def being_sent(self, bot_id: str) -> list[Post]:
        """See the port."""
        query = select(posts).where(posts.c.state == PostState.PUBLISHING.value, posts.c.bot_id == bot_id)
        async with self._database.read() as connection:
            return await with_parts(connection, (await connection.execute(query)).all())

    async def adopted(self, x_post_ids: Collection[str]) -> set[str]:
        """See the port."""
        if not x_post_ids:
            return set()
        query = select(post_parts.c.x_post_id).where(post_parts.c.x_post_id.in_(x_post_ids))
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())


async def _calls(connection: AsyncConnection, found: Sequence[Post]) -> dict[str, History]:
    """What a person has said since then is settled: those calls count no more."""
    ahead = {post.id: (part.index, post.attempts_before) for post in found if (part := post.next_part)}
    query = (
        select(attempts).where(attempts.c.post_id.in_(ahead)).order_by(attempts.c.post_id, attempts.c.number)
    )
    calls: dict[str, list[Lost]] = {}
    for row in await connection.execute(query):
        index, before = ahead[row.post_id]
        outcome = None if row.outcome is None else AttemptOutcome(row.outcome)
        if row.part_index == index and row.number > before and outcome in OPEN:
            lost = Lost(row.started_time, row.finished_time or row.started_time, outcome)
            calls.setdefault(row.post_id, []).append(lost)
    return {post_id: History(lost) for post_id, lost in calls.items()}


async def _looks(connection: AsyncConnection, post_ids: Sequence[str]) -> dict[str, list[bool]]:
    """Looks since the last call, each whether it was clean."""
    kinds = (EntryKind.ATTEMPT_STARTED.value, EntryKind.RECONCILE_READ.value)
    query = (
        select(post_events.c.post_id, post_events.c.kind, post_events.c.details)
        .where(post_events.c.post_id.in_(post_ids), post_events.c.kind.in_(kinds))
        .order_by(post_events.c.post_id, post_events.c.sequence)
    )
    looks: dict[str, list[bool]] = {post_id: [] for post_id in post_ids}
    for post_id, kind, details in await connection.execute(query):
        if kind == EntryKind.ATTEMPT_STARTED.value:
            looks[post_id] = []
        else:
            looks[post_id].append(bool(details["reconcile"].get("clean")))
    return looks
