"""Finds log records by time, fields and words, a page at a time, the same way whether a match is rare, common or absent.

Where all conditions have an index that goes on by time, one statement reads a page's rows in order. Words, attributes and small severities
have none, and no single plan is good for them: walking by time until enough records match reads everything when few do, and looking up
all that match sorts a million when many do. So the search goes in steps along the time. The first step is a short walk, over WALK records
at most; what is common is found there. The next ones are ever longer stretches, in which words are looked up in their index: by then they
are known to be rare. The last one is the rest. A step touches only the days it is about, and none is begun when the page is full.

Pages go on by (time, id, category), which no ingest moves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, func, select, tuple_

from mesh.database import Database
from services.logging.domain.records import Filter, Position, Record
from services.logging.store.conditions import (
    Condition,
    before_time,
    conditions,
    from_time,
    indexed,
    needs_looking_for,
)
from services.logging.store.search_session import SearchSession, search_session
from services.logging.store.tables import batch_numbers, batches, records

RECORD_FIELDS: Final = tuple(field.name for field in fields(Record))
WALK: Final = 2_000
"""Records that a first step reads, whether they match or not."""
FIRST_STRETCH: Final = 8
"""How much longer than the walk the second step is; further ones grow by GROWTH."""
GROWTH: Final = 4
STRETCHES: Final = 6
"""Steps of bounded length after the walk; by then they have covered a few thousand times its length."""
_KEY: Final = (records.c.time, records.c.id, records.c.category)
_TICK: Final = timedelta(microseconds=1)  # what PostgreSQL's times are counted in


@dataclass(frozen=True, slots=True)
class Horizon:
    """A moment in the life of the store, to which later reads keep: they see what was stored by then and nothing else."""

    number: int
    """The last batch that had ended."""
    begun: int
    """The largest id of a batch that had begun."""


class RecordSearch(Protocol):
    """What the service needs for finding records."""

    async def find(
        self, wanted: Filter, after: Position | None, limit: int, *, seconds: float, horizon: Horizon | None
    ) -> list[Record]:
        """At most `limit` records in the filter's order, after the position. Raises DeadlineExceeded after `seconds`, Unavailable."""

    async def horizon(self, *, seconds: float) -> Horizon:
        """The present moment."""


class PostgresRecordSearch:
    """RecordSearch on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self,
        wanted: Filter,
        after: Position | None,
        limit: int,
        *,
        seconds: float = 10,
        horizon: Horizon | None = None,
    ) -> list[Record]:
        """See RecordSearch."""
        span = _Span.of(wanted).after(after)
        extra = [] if horizon is None else _within(horizon)
        if after is not None:
            extra.append(_behind(after, wanted.oldest_first))
        found: list[Record] = []
        async with search_session(self._database, seconds) as session:
            if not needs_looking_for(wanted):
                return await _page(session, wanted, span, extra, limit)
            edge = await _end_of_walk(session, wanted, span, extra)
            for number, step in enumerate(span.steps(edge)):
                in_order = number == 0 or not wanted.text
                found += await _page(session, wanted, step, extra, limit - len(found), in_order)
                if len(found) == limit:
                    break
        return found

    async def horizon(self, *, seconds: float = 10) -> Horizon:
        """See RecordSearch."""
        # The sequence is read after the statement's snapshot was taken, so it is not behind any batch that the snapshot shows.
        begun = func.coalesce(func.pg_sequence_last_value("batch_ids"), 0)
        async with search_session(self._database, seconds) as session:
            number, last = (await session.execute(select(batch_numbers.c.last, begun))).one()
        return Horizon(number, last)


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of time, from `start`, before `end`, in the direction of a search. None: open."""

    start: datetime | None
    end: datetime | None
    oldest_first: bool

    @classmethod
    def of(cls, wanted: Filter) -> "_Span":
        return cls(wanted.start_time, wanted.end_time, wanted.oldest_first)

    def after(self, position: Position | None) -> "_Span":
        """Without what lies before a page. The keyset says it again, but days are chosen by bounds of time alone."""
        if position is None:
            return self
        if self.oldest_first:
            return replace(self, start=position[0])
        return replace(self, end=position[0] + _TICK)

    def conditions(self) -> list[Condition]:
        return [
            *([] if self.start is None else from_time(self.start)),
            *([] if self.end is None else before_time(self.end)),
        ]

    def steps(self, edge: tuple[datetime, datetime] | None) -> Iterator["_Span"]:
        """The span in pieces that follow each other: the walk, growing stretches, the rest. `edge`: first and last time of the walk."""
        if edge is None:
            yield self
            return
        first, border = edge
        length = max(abs(border - first), _TICK) * FIRST_STRETCH
        yield self._until(border)
        rest = self._from(border)
        for _ in range(STRETCHES):
            try:
                border = border + length if self.oldest_first else border - length
            except OverflowError:
                break
            if (self.end is not None and border >= self.end) or (
                self.start is not None and border <= self.start
            ):
                break
            yield rest._until(border)
            rest = rest._from(border)
            length *= GROWTH
        yield rest

    def _until(self, border: datetime) -> "_Span":
        """The part before the border, in the direction of the search."""
        return replace(self, end=border) if self.oldest_first else replace(self, start=border)

    def _from(self, border: datetime) -> "_Span":
        return replace(self, start=border) if self.oldest_first else replace(self, end=border)


async def _page(
    session: SearchSession,
    wanted: Filter,
    span: _Span,
    extra: list[Condition],
    limit: int,
    in_order: bool = True,
) -> list[Record]:
    query = select(*(records.c[name] for name in RECORD_FIELDS))
    query = query.where(*conditions(wanted), *span.conditions(), *extra)
    query = query.order_by(*_order(wanted.oldest_first)).limit(limit)
    rows = (await session.execute(query, in_order=in_order)).mappings()
    return [Record(**row) for row in rows]


async def _end_of_walk(
    session: SearchSession, wanted: Filter, span: _Span, extra: list[Condition]
) -> tuple[datetime, datetime] | None:
    """Times of the first and of the last record that a walk comes by; None if it comes by all there are."""
    walk = select(records.c.time).where(*indexed(wanted), *span.conditions(), *extra)
    direction = records.c.time if wanted.oldest_first else records.c.time.desc()
    walked = walk.order_by(direction).limit(WALK).subquery()
    times = func.min(walked.c.time), func.max(walked.c.time)
    earliest, latest, count = (await session.execute(select(*times, func.count()).select_from(walked))).one()
    if count < WALK:
        return None
    return (earliest, latest) if wanted.oldest_first else (latest, earliest)


def _order(oldest_first: bool) -> Iterable[ColumnElement[Any]]:
    return _KEY if oldest_first else (column.desc() for column in _KEY)


def _behind(after: Position, oldest_first: bool) -> Condition:
    key = tuple_(*_KEY)
    return key > after if oldest_first else key < after


def _within(horizon: Horizon) -> list[Condition]:
    """Batches that were begun by then and ended later are known by their number once their records can be seen: both come with the same
    commit. Those begun later have larger ids."""
    late = select(batches.c.id).where(batches.c.number > horizon.number, batches.c.id <= horizon.begun)
    return [records.c.batch <= horizon.begun, records.c.batch.not_in(late)]


def position_of(record: Record) -> tuple[str, str, int]:
    """The keyset of a record in a form a page token can hold."""
    time, id, category = record.position
    return time.isoformat(), id, category


def position_from(token: tuple[object, ...] | None) -> Position | None:
    """The reverse of `position_of`."""
    if token is None:
        return None
    time, id, category = token
    return datetime.fromisoformat(str(time)), str(id), int(str(category))
