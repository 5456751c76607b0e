"""Removes what is only kept for a while: request ids after a day, connect flows after their ten minutes, windows of limits a day after their
end, sums of money after two years, media that neither posts nor schedules need. Every replica may do it; doing it twice does no harm."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import MeshError
from services.bot_manager.store.connects import prune_connects
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.money import prune_money
from services.bot_manager.store.requests import prune_requests

INTERVAL: Final = timedelta(hours=1)
MEDIA_BATCH: Final = 4
"""Files deleted in one transaction: the largest have hundreds of pieces each."""


async def prune(
    database: Database, library: PostgresLibrary, keep: Callable[[], timedelta], clock: Clock
) -> None:
    """Prune every hour until cancelled; a database that is away is tried again next time."""
    while True:
        try:
            async with database.transaction(concludes=False, wake=False) as connection:
                await prune_requests(connection, clock.now())
                await prune_connects(connection, clock.now())
                await prune_money(connection, clock.now())
            await prune_media(library, keep(), clock)
        except MeshError as error:
            logger.bind(reason=error.reason).warning("what is over was not pruned")
        await clock.sleep(INTERVAL)


async def prune_media(library: PostgresLibrary, keep: timedelta, clock: Clock) -> None:
    """Delete all files whose time is up and that neither a post nor a schedule needs."""
    count = 0
    while pruned := await library.prune(clock.now(), keep, MEDIA_BATCH):
        count += pruned
    if count:
        logger.bind(count=count).info("media deleted")
