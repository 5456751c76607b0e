"""The time that all replicas agree on."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def database_time(connection: AsyncConnection) -> datetime:
    """What the database's clock shows, not when the transaction began: it may have waited for a lock since."""
    time: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return time
