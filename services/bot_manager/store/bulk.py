"""Many rows in one statement: each column travels as one array, and PostgreSQL makes rows of them.

A statement for each row costs a message there and an answer back, with binding, planning and bookkeeping on both sides; for the hundreds of
rows that a batch of publishing writes, that is most of its cost. Values are those that the columns take elsewhere, so JSON goes in as
Python objects.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    Table,
    Text,
    TextClause,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

Row = Mapping[str, Any]

_NAMES: Final[Sequence[tuple[type[Any], str]]] = (
    (Uuid, "uuid"),
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (Boolean, "boolean"),
    (DateTime, "timestamptz"),
    (LargeBinary, "bytea"),
    (JSONB, "jsonb"),
    (Text, "text"),
)


async def insert_rows(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all give the same columns; those not given get their defaults."""
    if rows:
        names = tuple(rows[0])
        await connection.execute(_insert(table, names), _arrays(table, names, rows))


async def update_rows(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Row],
    *,
    keys: tuple[str, ...],
    where: str = "",
) -> None:
    """Set the columns of rows that all give the same; `keys` find the row, no two with the same. `where` is a further condition, in SQL,
    on the row as it is stored."""
    if rows:
        names = tuple(rows[0])
        await connection.execute(_update(table, names, keys, where), _arrays(table, names, rows))


@cache
def _insert(table: Table, names: tuple[str, ...]) -> TextClause:
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(_value(table.c[name]) for name in names)
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {_given(table, names)}")  # noqa: S608 - names of our own tables


@cache
def _update(table: Table, names: tuple[str, ...], keys: tuple[str, ...], where: str) -> TextClause:
    changes = ", ".join(f'"{name}" = {_value(table.c[name])}' for name in names if name not in keys)
    same = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
    more = f" AND ({where})" if where else ""
    return text(f"UPDATE {table.name} SET {changes} FROM {_given(table, names)} WHERE {same}{more}")  # noqa: S608 - as above


def _given(table: Table, names: Sequence[str]) -> str:
    arrays = ", ".join(f"CAST(:{name} AS {_type(table.c[name], sent=True)}[])" for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    return f"unnest({arrays}) AS given({columns})"


def _value(column: Column[Any]) -> str:
    value = f'given."{column.name}"'
    return f"CAST({value} AS jsonb)" if _type(column) == "jsonb" else value


def _type(column: Column[Any], *, sent: bool = False) -> str:
    """PostgreSQL's name of a column's type; `sent` is the one its values travel in."""
    name = next(name for kind, name in _NAMES if isinstance(column.type, kind))
    return "text" if sent and name == "jsonb" else name


def _arrays(table: Table, names: Sequence[str], rows: Sequence[Row]) -> dict[str, list[Any]]:
    documents = {name for name in names if isinstance(table.c[name].type, JSONB)}
    return {
        name: [_document(row[name]) for row in rows] if name in documents else [row[name] for row in rows]
        for name in names
    }


def _document(value: Any) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))
