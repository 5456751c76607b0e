"""Windows, money and open switches within the publisher's transactions, a statement a batch each. The rules are in `domain/`.

Locks are taken in one order by all: posts, bots, apps (shared), windows, switches, sums. Whoever reserves holds the windows of bot and
app, so what it reads of sums and of calls in flight can only become less meanwhile.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain.limits import POST, SAME_END, Key, Report, Window, limits_of
from services.bot_manager.domain.model import AttemptOutcome, Bot, Charge, PostState
from services.bot_manager.domain.money import App, Breaker, Used, day_of, month_start, payer_of
from services.bot_manager.domain.reserving import Terms, Till, budgets_of
from services.bot_manager.domain.settling import Reserved, Settlement
from services.bot_manager.store.rows import to_app
from services.bot_manager.store.tables import attempts, bots, posts
from services.bot_manager.store.tables.money import apps, breakers, rate_limits, spend

KEEP_WINDOWS: Final = timedelta(days=1)
KEEP_SUMS: Final = timedelta(days=2 * 366)
_OPEN_WINDOWS: Final = text(
    "INSERT INTO rate_limits (owner_id, scope, operation, window_seconds, used, reset_time, reported)"
    " SELECT k.*, 0, CAST(:now AS timestamptz), false FROM unnest(CAST(:owners AS uuid[]),"
    " CAST(:scopes AS text[]), CAST(:operations AS text[]), CAST(:lengths AS int[])) AS k"
    " ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING"
)
_COUNT_IN_WINDOWS: Final = text(
    "UPDATE rate_limits r SET used = k.used, x_limit = k.x_limit, reset_time = k.reset_time,"
    " reported = k.reported FROM unnest(CAST(:owners AS uuid[]), CAST(:scopes AS text[]),"
    " CAST(:operations AS text[]), CAST(:lengths AS int[]), CAST(:used AS bigint[]),"
    " CAST(:x_limits AS int[]), CAST(:resets AS timestamptz[]), CAST(:reported AS boolean[]))"
    " AS k (owner_id, scope, operation, window_seconds, used, x_limit, reset_time, reported)"
    " WHERE r.owner_id = k.owner_id AND r.scope = k.scope AND r.operation = k.operation"
    " AND r.window_seconds = k.window_seconds"
)
_ADD_SUMS: Final = text(
    "INSERT INTO spend AS s (owner_id, day, spent_usd_micros, reserved_usd_micros, calls)"
    " SELECT * FROM unnest(CAST(:owners AS uuid[]), CAST(:days AS date[]), CAST(:spent AS bigint[]),"
    " CAST(:reserved AS bigint[]), CAST(:calls AS int[])) ORDER BY 1, 2"
    " ON CONFLICT (owner_id, day) DO UPDATE SET"
    " spent_usd_micros = s.spent_usd_micros + excluded.spent_usd_micros,"
    " reserved_usd_micros = s.reserved_usd_micros + excluded.reserved_usd_micros,"
    " calls = s.calls + excluded.calls"
)
_WINDOW_ORDER: Final = tuple(rate_limits.primary_key)
Sums = Mapping[tuple[str, date], int]
"""What was used of a day, reservations contained, by owner and day."""


async def open_till(
    connection: AsyncConnection, users: Collection[Bot], now: datetime, terms: Terms, known: Collection[Key]
) -> Till:
    """All that decides on calls of these bots, locked until the transaction ends. `known`: windows whose rows are there already."""
    found = await _shared_apps(connection, {bot.app_id for bot in users if bot.app_id})
    pairs = [(bot, found.get(bot.app_id)) for bot in users]
    keys = {key for bot, app in pairs for key in limits_of(bot, app, POST, terms.user_posts)}
    payers = {payer_of(bot) for bot in users}
    budgets = {owner_id for bot, app in pairs for owner_id in budgets_of(bot, app)}
    owners = {*payers, *(bot.id for bot in users)}
    # Rows that are to be locked have to be there first. Made before any is locked: whoever waits here for another's row holds none that
    # the other will want.
    await _open_windows(connection, keys.difference(known), now)
    return Till(
        now,
        terms,
        found,
        await _locked_windows(connection, owners, keys, now),
        await used_by(connection, owners, now, whole_month=budgets),
        await _locked_breakers(connection, payers),
        await _in_flight(connection, {app.id for app in found.values() if app.concurrent_calls is not None}),
    )


async def close_till(connection: AsyncConnection, till: Till) -> None:
    """Write what was set aside. Last of all, so that others wait for these rows as short as can be."""
    await _count(connection, {key: till.windows[key] for key in till.changed})
    for owner_id in sorted(till.probed):
        probed = breakers.update().where(breakers.c.owner_id == owner_id)
        await connection.execute(probed.values(retry_time=till.breakers[owner_id].retry_time))
    today = day_of(till.now)
    await add_sums(
        connection,
        {(owner_id, today): (0, cost, calls) for owner_id, (cost, calls) in till.taken.items()},
    )


async def add_sums(
    connection: AsyncConnection, added: Mapping[tuple[str, date], tuple[int, int, int]]
) -> None:
    """Add (spent, reserved, calls) by owner and day."""
    if not added:
        return
    columns = list(zip(*added.values(), strict=True))
    values = {
        "owners": [owner_id for owner_id, _ in added],
        "days": [day for _, day in added],
        "spent": list(columns[0]),
        "reserved": list(columns[1]),
        "calls": list(columns[2]),
    }
    await connection.execute(_ADD_SUMS, values)


async def used_on(connection: AsyncConnection, settlements: Sequence[Settlement]) -> Sums:
    """What is used of the days on which the calls began, for those to whom they are told."""
    wanted = {one.counted_for for one in settlements}
    if not wanted:
        return {}
    used = spend.c.spent_usd_micros + spend.c.reserved_usd_micros
    days = {one.reserved.day for one in settlements}
    query = select(spend.c.owner_id, spend.c.day, used)
    rows = await connection.execute(query.where(spend.c.owner_id.in_(wanted), spend.c.day.in_(days)))
    return {(row[0], row[1]): int(row[2]) for row in rows}


async def book(connection: AsyncConnection, settlements: Sequence[Settlement]) -> None:
    """Settle in the sums of the days on which the calls began."""
    added: dict[tuple[str, date], tuple[int, int, int]] = {}
    for one in settlements:
        for owner_id in one.owners:
            spent, reserved, calls = added.get((owner_id, one.reserved.day), (0, 0, 0))
            added[owner_id, one.reserved.day] = (
                spent + one.spent,
                reserved - one.freed,
                calls - (not one.called),
            )
    await add_sums(connection, added)


async def hear(connection: AsyncConnection, found: Mapping[Key, Report], now: datetime) -> None:
    """Tighten windows by what X said. `Report.over` in SQL, since nothing is locked before."""
    if not found:
        return
    statement = insert(rate_limits).values(
        [
            {**_key_values(key), "used": one.used, "x_limit": one.x_limit, "reset_time": one.reset_time}
            | {"reported": True}
            for key, one in sorted(found.items())
        ]
    )
    told = statement.excluded
    over = rate_limits.c.reset_time <= now
    stale = rate_limits.c.reported & (told.reset_time < rate_limits.c.reset_time - SAME_END)
    news = (
        ~rate_limits.c.reported
        | (told.used > rate_limits.c.used)
        | (told.reset_time > rate_limits.c.reset_time + SAME_END)
        | (told.x_limit.is_distinct_from(rate_limits.c.x_limit) & told.x_limit.is_not(None))
    )
    used = case((over, told.used), else_=func.greatest(rate_limits.c.used, told.used))
    tightened = {
        "used": used,
        "x_limit": func.coalesce(told.x_limit, rate_limits.c.x_limit),
        "reset_time": told.reset_time,
        "reported": True,
    }
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(rate_limits.primary_key), set_=tightened, where=~stale & news
        )
    )


async def windows_of(connection: AsyncConnection, keys: Collection[Key], now: datetime) -> dict[Key, Window]:
    """Windows as they are stored; those that are over are left out."""
    if not keys:
        return {}
    owners = {key.owner_id for key in keys}
    query = select(rate_limits).where(rate_limits.c.owner_id.in_(owners), rate_limits.c.reset_time > now)
    found = dict(map(to_window, await connection.execute(query)))
    return {key: found[key] for key in keys if key in found}


async def open_breakers(connection: AsyncConnection, found: Iterable[Breaker]) -> list[Breaker]:
    """Stop calls for owners, or stop them for longer. Those that were not stopped before."""
    opened = []
    for one in sorted(found, key=lambda breaker: breaker.owner_id):
        statement = insert(breakers).values(
            owner_id=one.owner_id,
            reason=one.reason,
            message=one.message,
            open_time=one.open_time,
            retry_time=one.retry_time,
        )
        again = {name: statement.excluded[name] for name in ("reason", "message", "retry_time")}
        written = statement.on_conflict_do_update(index_elements=["owner_id"], set_=again)
        row = (await connection.execute(written.returning(breakers.c.open_time))).one()
        if row.open_time == one.open_time:
            opened.append(one)
    return opened


async def close_breakers(connection: AsyncConnection, owner_ids: Collection[str]) -> list[str]:
    """Let calls of owners go again. Those that were stopped."""
    if not owner_ids:
        return []
    gone = delete(breakers).where(breakers.c.owner_id.in_(owner_ids)).returning(breakers.c.owner_id)
    return list((await connection.execute(gone)).scalars())


async def reserved_of(
    connection: AsyncConnection, condition: ColumnElement[bool]
) -> dict[str, list[Reserved]]:
    """Attempts with what was set aside for them, by post and in their order."""
    query = (
        select(attempts, posts.c.bot_id)
        .join(posts, posts.c.id == attempts.c.post_id)
        .where(condition)
        .order_by(attempts.c.post_id, attempts.c.number)
    )
    found: dict[str, list[Reserved]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.post_id, []).append(_to_reserved(row))
    return found


async def costs_of(connection: AsyncConnection, post_ids: Collection[str]) -> dict[str, int]:
    """What was booked for posts."""
    if not post_ids:
        return {}
    total = func.coalesce(func.sum(attempts.c.settled_usd_micros), 0)
    query = select(attempts.c.post_id, total).where(attempts.c.post_id.in_(post_ids))
    return {row[0]: int(row[1]) for row in await connection.execute(query.group_by(attempts.c.post_id))}


async def used_by(
    connection: AsyncConnection,
    owner_ids: Collection[str],
    now: datetime,
    *,
    whole_month: Collection[str] | None = None,
) -> dict[str, Used]:
    """What owners have used of today and of this month; of the month for `whole_month` only, if that is given."""
    if not owner_ids:
        return {}
    used = spend.c.spent_usd_micros + spend.c.reserved_usd_micros
    today = spend.c.day == day_of(now)
    days = spend.c.day >= month_start(now)
    if whole_month is not None:
        days = or_(today, and_(days, spend.c.owner_id.in_(whole_month))) if whole_month else today
    query = select(spend.c.owner_id, func.coalesce(func.sum(used).filter(today), 0), func.sum(used))
    rows = await connection.execute(
        query.where(spend.c.owner_id.in_(owner_ids), days).group_by(spend.c.owner_id)
    )
    found = {row[0]: Used(int(row[1]), int(row[2])) for row in rows}
    return {owner_id: found.get(owner_id, Used()) for owner_id in owner_ids}


async def prune_money(connection: AsyncConnection, now: datetime) -> None:
    """Remove windows that ended long ago, and old sums."""
    await connection.execute(delete(rate_limits).where(rate_limits.c.reset_time < now - KEEP_WINDOWS))
    await connection.execute(delete(spend).where(spend.c.day < day_of(now - KEEP_SUMS)))


async def _shared_apps(connection: AsyncConnection, ids: Collection[str]) -> dict[str, App]:
    """The apps, which nobody changes until the transaction ends: once UpdateApp has committed PAUSED, no intent follows."""
    if not ids:
        return {}
    query = select(apps).where(apps.c.id.in_(ids)).order_by(apps.c.id).with_for_update(read=True)
    return {row.id: to_app(row) for row in await connection.execute(query)}


async def _locked_windows(
    connection: AsyncConnection, owner_ids: Collection[str], keys: set[Key], now: datetime
) -> dict[Key, Window]:
    query = (
        select(rate_limits)
        .where(rate_limits.c.owner_id.in_(owner_ids), rate_limits.c.operation == POST)
        .order_by(*_WINDOW_ORDER)
        .with_for_update()
    )
    found = dict(map(to_window, await connection.execute(query)))
    if keys - found.keys():
        # Housekeeping has removed them meanwhile.
        await _open_windows(connection, keys - found.keys(), now)
        found = dict(map(to_window, await connection.execute(query)))
    return found


async def _open_windows(connection: AsyncConnection, keys: Collection[Key], now: datetime) -> None:
    if keys:
        await connection.execute(_OPEN_WINDOWS, _key_arrays(sorted(keys)) | {"now": now})


async def _locked_breakers(connection: AsyncConnection, owner_ids: Collection[str]) -> dict[str, Breaker]:
    query = select(breakers).where(breakers.c.owner_id.in_(owner_ids)).order_by(breakers.c.owner_id)
    return {row.owner_id: to_breaker(row) for row in await connection.execute(query.with_for_update())}


async def _in_flight(connection: AsyncConnection, app_ids: Collection[str]) -> dict[str, int]:
    """Calls under way. Only for apps that limit them."""
    if not app_ids:
        return {}
    query = (
        select(bots.c.app_id, func.count())
        .join(posts, posts.c.bot_id == bots.c.id)
        .where(bots.c.app_id.in_(app_ids), posts.c.state == PostState.PUBLISHING.value)
    )
    found = {row[0]: int(row[1]) for row in await connection.execute(query.group_by(bots.c.app_id))}
    return {app_id: found.get(app_id, 0) for app_id in app_ids}


async def _count(connection: AsyncConnection, changed: Mapping[Key, Window]) -> None:
    if not changed:
        return
    windows = list(changed.values())
    values = _key_arrays(list(changed)) | {
        "used": [window.used for window in windows],
        "x_limits": [window.x_limit for window in windows],
        "resets": [window.reset_time for window in windows],
        "reported": [window.reported for window in windows],
    }
    await connection.execute(_COUNT_IN_WINDOWS, values)


def to_window(row: Row[Any]) -> tuple[Key, Window]:
    """A row of `rate_limits`."""
    key = Key(row.owner_id, row.scope, row.operation, timedelta(seconds=row.window_seconds))
    return key, Window(row.used, row.reset_time, row.x_limit, row.reported)


def to_breaker(row: Row[Any]) -> Breaker:
    """A row of `breakers`."""
    return Breaker(row.owner_id, row.reason, row.message, row.open_time, row.retry_time)


def _to_reserved(row: Row[Any]) -> Reserved:
    return Reserved(
        row.id,
        row.bot_id,
        row.part_index,
        Charge(row.cost_usd_micros, row.app_id or "", row.bot_id),
        day_of(row.started_time),
        None if row.outcome is None else AttemptOutcome(row.outcome),
        row.settled_usd_micros,
    )


def _key_values(key: Key) -> dict[str, Any]:
    return {
        "owner_id": key.owner_id,
        "scope": key.scope,
        "operation": key.operation,
        "window_seconds": round(key.length.total_seconds()),
    }


def _key_arrays(keys: Sequence[Key]) -> dict[str, Any]:
    return {
        "owners": [key.owner_id for key in keys],
        "scopes": [key.scope for key in keys],
        "operations": [key.operation for key in keys],
        "lengths": [round(key.length.total_seconds()) for key in keys],
    }
