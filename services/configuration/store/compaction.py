"""Drops the oldest part of the history in small steps, each one transaction. Implements `ports.Compaction`.

A step moves `oldest_revision` forward to R and, with it, removes the revisions up to R and every change up to R that a newer one up to R
has replaced. The newest change of each setting, definition, role and binding stays, unless it removed the thing or reset the value:
the state at R, and at every later revision, can be told as before. Whoever reads sees all of a step or nothing of it.
"""

from datetime import datetime

from sqlalchemy import delete, func, select, update

from mesh.database import Database
from services.configuration.domain.retention import Retention
from services.configuration.store.log import LogTable
from services.configuration.store.tables import changes, config_head, revisions

COMPACTION_LOCK = 0x636F6D7061637431
"""Any constant of our own; advisory locks have numbers for names."""


class PostgresCompaction:
    """Implements `ports.Compaction`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def step(self, retention: Retention, now: datetime) -> bool:
        """See the port."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            mine = select(func.pg_try_advisory_xact_lock(COMPACTION_LOCK))
            if not (await connection.execute(mine)).scalar_one():
                return False
            head = await LogTable(connection).locked_head()
            first, upto = head.oldest_revision, retention.reach(head)
            made_before = retention.made_before(now)
            if upto > first and made_before is not None:
                aged = select(func.max(revisions.c.revision)).where(
                    revisions.c.revision > first,
                    revisions.c.revision <= upto,
                    revisions.c.create_time <= made_before,
                )
                upto = (await connection.execute(aged)).scalar_one() or first
            if upto <= first:
                return False
            newer = changes.alias("newer")
            await connection.execute(
                delete(changes).where(
                    newer.c.revision > first,  # only what this step brings can replace anything
                    newer.c.revision <= upto,
                    newer.c.kind == changes.c.kind,
                    newer.c.subject == changes.c.subject,
                    newer.c.revision > changes.c.revision,
                )
            )
            await connection.execute(
                delete(changes).where(
                    changes.c.revision > first, changes.c.revision <= upto, changes.c.new.is_(None)
                )
            )
            await connection.execute(delete(revisions).where(revisions.c.revision <= upto))
            await connection.execute(update(config_head).values(oldest_revision=upto))
            return True
