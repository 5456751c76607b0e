"""Lists in SQL: conditions as WHERE, keyset pages in any order. Rows whose value in the order is NULL come last."""

from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, or_

from services.bot_manager.domain.listing import Condition, Operator, Position, Query

Column = ColumnElement[Any]
COMPARE: Final[Mapping[Operator, Callable[[Any, Any], Any]]] = {
    Operator.EQUALS: eq,
    Operator.DIFFERS: ne,
    Operator.LESS: lt,
    Operator.AT_MOST: le,
    Operator.GREATER: gt,
    Operator.AT_LEAST: ge,
}
"""CONTAINS is each list's own affair."""


def compare(column: Column, condition: Condition) -> ColumnElement[bool]:
    """A comparison of a column with a value; NULL differs from every value."""
    if condition.operator is Operator.DIFFERS:
        return column.is_distinct_from(condition.value)
    found: ColumnElement[bool] = COMPARE[condition.operator](column, condition.value)
    return found


def page_of(select: Select[Any], query: Query, column: Column, identity: Column) -> Select[Any]:
    """The rows after the query's position in its order, one more than a page holds, so that one knows if there is another."""
    if query.after is not None:
        select = select.where(_after(query.after, column, identity, descending=query.descending))
    first, second = (column.desc(), identity.desc()) if query.descending else (column.asc(), identity.asc())
    return select.order_by(first.nulls_last(), second).limit(query.limit + 1)


def _after(position: Position, column: Column, identity: Column, *, descending: bool) -> ColumnElement[bool]:
    beyond: Callable[[Any, Any], Any] = lt if descending else gt
    if position.value is None:
        return and_(column.is_(None), beyond(identity, position.id))
    return or_(
        beyond(column, position.value),
        and_(column == position.value, beyond(identity, position.id)),
        column.is_(None),
    )
