"""What a list is asked for, free of any store: conditions that must all hold, an order, a place to go on from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")
Value = str | datetime | bool


class Operator(StrEnum):
    """How a field is compared with a value."""

    EQUALS = "="
    DIFFERS = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    CONTAINS = ":"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `key` is that of a map, for `labels.<key>`."""

    field: str
    operator: Operator
    value: Value
    key: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: its value in the order (None where it has none) and its id."""

    value: str | datetime | None
    id: str


@dataclass(frozen=True, slots=True)
class Query:
    """`order` is a field of the list; rows without it come last, whichever way it goes."""

    conditions: tuple[Condition, ...]
    order: str
    descending: bool
    limit: int
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows in their order, and where to go on; None on the last page."""

    rows: Sequence[T]
    next: Position | None
