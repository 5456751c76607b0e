"""Deliveries on PostgreSQL: made of events, taken one by one by whoever sends them, settled, listed.

Taking moves the due time on and counts the attempt, so no two replicas make the same one, and one whose maker died is due again. What
it came to is written only while that attempt is the last.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Row, Select, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import NotFound
from services.bot_manager.domain.happenings import EventType, webhook_disabled
from services.bot_manager.domain.watching import Batch, Place
from services.bot_manager.domain.webhooks import Attempt, Delivery, DeliveryState, Webhook, WebhookState
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.tables.news import (
    webhook_attempts,
    webhook_cursor,
    webhook_deliveries,
    webhooks,
)
from services.bot_manager.store.webhooks import active_webhooks, read_webhook, to_webhook, write_webhook

SHOWN_ATTEMPTS: Final = 20
_PENDING: Final = webhook_deliveries.c.state == DeliveryState.PENDING.value

Read = Callable[[Place], Awaitable[Batch]]
Make = Callable[[Batch, Sequence[Webhook]], Sequence[Delivery]]


class PostgresDeliveries:
    """Every method raises Unavailable or DeadlineExceeded if the database cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def advance(self, begin: Place, newest: Place, read: Read, make: Make) -> bool:
        """Turn the next events into deliveries; whether there may be more. One replica at a time; the others pass on at once.

        `begin` is where to start the first time. `newest` is a tick that was made before: what lies up to it is passed over unread while
        there is no webhook, since none that is made from now on wants it. Raises what `read` raises.
        """
        async with self._database.transaction(concludes=False, wake=False) as connection:
            place = await _cursor(connection, begin)
            if place is None:
                return False
            wanting = await active_webhooks(connection)
            if not wanting:
                if place.tick < newest.tick:
                    await _move(connection, newest)
                return False
            batch = await read(place)
            made = make(batch, wanting)
            if made:
                await connection.execute(
                    insert(webhook_deliveries).on_conflict_do_nothing(), [_values(one) for one in made]
                )
            await _move(connection, batch.place)
        return batch.place != place

    async def restart(self, place: Place) -> None:
        """Go on from there."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await _move(connection, place)

    async def due(self, now: datetime) -> list[Webhook]:
        """Webhooks that may be called and for which a delivery is due."""
        waiting = exists().where(
            webhook_deliveries.c.webhook_id == webhooks.c.id, _PENDING, webhook_deliveries.c.due_time <= now
        )
        rested = or_(webhooks.c.rest_end_time.is_(None), webhooks.c.rest_end_time <= now)
        query = select(webhooks).where(webhooks.c.state == WebhookState.ACTIVE.value, rested, waiting)
        async with self._database.read() as connection:
            return [to_webhook(row) for row in await connection.execute(query)]

    async def take(self, webhook_id: str, now: datetime, lease: timedelta, limit: int) -> list[Delivery]:
        """The caller attempts these until `now + lease`; what it does not settle by then is due again."""
        chosen = (
            select(webhook_deliveries.c.id)
            .where(
                webhook_deliveries.c.webhook_id == webhook_id, _PENDING, webhook_deliveries.c.due_time <= now
            )
            .order_by(webhook_deliveries.c.due_time, webhook_deliveries.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.id.in_(chosen))
            .values(due_time=now + lease, attempt_count=webhook_deliveries.c.attempt_count + 1)
            .returning(*webhook_deliveries.c)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            return [_delivery(row) for row in await connection.execute(statement)]

    async def settle(
        self, delivery: Delivery, attempt: Attempt, judge: Callable[[Webhook], Webhook], now: datetime
    ) -> Webhook | None:
        """Write an attempt and what became of the delivery; the webhook as `judge` leaves it. None: somebody else made a later attempt."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            if not await _write_settled(connection, delivery):
                return None
            await connection.execute(insert(webhook_attempts), [_attempt_values(delivery.id, attempt)])
            before = await read_webhook(connection, delivery.webhook_id, lock=True)
            after = judge(before)
            if after is not before:
                await write_webhook(connection, after)
            if before.state is not after.state:
                message = f"the webhook {after.display_name} is not called any more: {after.state_message}"
                await announce(connection, now, webhook_disabled(after.id, message))
        return after

    async def put_off(self, delivery: Delivery, due: datetime) -> None:
        """Undo the taking: nothing was sent."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(
                update(webhook_deliveries)
                .where(*_of_this_attempt(delivery))
                .values(due_time=due, attempt_count=delivery.attempt_count - 1)
            )

    async def add(self, delivery: Delivery) -> None:
        """Store one that no event made. Raises NotFound (WEBHOOK_NOT_FOUND)."""
        async with self._database.transaction() as connection:
            await read_webhook(connection, delivery.webhook_id)
            await connection.execute(insert(webhook_deliveries), [_values(delivery)])

    async def get(self, delivery_id: str) -> Delivery:
        """With its attempts. Raises NotFound (WEBHOOK_DELIVERY_NOT_FOUND)."""
        query = select(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id)
        async with self._database.read() as connection:
            found = await _with_attempts(connection, query)
        if not found:
            raise NotFound(
                "WEBHOOK_DELIVERY_NOT_FOUND", "no such delivery", metadata={"deliveryId": delivery_id}
            )
        return found[0]

    async def list(
        self, webhook_id: str, state: DeliveryState | None, after: str, limit: int
    ) -> list[Delivery]:
        """Newest first, behind the one with the id `after`; empty for the beginning. Raises NotFound (WEBHOOK_NOT_FOUND)."""
        query = select(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id)
        if state is not None:
            query = query.where(webhook_deliveries.c.state == state.value)
        if after:
            query = query.where(webhook_deliveries.c.id < after)
        async with self._database.read() as connection:
            await read_webhook(connection, webhook_id)
            return await _with_attempts(
                connection, query.order_by(webhook_deliveries.c.id.desc()).limit(limit)
            )

    async def prune(self, before: datetime) -> None:
        """Forget deliveries that are older."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(
                delete(webhook_deliveries).where(webhook_deliveries.c.create_time < before)
            )


