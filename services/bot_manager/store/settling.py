"""Settles what was set aside for calls to X, in the transaction that writes what is known of them. The rules are in `domain/settling.py`.

`conclude` is for outcomes of calls, `settle_unknown` for posts that leave UNKNOWN by whatever way: found on the account, sent again,
given up, or answered late.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.bot_manager.domain import settling
from services.bot_manager.domain.limits import Key, Report, Window, reports, tightest, used_up
from services.bot_manager.domain.model import AttemptOutcome, Change, Entry, Post, PostState
from services.bot_manager.domain.money import Breaker
from services.bot_manager.domain.retry import Scope
from services.bot_manager.domain.settling import Reserved, Settlement
from services.bot_manager.store.bulk import update_rows
from services.bot_manager.store.money import (
    Sums,
    book,
    close_breakers,
    costs_of,
    hear,
    open_breakers,
    reserved_of,
    used_on,
    windows_of,
)
from services.bot_manager.store.ports import Finish
from services.bot_manager.store.tables import attempts
from services.bot_manager.store.tidings import tell_breakers, tell_limits


@dataclass(frozen=True, slots=True)
class Step:
    """A post as it was read under its lock, and what becomes of it."""

    before: Post
    change: Change


@dataclass(frozen=True, slots=True)
class Settled:
    """What outcomes came to, by post. `booked` is what each attempt's row says from now on, None while its cost is set aside."""

    settlements: Mapping[str, Settlement]
    booked: Mapping[str, int | None]
    sums: Sums


async def conclude(
    connection: AsyncConnection,
    found: Mapping[str, Post],
    told: Mapping[str, Finish],
    now: datetime,
    windows: Mapping[Key, Window],
) -> Settled:
    """Hear what X said of its limits beyond `windows`, which are known, stop or start calls of those who pay, and tell what is settled.

    The sums are for the caller to `book`, last of all.
    """
    answered = [(told[post_id], post.bot_id) for post_id, post in found.items() if post_id in told]
    await _hear(connection, answered, now, windows)
    reserved = await _reserved(connection, found, told)
    settlements = {}
    for post_id, one in reserved.items():
        settlement = settling.settle(one, told[post_id].answer.outcome)
        if settlement is not None:
            settlements[post_id] = settlement
    sums = await used_on(connection, list(settlements.values()))
    booked = {
        one.attempt_id: settlements[post_id].booked if post_id in settlements else one.settled
        for post_id, one in reserved.items()
    }
    return Settled(settlements, booked, sums)


async def with_costs(connection: AsyncConnection, steps: Sequence[Step], settled: Settled) -> list[Step]:
    """The steps with what was settled told, and with what was spent for posts that are published whole. After the attempts are written."""
    costs = {post_id: one.booked for post_id, one in settled.settlements.items()}
    done = [step for step in steps if step.change.post.state is PostState.PUBLISHED]
    costs |= await costs_of(
        connection, [step.before.id for step in done if step.change.post.attempt_count > 1]
    )
    found = {post_id: [one] for post_id, one in settled.settlements.items()}
    return [_told(step, found.get(step.before.id, ()), settled.sums, costs) for step in steps]


async def _hear(
    connection: AsyncConnection,
    answered: Sequence[tuple[Finish, str]],
    now: datetime,
    windows: Mapping[Key, Window],
) -> None:
    heard: list[Report] = []
    stopped: dict[str, Breaker] = {}
    proven: set[str] = set()
    for finish, bot_id in answered:
        answer, hold, charge = finish.answer, finish.hold, finish.attempt.charge
        payer = charge.app_id or bot_id
        told = reports(bot_id, payer, answer.rate_limits, now)
        heard += [report for report in told if report.is_news(windows.get(report.key))]
        if hold is not None and hold.scope is Scope.APP:
            stopped[payer] = Breaker(payer, hold.reason, hold.message, now, hold.until)
        elif hold is not None:
            heard.append(used_up(bot_id, hold.until))
        if charge.probe and answer.outcome is AttemptOutcome.ACCEPTED:
            proven.add(payer)
    words = tightest(heard)
    known = await windows_of(connection, [key for key, report in words.items() if report.fills(None)], now)
    full = [one for key, report in words.items() if (one := report.fills(known.get(key)))]
    await hear(connection, words, now)
    await tell_limits(connection, full, now)
    opened = await open_breakers(connection, stopped.values())
    closed = await close_breakers(connection, proven - stopped.keys())
    await tell_breakers(connection, opened, closed, now)


async def _reserved(
    connection: AsyncConnection, found: Mapping[str, Post], told: Mapping[str, Finish]
) -> dict[str, Reserved]:
    """The attempts, by post; only those whose claim is over have to be looked up."""
    reserved, late = {}, []
    for post_id, post in found.items():
        finish = told.get(post_id)
        if finish is None:
            continue
        if post.state is PostState.PUBLISHING and post.claim_fence == finish.attempt.fence:
            reserved[post_id] = Reserved.of(finish.attempt, post.bot_id)
        else:
            late.append(finish.attempt.id)
    if late:
        looked_up = await reserved_of(connection, attempts.c.id.in_(late))
        reserved |= {post_id: group[0] for post_id, group in looked_up.items()}
    return reserved


async def settle_unknown(connection: AsyncConnection, steps: Sequence[Step]) -> Sequence[Step]:
    """The steps with what is settled by them told."""
    leaving = {
        step.before.id: step for step in steps if settling.leaves_unknown(step.before, step.change.post)
    }
    if not leaving:
        return steps
    known = await reserved_of(connection, attempts.c.post_id.in_(leaving))
    found = {
        post_id: settling.settle_unknown(step.before, step.change.post, known.get(post_id, ()))
        for post_id, step in leaving.items()
    }
    settlements = [one for group in found.values() for one in group]
    sums = await used_on(connection, settlements)
    await book(connection, settlements)
    if settlements:
        values = [{"id": one.reserved.attempt_id, "settled_usd_micros": one.booked} for one in settlements]
        await update_rows(connection, attempts, values, keys=("id",))
    costs = await costs_of(connection, list(leaving))
    return [_told(step, found.get(step.before.id, ()), sums, costs) for step in steps]


def _told(step: Step, settlements: Sequence[Settlement], sums: Sums, costs: Mapping[str, int]) -> Step:
    entries = [entry for one in settlements if (entry := _entry(one, sums)) is not None]
    post = step.change.post
    if post.id in costs and post.state is PostState.PUBLISHED:
        post = replace(post, cost_usd_micros=costs[post.id])
    return replace(step, change=Change(post, (*step.change.entries, *entries)))


def _entry(settlement: Settlement, sums: Sums) -> Entry | None:
    return settling.settled_entry(settlement, sums.get((settlement.counted_for, settlement.reserved.day), 0))
