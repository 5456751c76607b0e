"""The publisher's side of posts on PostgreSQL. Implements `ports.PostLedger`.

Each method: lock the posts (claiming skips what others have locked), ask `domain/ledger.py` what becomes of them, write that with
their story, commit. Claims send their actions through the outbox in the same transaction, so a worker hears of every claim that was
committed and of no other. A post is locked before its bot is read; the bot's row is shared, so that once PauseBot has committed no
intent follows, nor once UpdateApp has paused its app. Money and rate limits are counted in the same transactions (`store/money.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import AlreadyExists
from mesh.ids import new_id
from mesh.outbox import outbox
from services.bot_manager.domain import ledger
from services.bot_manager.domain.lifecycle import LEASED
from services.bot_manager.domain.limits import Key, Window
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    AttemptOutcome,
    Bot,
    BotState,
    Change,
    Charge,
    Entry,
    Failure,
    Post,
    PostState,
)
from services.bot_manager.domain.money import AppState
from services.bot_manager.domain.reserving import Terms, Till
from services.bot_manager.domain.settling import reserved_entry
from services.bot_manager.store.bulk import insert_rows, one_of, update_rows
from services.bot_manager.store.money import book, close_till, open_till
from services.bot_manager.store.ports import (
    PUBLISH_SUBJECT,
    Claim,
    ClaimedPost,
    Finish,
    Intent,
    Refusal,
    Release,
    Wait,
)
from services.bot_manager.store.rows import attempt_values, to_bot, to_post
from services.bot_manager.store.settling import conclude, with_costs
from services.bot_manager.store.tables import attempts, bots, post_events, post_parts, posts
from services.bot_manager.store.tables.money import apps, breakers
from services.bot_manager.store.tidings import tell_till
from services.bot_manager.store.writing import Step, read_posts, unless_taken, with_parts, write

MOST_WINDOWS: Final = 100_000
_OPEN: Final = f"attempts.outcome IS NULL OR attempts.outcome = '{AttemptOutcome.UNKNOWN}'"
"""What a worker reports after all replaces what was assumed when its lease ended."""
_FINISHED: Final = "finished_time = clock_timestamp()"
"""The settle window begins then, and replicas' clocks may differ."""
ACTION_CLAIMS: Final = 25
"""Claims that one action tells of at most: each costs its way through JetStream once, whatever it holds."""
_ACTIVE = bots.c.state == BotState.ACTIVE.value
_APP_ALLOWS = or_(
    bots.c.app_id.is_(None),
    bots.c.app_id.not_in(select(apps.c.id).where(apps.c.state == AppState.PAUSED.value)),
)
_MAY = select(and_(_ACTIVE, _APP_ALLOWS)).where(bots.c.id == posts.c.bot_id).scalar_subquery()
"""The post's bot is ACTIVE, and its app if it has one. Asked of each post in the order of the index: a join may be planned from the bots'
side, which reads all that waits once for each bot."""
_READABLE = bots.c.state.in_([BotState.ACTIVE.value, BotState.SUSPENDED.value])
"""A suspended account is often readable still; if it is not, nothing comes of asking."""
_WAITS = posts.c.state == PostState.SCHEDULED.value
_LEASED = posts.c.state.in_([state.value for state in LEASED])


