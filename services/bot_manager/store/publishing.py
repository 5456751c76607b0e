"""What the publisher asks of the record beside the ledger: small queries on indexes that hold only what is needed."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import func, select

from mesh.database import Database
from services.bot_manager.domain.lifecycle import LEASED
from services.bot_manager.domain.model import AttemptOutcome
from services.bot_manager.store.tables import attempts, posts


class PublishingQueries(Protocol):
    """The publisher's questions."""

    async def earlier_outcomes(
        self, post_id: str, part_index: int, before: int, after: int = 0
    ) -> Sequence[AttemptOutcome | None]:
        """What became of the calls for a part with a number above `after` and below `before`, in order; None where nobody knows yet."""
        ...

    async def held_count(self) -> int:
        """Posts that workers hold, over all replicas."""
        ...


class PostgresPublishingQueries:
    """Implements PublishingQueries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def earlier_outcomes(
        self, post_id: str, part_index: int, before: int, after: int = 0
    ) -> list[AttemptOutcome | None]:
        """See the port."""
        query = (
            select(attempts.c.outcome)
            .where(
                attempts.c.post_id == post_id,
                attempts.c.part_index == part_index,
                attempts.c.number < before,
                attempts.c.number > after,
            )
            .order_by(attempts.c.number)
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [None if outcome is None else AttemptOutcome(outcome) for outcome in found]

    async def held_count(self) -> int:
        """See the port."""
        query = select(func.count()).where(posts.c.state.in_([state.value for state in LEASED]))
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())