async def _cursor(connection: AsyncConnection, begin: Place) -> Place | None:
    """The place so far, locked; None while another replica has it."""
    first = {"id": 1, "tick": begin.tick, "number": begin.number, "upper": begin.upper}
    await connection.execute(insert(webhook_cursor).values(first).on_conflict_do_nothing())
    query = select(webhook_cursor).with_for_update(skip_locked=True)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Place(row.tick, row.number, row.upper)


async def _move(connection: AsyncConnection, place: Place) -> None:
    values = {"tick": place.tick, "number": place.number, "upper": place.upper}
    await connection.execute(update(webhook_cursor).values(values))


async def _write_settled(connection: AsyncConnection, delivery: Delivery) -> bool:
    written = await connection.execute(
        update(webhook_deliveries)
        .where(*_of_this_attempt(delivery))
        .values(state=delivery.state.value, due_time=delivery.due_time, end_time=delivery.end_time)
    )
    return written.rowcount == 1


def _of_this_attempt(delivery: Delivery) -> tuple[Any, ...]:
    return (
        webhook_deliveries.c.id == delivery.id,
        webhook_deliveries.c.attempt_count == delivery.attempt_count,
        _PENDING,
    )


async def _with_attempts(connection: AsyncConnection, query: Select[Any]) -> list[Delivery]:
    rows = (await connection.execute(query)).all()
    attempts = (
        select(webhook_attempts)
        .where(webhook_attempts.c.delivery_id.in_([row.id for row in rows]))
        .order_by(webhook_attempts.c.delivery_id, webhook_attempts.c.number)
    )
    found = (await connection.execute(attempts)).all() if rows else ()
    of = {key: list(group)[-SHOWN_ATTEMPTS:] for key, group in groupby(found, lambda row: row.delivery_id)}
    return [_delivery(row, of.get(row.id, ())) for row in rows]


def _values(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type.value,
        "body": delivery.body,
        "state": delivery.state.value,
        "attempt_count": delivery.attempt_count,
        "due_time": delivery.due_time,
        "replay_of": delivery.replay_of or None,
        "create_time": delivery.create_time,
        "end_time": delivery.end_time,
    }


def _delivery(row: Row[Any], attempts: Sequence[Row[Any]] = ()) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_type=EventType(row.event_type),
        body=row.body,
        create_time=row.create_time,
        state=DeliveryState(row.state),
        attempt_count=row.attempt_count,
        due_time=row.due_time,
        replay_of=row.replay_of or "",
        end_time=row.end_time,
        attempts=[_attempt(one) for one in attempts],
    )


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        number=row.number,
        time=row.time,
        latency=timedelta(milliseconds=row.latency_ms),
        http_status=row.http_status,
        error=row.error,
        response_excerpt=row.response_excerpt,
    )


def _attempt_values(delivery_id: str, attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "number": attempt.number,
        "time": attempt.time,
        "latency_ms": round(attempt.latency / timedelta(milliseconds=1)),
        "http_status": attempt.http_status,
        "error": attempt.error,
        "response_excerpt": attempt.response_excerpt,
    }