class PostgresLedger:
    """`instance` names this process in the stories it writes, `terms` are the settings of the moment that decide on money and limits."""

    def __init__(self, database: Database, instance: str, terms: Callable[[], Terms] = Terms) -> None:
        self._database = database
        self._instance = instance
        self._terms = terms
        self._windows: dict[Key, Window] = {}

    async def claim_due(self, worker: str, now: datetime, lease: timedelta, limit: int) -> list[Claim]:
        """See the port."""
        query = (
            select(posts)
            .where(_WAITS, posts.c.due_time <= now, _not_late(now), _MAY)
            .order_by(posts.c.due_time, posts.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
            # Claiming looks at no part, so none is read.
            found = [to_post(row, ()) for row in rows]
            steps = [Step(post, ledger.claim(post, worker, now, lease)) for post in found]
            after = await write(connection, steps, now, self._instance)
            claims = [Claim(post.id, post.bot_id, post.claim_fence) for post in after]
            await _send(connection, claims)
        return claims

    async def take(
        self, claims: Sequence[Claim], worker: str, now: datetime, lease: timedelta
    ) -> list[ClaimedPost]:
        """See the port."""
        fences = {claim.post_id: claim.fence for claim in claims}
        async with self._database.transaction(wake=False) as connection:
            found = await read_posts(connection, fences, lock=True)
            steps = _steps(
                found.values(), lambda post: ledger.take(post, fences[post.id], worker, now, lease)
            )
            after = await write(connection, steps, now, self._instance)
            owners = await _bots(connection, {post.bot_id for post in after})
        return [ClaimedPost(post, owners[post.bot_id]) for post in after]

    async def begin_attempts(
        self, intents: Sequence[Intent], worker: str, now: datetime, lease: timedelta
    ) -> list[Attempt | Refusal | Wait]:
        """See the port."""
        answers: list[Attempt | Refusal | Wait] = []
        begun: list[tuple[Step, Attempt]] = []
        async with self._database.transaction(wake=False) as connection:
            found = await read_posts(connection, [intent.post_id for intent in intents], lock=True)
            owners = await _bots(connection, {post.bot_id for post in found.values()}, share=True)
            till = await open_till(connection, owners.values(), now, self._terms(), self._windows)
            for intent in intents:
                post = found.pop(intent.post_id, None)
                step = _begin(post, owners, intent, till, now, lease) if post else Refusal.STALE
                if isinstance(step, tuple):
                    begun.append(step)
                answers.append(step[1] if isinstance(step, tuple) else step)
            if begun:
                await insert_rows(
                    connection, attempts, [attempt_values(attempt, worker) for _, attempt in begun]
                )
                await tell_till(connection, till, now)
                await write(connection, _reserving(begun), now, self._instance)
                await close_till(connection, till)
        self._know(till)
        return answers

    async def finish_attempts(
        self, finishes: Sequence[Finish], now: datetime, lease: timedelta
    ) -> list[Post | None]:
        """See the port."""
        async with self._database.transaction(wake=False) as connection:
            found = await read_posts(connection, [one.attempt.post_id for one in finishes], lock=True)
            finishes = await _without_foreign_ids(connection, finishes, now)
            told = {one.attempt.post_id: one for one in finishes}
            steps = _steps(found.values(), lambda post: ledger.finish(post, told[post.id], now, lease))
            settled = await conclude(connection, found, told, now, self._windows)
            values = [_outcome_values(one, settled.booked) for one in finishes]
            await update_rows(connection, attempts, values, keys=("id",), also=_FINISHED, where=_OPEN)
            steps = await with_costs(connection, steps, settled)
            after = {post.id: post for post in await write(connection, steps, now, self._instance)}
            await book(connection, list(settled.settlements.values()))
        return [after.get(one.attempt.post_id) for one in finishes]

    async def release(self, releases: Sequence[Release], now: datetime) -> int:
        """See the port."""
        given = {one.post_id: one for one in releases}
        return len(await self._change(given, lambda post: ledger.release(post, given[post.id], now), now))

    async def give_up(self, post_id: str, fence: int, failure: Failure, now: datetime) -> bool:
        """See the port."""
        return bool(
            await self._change([post_id], lambda post: ledger.give_up(post, fence, failure, now), now)
        )

    async def note(self, post_id: str, fence: int, entries: Sequence[Entry], now: datetime) -> bool:
        """See the port."""
        return bool(await self._change([post_id], lambda post: ledger.note(post, fence, entries, now), now))

    async def reap_leases(self, now: datetime, limit: int) -> dict[str, PostState]:
        """See the port. Skips what its holder is writing this moment: that one is not gone."""
        query = select(posts).where(_LEASED, posts.c.lease_end_time <= now).order_by(posts.c.lease_end_time)
        async with self._database.transaction(wake=False) as connection:
            found = await _locked(connection, query, limit)
            steps = _steps(found, lambda post: ledger.end_lease(post, now))
            after = await write(connection, steps, now, self._instance)
            lost = [post.id for post in after if post.state is PostState.UNKNOWN]
            if lost:
                await connection.execute(
                    update(attempts)
                    .where(attempts.c.post_id.in_(lost), attempts.c.outcome.is_(None))
                    .values(outcome=AttemptOutcome.UNKNOWN.value, finished_time=func.clock_timestamp())
                )
        return {post.id: post.state for post in after}

    async def miss_late(self, now: datetime, limit: int) -> list[str]:
        """See the port."""
        waiting = posts.c.state.in_([PostState.SCHEDULED.value, PostState.PENDING_APPROVAL.value])
        query = select(posts).where(waiting, posts.c.miss_time <= now).order_by(posts.c.miss_time)
        async with self._database.transaction(wake=False) as connection:
            found = await _locked(connection, query, limit)
            hurdles = await _hurdles(connection, {post.bot_id for post in found})
            steps = _steps(found, lambda post: ledger.miss(post, now, hurdles.get(post.bot_id, "")))
            after = await write(connection, steps, now, self._instance)
        return [post.id for post in after]

    async def unknown_due(self, now: datetime, limit: int, bot_id: str = "") -> list[ClaimedPost]:
        """See the port."""
        query = (
            select(posts)
            .join(bots, bots.c.id == posts.c.bot_id)
            .where(posts.c.state == PostState.UNKNOWN.value, posts.c.due_time <= now, _READABLE)
            .order_by(posts.c.due_time, posts.c.id)
            .limit(limit)
        )
        if bot_id:
            query = query.where(posts.c.bot_id == bot_id)
        async with self._database.read() as connection:
            found = await with_parts(connection, (await connection.execute(query)).all())
            owners = await _bots(connection, {post.bot_id for post in found})
        return [ClaimedPost(post, owners[post.bot_id]) for post in found]

    async def note_reconcile(
        self,
        post_id: str,
        fence: int,
        entry: Entry,
        next_time: datetime | None,
        now: datetime,
        failure: Failure | None = None,
    ) -> bool:
        """See the port."""
        return bool(
            await self._change(
                [post_id], lambda post: ledger.note_reconcile(post, fence, entry, next_time, failure), now
            )
        )

    async def adopt(
        self,
        post_id: str,
        fence: int,
        part_index: int,
        x_post_id: str,
        publish_time: datetime,
        now: datetime,
        look: Entry | None = None,
    ) -> Post | None:
        """See the port."""
        taken = AlreadyExists("INVALID_STATE", "the post on X belongs to another part here")
        async with self._database.transaction(wake=False) as connection:
            found = await read_posts(connection, [post_id], lock=True)
            if x_post_id in await _known_ids(connection, [x_post_id]):
                raise taken
            steps = _steps(
                found.values(),
                lambda post: ledger.adopt(post, fence, part_index, x_post_id, publish_time, now, look),
            )
            with unless_taken(taken):
                after = await write(connection, steps, now, self._instance)
        return after[0] if after else None

    async def send_again(
        self, post_id: str, fence: int, now: datetime, look: Entry | None = None
    ) -> Post | None:
        """See the port."""
        after = await self._change([post_id], lambda post: ledger.send_again(post, fence, now, look), now)
        return after[0] if after else None

    async def note_waiting(
        self, entry: Entry, now: datetime, after: datetime | None, limit: int
    ) -> datetime | None:
        """See the port."""
        query = (
            select(posts)
            .join(bots, bots.c.id == posts.c.bot_id)
            .where(_WAITS, posts.c.due_time <= now, _not_late(now), _ACTIVE, ~_last_entry_is(entry))
            .order_by(posts.c.due_time, posts.c.id)
            .limit(limit)
            .with_for_update(of=posts, skip_locked=True)
        )
        if after is not None:
            query = query.where(posts.c.due_time > after)
        async with self._database.transaction(wake=False) as connection:
            found = [to_post(row, ()) for row in (await connection.execute(query)).all()]
            await write(
                connection, [Step(post, Change(post, (entry,))) for post in found], now, self._instance
            )
        if len(found) < limit:
            return found[-1].due_time if found else None
        # Others may be due at the same instant as the last.
        return found[-1].due_time - timedelta(microseconds=1) if found[-1].due_time else None

    async def oldest_overdue(self, now: datetime) -> datetime | None:
        """See the port."""
        return await self._first_due(posts.c.due_time <= now)

    async def next_due(self, now: datetime) -> datetime | None:
        """See the port."""
        return await self._first_due(posts.c.due_time > now)

    async def _first_due(self, condition: ColumnElement[bool]) -> datetime | None:
        query = select(posts.c.due_time).where(_WAITS, condition, _MAY)
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by(posts.c.due_time).limit(1))
            return found.scalar_one_or_none()

    def _know(self, till: Till) -> None:
        """Keep windows as they were when this process last counted in them, to tell news of them from what is known."""
        if len(self._windows) > MOST_WINDOWS:
            self._windows.clear()
        self._windows.update({key: till.windows[key] for key in till.changed})

    async def _change(
        self, ids: Sequence[str] | Mapping[str, object], rule: Callable[[Post], Change | None], now: datetime
    ) -> list[Post]:
        """Apply a rule to posts under their lock; those it changed."""
        async with self._database.transaction(wake=False) as connection:
            found = await read_posts(connection, ids, lock=True)
            return await write(connection, _steps(found.values(), rule), now, self._instance)


def _steps(found: Any, rule: Callable[[Post], Change | None]) -> list[Step]:
    changes = [(post, rule(post)) for post in found]
    return [Step(post, change) for post, change in changes if change is not None]


async def _locked(connection: AsyncConnection, query: Select[Any], limit: int) -> list[Post]:
    """Up to `limit` posts that nobody else has locked, with their parts."""
    rows = (await connection.execute(query.limit(limit).with_for_update(skip_locked=True))).all()
    return await with_parts(connection, rows)


async def _bots(connection: AsyncConnection, ids: set[str], *, share: bool = False) -> dict[str, Bot]:
    query = select(bots).where(one_of(bots.c.id, sorted(ids))).order_by(bots.c.id)
    rows = await connection.execute(query.with_for_update(read=True) if share else query)
    return {row.id: to_bot(row) for row in rows}


async def _hurdles(connection: AsyncConnection, bot_ids: set[str]) -> dict[str, str]:
    """What keeps bots from publishing for longer, in words, by bot."""
    payer = func.coalesce(bots.c.app_id, bots.c.id)
    query = (
        select(bots.c.id, bots.c.state, apps.c.state.label("app_state"), breakers.c.message)
        .outerjoin(apps, apps.c.id == bots.c.app_id)
        .outerjoin(breakers, breakers.c.owner_id == payer)
        .where(bots.c.id.in_(bot_ids))
    )
    found = {}
    for row in await connection.execute(query):
        if row.state != BotState.ACTIVE.value:
            found[row.id] = f"the bot is {row.state}"
        elif row.app_state == AppState.PAUSED.value:
            found[row.id] = "its app is paused"
        elif row.message:
            found[row.id] = row.message
    return found


async def _send(connection: AsyncConnection, claims: Sequence[Claim]) -> None:
    """Actions that tell of all claims; the id of each is the message's id."""
    actions = [
        Claim.to_payload(claims[start : start + ACTION_CLAIMS])
        for start in range(0, len(claims), ACTION_CLAIMS)
    ]
    await insert_rows(
        connection,
        outbox,
        [
            {"id": new_id(), "subject": PUBLISH_SUBJECT, "payload": payload, "headers": {}}
            for payload in actions
        ],
    )


async def _without_foreign_ids(
    connection: AsyncConnection, finishes: Sequence[Finish], now: datetime
) -> list[Finish]:
    """An answer that names a post of X which another part has already proves nothing: its outcome is unknown."""
    named = [one.answer.x_post_id for one in finishes if one.answer.x_post_id]
    known = await _known_ids(connection, named) if named else {}
    checked = []
    for one in finishes:
        owner = known.get(one.answer.x_post_id)
        if owner is not None and owner != (one.attempt.post_id, one.attempt.part_index):
            answer: Answer = replace(one.answer, outcome=AttemptOutcome.UNKNOWN)
            told = "X named a post that belongs to another part here"
            failure = Failure("X_OUTCOME_UNKNOWN", told, now, one.attempt.part_index)
            one = replace(one, answer=answer, failure=failure)
        checked.append(one)
    return checked


async def _known_ids(connection: AsyncConnection, x_post_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    query = select(post_parts.c.x_post_id, post_parts.c.post_id, post_parts.c.index)
    rows = await connection.execute(query.where(post_parts.c.x_post_id.in_(x_post_ids)))
    return {row[0]: (row[1], row[2]) for row in rows}


def _begin(
    post: Post, owners: Mapping[str, Bot], intent: Intent, till: Till, now: datetime, lease: timedelta
) -> tuple[Step, Attempt] | Refusal | Wait:
    bot, part = owners[post.bot_id], post.next_part
    begun = ledger.begin(post, bot, intent, new_id(), now, lease)
    if isinstance(begun, Refusal) or part is None:
        return begun if isinstance(begun, Refusal) else Refusal.STALE
    charge = till.admit(bot, post, part)
    if not isinstance(charge, Charge):
        return charge
    return Step(post, begun[0]), replace(begun[1], charge=charge)


def _reserving(begun: Sequence[tuple[Step, Attempt]]) -> list[Step]:
    """The steps with what was set aside told before each attempt."""
    steps = []
    for step, attempt in begun:
        entry, change = reserved_entry(attempt), step.change
        told = (entry, *change.entries) if entry else change.entries
        steps.append(replace(step, change=replace(change, entries=told)))
    return steps


def _outcome_values(finish: Finish, booked: Mapping[str, int | None]) -> dict[str, Any]:
    answer = finish.answer
    return {
        "id": finish.attempt.id,
        "outcome": answer.outcome.value,
        "http_status": answer.http_status,
        "problem_type": answer.problem_type,
        "problem_detail": answer.problem_detail,
        "x_request_id": answer.x_request_id,
        "latency_ms": round(answer.latency / timedelta(milliseconds=1)),
        "x_post_id": answer.x_post_id,
        "rate_limits": dict(answer.rate_limits),
        "settled_usd_micros": booked.get(finish.attempt.id),
    }


def _not_late(now: datetime) -> ColumnElement[bool]:
    return or_(posts.c.miss_time.is_(None), posts.c.miss_time > now)


def _last_entry_is(entry: Entry) -> ColumnElement[bool]:
    """Whether a post's story ends with such an entry."""
    return exists().where(
        post_events.c.post_id == posts.c.id,
        post_events.c.sequence == posts.c.entry_count,
        post_events.c.kind == entry.kind.value,
        post_events.c.message == entry.message,
    )
