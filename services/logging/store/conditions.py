"""A filter, and a stretch of time, as SQL."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Table, func, tuple_

from services.logging.domain.records import Filter
from services.logging.store.tables import records

SEVERE: Final = 13
"""From this severity on records have an index of their own."""
_POINTED: Final = ("actor", "bot_id", "request_id", "trace_id")
_place: Final = tuple_(records.c.time, records.c.id)
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"

Condition = ColumnElement[bool]


def conditions(wanted: Filter) -> list[Condition]:
    """All that a record must satisfy, its time apart."""
    columns = records.c
    found = indexed(wanted)
    if 0 < wanted.min_severity < SEVERE:
        found.append(columns.severity >= wanted.min_severity)
    found += [columns.attributes[name].astext == value for name, value in wanted.attributes.items()]
    if wanted.text:
        words = func.websearch_to_tsquery("simple", wanted.text)
        found.append(func.to_tsvector("simple", columns.body).op("@@")(words))
    return found


def from_time(start: datetime) -> list[Condition]:
    """At `start` or later; see `before_time`."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    return [_place >= (start, _FIRST_ID), records.c.time >= midnight]


def before_time(end: datetime) -> list[Condition]:
    """Before `end`.

    Said twice: by time alone and in whole days, from which days are chosen, and exactly, in a form that only the index on (time, id) knows.
    Otherwise the planner would meet words with the BRIN index on time, which knows pages and no rows, so that each record beside one
    with the word had to be split into words again.
    """
    exactly: list[Condition] = [_place < (end, _FIRST_ID)]
    try:
        last = end.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    except OverflowError:
        return exactly
    return [*exactly, records.c.time < last]


def indexed(wanted: Filter) -> list[Condition]:
    """Those for which there is an index that goes on by time, so that they restrict without being looked for."""
    found = [records.c[name] == value for name in ("service", *_POINTED) if (value := getattr(wanted, name))]
    if wanted.categories:
        found.append(records.c.category.in_(wanted.categories))
    if wanted.min_severity >= SEVERE:
        found.append(records.c.severity >= wanted.min_severity)
    return found


def needs_looking_for(wanted: Filter) -> bool:
    """Whether the filter has conditions beyond `indexed`."""
    return bool(wanted.text or wanted.attributes or 0 < wanted.min_severity < SEVERE)


def countable(wanted: Filter) -> bool:
    """Whether records are counted by all that the filter asks for."""
    return not (wanted.text or wanted.attributes or any(getattr(wanted, name) for name in _POINTED))


def counted(wanted: Filter, table: Table) -> list[Condition]:
    """What can be asked of records and of their counts alike."""
    found: list[Condition] = []
    if wanted.categories:
        found.append(table.c.category.in_(wanted.categories))
    if wanted.min_severity:
        found.append(table.c.severity >= wanted.min_severity)
    if wanted.service:
        found.append(table.c.service == wanted.service)
    return found
