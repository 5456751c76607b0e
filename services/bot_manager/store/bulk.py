"""Many rows in one statement: they travel as one JSON document, and PostgreSQL makes rows of it.

A statement for each row costs a message there and an answer back, with binding, planning and bookkeeping on both sides; for the hundreds of
rows that a batch of publishing writes, that is most of its cost. One document costs less than an array for each column as well, since the
encoder of JSON is C all through. Values are those that the columns take elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    LargeBinary,
    Table,
    Text,
    TextClause,
    Uuid,
    any_,
    cast,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
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
        await connection.execute(_insert(table, tuple(rows[0])), {"rows": _document(rows)})


async def update_rows(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Row],
    *,
    keys: tuple[str, ...],
    also: str = "",
    where: str = "",
) -> None:
    """Set the columns of rows that all give the same; `keys` find the row, no two with the same, and the first of them is a UUID. `where`
    is a further condition, in SQL, on the row as it is stored, and `also` a further assignment."""
    if rows:
        statement = _update(table, tuple(rows[0]), keys, also, where)
        ids = ",".join(row[keys[0]] for row in rows)
        await connection.execute(statement, {"rows": _document(rows), "ids": ids})


def one_of(column: Column[Any], ids: Iterable[str]) -> ColumnElement[bool]:
    """That a column of UUIDs has one of these values. One parameter whatever their number, so that the statement stays the same."""
    return column == any_(cast(func.string_to_array(",".join(ids), ","), ARRAY(Uuid(as_uuid=False))))


@cache
def _insert(table: Table, names: tuple[str, ...]) -> TextClause:
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f'given."{name}"' for name in names)
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM {_given(table, names)}")  # noqa: S608 - names of our own tables


@cache
def _update(table: Table, names: tuple[str, ...], keys: tuple[str, ...], also: str, where: str) -> TextClause:
    changes = ", ".join(f'"{name}" = given."{name}"' for name in names if name not in keys)
    changes += f", {also}" if also else ""
    same = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
    # Says nothing new, but leads to the index: how many rows a document holds PostgreSQL cannot know, and reads all of a small table.
    same += f""" AND {table.name}."{keys[0]}" = ANY (CAST(string_to_array(:ids, ',') AS uuid[]))"""
    more = f" AND ({where})" if where else ""
    return text(f"UPDATE {table.name} SET {changes} FROM {_given(table, names)} WHERE {same}{more}")  # noqa: S608 - as above


def _given(table: Table, names: Sequence[str]) -> str:
    columns = ", ".join(f'"{name}" {_type(table.c[name])}' for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS given({columns})"


def _type(column: Column[Any]) -> str:
    """PostgreSQL's name of a column's type."""
    return next(name for kind, name in _NAMES if isinstance(column.type, kind))


def _document(rows: Sequence[Row]) -> str:
    return json.dumps(rows, default=_value, separators=(",", ":"), ensure_ascii=False)


def _value(value: object) -> str:
    """What JSON has no form for, as PostgreSQL reads it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} is no value of a column")
