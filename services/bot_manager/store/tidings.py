"""What people hear of money and limits, told in the transaction that makes it true: to those who watch, to webhooks, and to the log.

There is nothing to do but once in a while, so publishing pays nothing for it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from loguru import logger
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import once_committed
from services.bot_manager.domain.limits import Full
from services.bot_manager.domain.money import Breaker, day_of, month_start
from services.bot_manager.domain.notices import of_closing, of_crossing, of_limit, of_opening
from services.bot_manager.domain.quota import Sum
from services.bot_manager.domain.reserving import Crossing, Till
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.tables.money import apps, spend


async def tell_till(connection: AsyncConnection, till: Till, now: datetime) -> None:
    """Budgets that have passed the percentage at which they warn or are used up, and windows that are. Before the till is closed."""
    if till.crossings:
        before = await _reserved(connection, {one.owner_id for one in till.crossings}, now)
        told = [of_crossing(one, _sum(one, before, till)) for one in till.crossings]
        await announce(connection, now, *told)
        for one in till.crossings:
            await once_committed(connection, partial(_log_crossing, one))
    await tell_limits(connection, till.full, now)


async def tell_limits(connection: AsyncConnection, found: Sequence[Full], now: datetime) -> None:
    """Windows that have no calls left."""
    if not found:
        return
    fleet = await _apps_among(connection, {one.key.owner_id for one in found})
    await announce(connection, now, *(of_limit(one, of_app=one.key.owner_id in fleet) for one in found))
    for one in found:
        await once_committed(connection, partial(_log_limit, one))


async def tell_breakers(
    connection: AsyncConnection, opened: Sequence[Breaker], closed: Sequence[str], now: datetime
) -> None:
    """Switches that were opened and closed."""
    if not opened and not closed:
        return
    fleet = await _apps_among(connection, {*(one.owner_id for one in opened), *closed})
    told = [of_opening(one, of_app=one.owner_id in fleet) for one in opened]
    told += [of_closing(owner_id, of_app=owner_id in fleet) for owner_id in closed]
    await announce(connection, now, *told)
    for breaker in opened:
        await once_committed(connection, partial(_log_opened, breaker))
    for owner_id in closed:
        await once_committed(connection, partial(_log_closed, owner_id))


async def _apps_among(connection: AsyncConnection, owner_ids: Collection[str]) -> set[str]:
    """Those that are apps; the others are bots without one."""
    query = select(apps.c.id).where(apps.c.id.in_(owner_ids))
    return set((await connection.execute(query)).scalars())


async def _reserved(
    connection: AsyncConnection, owner_ids: Collection[str], now: datetime
) -> dict[str, tuple[int, int]]:
    """What is set aside of this month, and today's calls, as they are stored."""
    calls = func.sum(spend.c.calls).filter(spend.c.day == day_of(now))
    query = (
        select(spend.c.owner_id, func.sum(spend.c.reserved_usd_micros), func.coalesce(calls, 0))
        .where(spend.c.owner_id.in_(owner_ids), spend.c.day >= month_start(now))
        .group_by(spend.c.owner_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in await connection.execute(query)}


def _sum(crossing: Crossing, before: Mapping[str, tuple[int, int]], till: Till) -> Sum:
    reserved, calls = before.get(crossing.owner_id, (0, 0))
    taken, more = till.taken.get(crossing.owner_id, (0, 0))
    return Sum(crossing.used.today, crossing.used.month, reserved + taken, calls + more)


def _log_crossing(one: Crossing) -> None:
    log = logger.bind(owner_id=one.owner_id, of_app=one.of_app, share=round(one.budget.share(one.used), 3))
    if one.exhausted:
        log.warning("budget used up")
    else:
        log.warning("budget nearly used up")


def _log_limit(one: Full) -> None:
    key = one.key
    logger.bind(
        owner_id=key.owner_id, scope=key.scope, operation=key.operation, until=one.reset_time.isoformat()
    ).info("limit of X used up")


def _log_opened(breaker: Breaker) -> None:
    logger.bind(
        owner_id=breaker.owner_id, reason=breaker.reason, retry_time=breaker.retry_time.isoformat()
    ).warning("calls to X stopped")


def _log_closed(owner_id: str) -> None:
    logger.bind(owner_id=owner_id).info("calls to X go on")
