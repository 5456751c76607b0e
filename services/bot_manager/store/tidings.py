"""What people should hear of money and limits: told once the transaction that makes it true is committed."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import once_committed
from services.bot_manager.domain.money import Breaker
from services.bot_manager.domain.reserving import Crossing, Till


async def tell_crossings(connection: AsyncConnection, till: Till, now: datetime) -> None:
    """Budgets that have passed the percentage at which they warn, or are used up."""
    for one in till.crossings:
        await once_committed(connection, partial(_log_crossing, one))


async def tell_breakers(
    connection: AsyncConnection, opened: Sequence[Breaker], closed: Sequence[str], now: datetime
) -> None:
    """Switches that were opened and closed."""
    for breaker in opened:
        await once_committed(connection, partial(_log_opened, breaker))
    for owner_id in closed:
        await once_committed(connection, partial(_log_closed, owner_id))


def _log_crossing(one: Crossing) -> None:
    log = logger.bind(owner_id=one.owner_id, of_app=one.of_app, share=round(one.budget.share(one.used), 3))
    if one.exhausted:
        log.warning("budget used up")
    else:
        log.warning("budget nearly used up")


def _log_opened(breaker: Breaker) -> None:
    logger.bind(
        owner_id=breaker.owner_id, reason=breaker.reason, retry_time=breaker.retry_time.isoformat()
    ).warning("calls to X stopped")


def _log_closed(owner_id: str) -> None:
    logger.bind(owner_id=owner_id).info("calls to X go on")
