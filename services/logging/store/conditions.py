"""A filter as SQL, its times apart: those are the business of whoever walks through them."""

from typing import Final

from sqlalchemy import ColumnElement, Table, func

from services.logging.domain.records import Filter
from services.logging.store.tables import records

SEVERE: Final = 13
"""From this severity on records have an index of their own."""
_POINTED: Final = ("actor", "bot_id", "request_id", "trace_id")

Condition = ColumnElement[bool]


def conditions(wanted: Filter) -> list[Condition]:
    """All that a record must satisfy."""
    columns = records.c
    found = indexed(wanted)
    if 0 < wanted.min_severity < SEVERE:
        found.append(columns.severity >= wanted.min_severity)
    found += [columns.attributes[name].astext == value for name, value in wanted.attributes.items()]
    if wanted.text:
        words = func.websearch_to_tsquery("simple", wanted.text)
        found.append(func.to_tsvector("simple", columns.body).op("@@")(words))
    return found


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
