"""Whether a stored record is what a tail asks for: the same meaning as a search, in the process.

Words alone are PostgreSQL's to judge; a row carries the verdicts.
"""

import json
from decimal import Decimal
from typing import Any

from services.logging.domain.following import Row
from services.logging.domain.records import Filter


def matches(wanted: Filter, row: Row) -> bool:
    """Whether all that the filter names holds; its times and its order do not count."""
    record = row.record
    return (
        record.severity >= wanted.min_severity
        and (not wanted.categories or record.category in wanted.categories)
        and (not wanted.service or record.service == wanted.service)
        and (not wanted.actor or record.actor == wanted.actor)
        and (not wanted.bot_id or record.bot_id == wanted.bot_id)
        and (not wanted.request_id or record.request_id == wanted.request_id)
        and (not wanted.trace_id or record.trace_id == wanted.trace_id)
        and (not wanted.text or wanted.text in row.texts)
        and all(as_text(record.attributes.get(name)) == value for name, value in wanted.attributes.items())
    )


def as_text(value: Any) -> str | None:
    """A value of JSON as PostgreSQL's `->>` gives it; None for null, which is equal to nothing."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return format(Decimal(repr(value)), "f")
        case _:
            return json.dumps(value, ensure_ascii=False)
