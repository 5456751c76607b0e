"""What QuotaService reads, and what counts calls other than posts, on PostgreSQL."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import Clock
from mesh.database import Database
from services.bot_manager.domain.limits import LIMITS, USER, Key, Window
from services.bot_manager.domain.model import Bot, BotState, PartState, PostState
from services.bot_manager.domain.money import App, Breaker, Used, day_of, month_start
from services.bot_manager.domain.quota import Sum, Upcoming
from services.bot_manager.domain.reserving import Terms
from services.bot_manager.money.counting import PRICE, Called, Count
from services.bot_manager.store.money import add_sums, to_breaker, to_window, used_by
from services.bot_manager.store.rows import to_app
from services.bot_manager.store.tables import bots, post_parts, posts
from services.bot_manager.store.tables.money import apps, breakers, rate_limits, spend

WAITING: Final = (PostState.SCHEDULED, PostState.PENDING_APPROVAL, PostState.CLAIMED)
MOST_UPCOMING: Final = 10_000
"""Posts that a forecast looks at, the earliest first."""


class PostgresQuota:
    """Implements `money.prices.Sums`, `domain.quota.QuotaStore` and `money.counting.Till`."""

    def __init__(self, database: Database, terms: Callable[[], Terms], clock: Clock) -> None:
        self._database = database
        self._terms = terms
        self._clock = clock

    async def used(self, owner_ids: Collection[str], now: datetime) -> Mapping[str, Used]:
        """See the port."""
        async with self._database.read() as connection:
            return await used_by(connection, owner_ids, now)

    async def sums(self, owner_ids: Collection[str], now: datetime) -> Mapping[str, Sum]:
        """See the port."""
        today = spend.c.day == day_of(now)
        used = spend.c.spent_usd_micros + spend.c.reserved_usd_micros
        query = (
            select(
                spend.c.owner_id,
                _sum(used, today),
                func.sum(used),
                func.sum(spend.c.reserved_usd_micros),
                _sum(spend.c.calls, today),
            )
            .where(spend.c.owner_id.in_(owner_ids), spend.c.day >= month_start(now))
            .group_by(spend.c.owner_id)
        )
        async with self._database.read() as connection:
            found = {row[0]: Sum(*map(int, row[1:])) for row in await connection.execute(query)}
        return {owner_id: found.get(owner_id, Sum()) for owner_id in owner_ids}

    async def windows(self, owner_ids: Collection[str]) -> Mapping[Key, Window]:
        """See the port."""
        query = select(rate_limits).where(rate_limits.c.owner_id.in_(owner_ids))
        async with self._database.read() as connection:
            return dict(map(to_window, await connection.execute(query)))

    async def breaker(self, owner_id: str) -> Breaker | None:
        """See the port."""
        query = select(breakers).where(breakers.c.owner_id == owner_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else to_breaker(row)

    async def upcoming(self, bot: Bot, until: datetime) -> Sequence[Upcoming]:
        """See the port."""
        price = await self._price(bot.app_id) if bot.app_id else self._terms().prices.post
        cost = case((posts.c.cost_usd_micros > 0, posts.c.cost_usd_micros), else_=price * func.count())
        owner = bots.c.app_id == bot.app_id if bot.app_id else bots.c.id == bot.id
        query = (
            select(posts.c.bot_id, posts.c.due_time, cost, func.count())
            .join(bots, bots.c.id == posts.c.bot_id)
            .join(post_parts, post_parts.c.post_id == posts.c.id)
            .where(
                owner,
                bots.c.state != BotState.ARCHIVED.value,
                posts.c.state.in_([state.value for state in WAITING]),
                posts.c.due_time < until,
                post_parts.c.state != PartState.PUBLISHED.value,
            )
            .group_by(posts.c.id)
            .order_by(posts.c.due_time, posts.c.id)
            .limit(MOST_UPCOMING)
        )
        async with self._database.read() as connection:
            return [Upcoming(row[0], row[1], int(row[2])) for row in await connection.execute(query)]

    async def add(self, counts: Mapping[Called, Count]) -> None:
        """See the port."""
        now = self._clock.now()
        async with self._database.transaction(concludes=False, wake=False) as connection:
            payers = await _payers(connection, {called.bot_id for called in counts})
            windows: dict[Key, int] = {}
            sums: dict[tuple[str, Any], tuple[int, int, int]] = {}
            for called, count in counts.items():
                app = payers.get(called.bot_id)
                table = self._terms().prices.over(app.prices if app else None)
                cost = PRICE[called.operation](table) * count.units
                app_id = app.id if app else ""
                for owner_id in {called.bot_id, app_id} - {""}:
                    spent, reserved, calls = sums.get((owner_id, day_of(now)), (0, 0, 0))
                    sums[owner_id, day_of(now)] = spent + cost, reserved, calls + count.calls
                for key in _keys(called, app_id):
                    windows[key] = windows.get(key, 0) + count.calls
            await _use(connection, windows, now)
            await add_sums(connection, sums)

    async def _price(self, app_id: str) -> int:
        async with self._database.read() as connection:
            app = (await _apps(connection, {app_id})).get(app_id)
        return self._terms().prices.over(app.prices if app else None).post


def _sum(column: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column).filter(condition), 0)


async def _apps(connection: AsyncConnection, ids: Collection[str]) -> dict[str, App]:
    query = select(apps).where(apps.c.id.in_(ids))
    return {row.id: to_app(row) for row in await connection.execute(query)} if ids else {}


async def _payers(connection: AsyncConnection, bot_ids: Collection[str]) -> dict[str, App]:
    """The apps of bots that have one, by bot."""
    query = select(bots.c.id.label("bot_id"), apps).join(apps, apps.c.id == bots.c.app_id)
    rows = await connection.execute(query.where(bots.c.id.in_(bot_ids)))
    return {row.bot_id: to_app(row) for row in rows}


def _keys(called: Called, app_id: str) -> list[Key]:
    """The windows that a call counts in; those of the app only if there is one."""
    found = []
    for limit in LIMITS[called.operation]:
        owner_id = called.bot_id if limit.scope == USER else app_id
        if owner_id:
            found.append(Key(owner_id, limit.scope, called.operation, limit.length))
    return found


async def _use(connection: AsyncConnection, windows: Mapping[Key, int], now: datetime) -> None:
    """Count calls in windows, beginning new ones where the old are over."""
    statement = insert(rate_limits).values(
        [
            {
                "owner_id": key.owner_id,
                "scope": key.scope,
                "operation": key.operation,
                "window_seconds": round(key.length.total_seconds()),
                "used": calls,
                "reset_time": now + key.length,
                "reported": False,
            }
            for key, calls in sorted(windows.items())
        ]
    )
    over = rate_limits.c.reset_time <= now
    told = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(rate_limits.primary_key),
            set_={
                "used": case((over, told.used), else_=rate_limits.c.used + told.used),
                "reset_time": case((over, told.reset_time), else_=rate_limits.c.reset_time),
                "reported": rate_limits.c.reported & ~over,
            },
        )
    )
