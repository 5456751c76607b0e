"""Filters of lists: comparisons joined by AND (a part of AIP-160).

    state = SCHEDULED AND scheduled_time < "2027-01-01T00:00:00Z" AND labels.team = "news"

Operators are `=`, `!=`, `<`, `<=`, `>`, `>=` and `:` (contains). Which fields there are, of what kind and with which operators, is an
argument. Anything else is refused, never ignored.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from mesh.errors import InvalidArgument
from mesh.ids import is_uuid
from services.bot_manager.domain.listing import Condition, Operator, Value
from services.bot_manager.domain.model import BotState, Origin, PostState
from services.bot_manager.domain.recurrence.model import ScheduleState

MAX_TERMS: Final = 16
ORDERED: Final = frozenset(set(Operator) - {Operator.CONTAINS})
EQUALITY: Final = frozenset({Operator.EQUALS, Operator.DIFFERS})
TEXTUAL: Final = EQUALITY | {Operator.CONTAINS}

_TERM = re.compile(
    r"\s*(?P<field>[a-z_]+)(?:\.(?P<key>[A-Za-z0-9._/-]+))?\s*(?P<operator>!=|<=|>=|=|<|>|:)\s*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"=<>:!]+))\s*'
)
_AND = re.compile(r"AND\s")


@dataclass(frozen=True, slots=True)
class Field:
    """A field that can be compared. `names`: the values of an enum, which may carry `prefix`."""

    operators: frozenset[Operator] = TEXTUAL
    names: Collection[str] = ()
    prefix: str = ""
    is_time: bool = False
    is_id: bool = False
    has_key: bool = False


_TIME = Field(ORDERED, is_time=True)
_ID = Field(EQUALITY, is_id=True)
BOT_FIELDS: Final[Mapping[str, Field]] = {
    "state": Field(EQUALITY, tuple(BotState), "BOT_STATE_"),
    "app_id": _ID,
    "handle": Field(),
    "display_name": Field(),
    "x_user_id": Field(EQUALITY),
    "create_time": _TIME,
    "labels": Field(has_key=True),
}
POST_FIELDS: Final[Mapping[str, Field]] = {
    "state": Field(EQUALITY, tuple(PostState), "POST_STATE_"),
    "schedule_id": _ID,
    "queue": Field(EQUALITY),
    "origin": Field(EQUALITY, tuple(Origin), "POST_ORIGIN_"),
    "creator": Field(EQUALITY),
    "scheduled_time": _TIME,
    "publish_time": _TIME,
    "create_time": _TIME,
    "text": Field(TEXTUAL),
}
SCHEDULE_FIELDS: Final[Mapping[str, Field]] = {
    "state": Field(EQUALITY, tuple(ScheduleState), "SCHEDULE_STATE_"),
    "display_name": Field(),
    "create_time": _TIME,
    "next_occurrence_time": _TIME,
}


def parse_filter(text: str, fields: Mapping[str, Field]) -> tuple[Condition, ...]:
    """The conditions, all of which must hold; none for an empty filter. Raises InvalidArgument (INVALID_FILTER)."""
    conditions: list[Condition] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TERM.match(text, position)
        if match is None or len(conditions) == MAX_TERMS:
            _refuse(f"not understood: {text[position : position + 80].strip()}")
        conditions.append(_condition(match, fields))
        position = match.end()
        if position == len(text):
            break
        joint = _AND.match(text, position)
        if joint is None or joint.end() == len(text):
            _refuse(f"not understood: {text[position : position + 80].strip()}")
        position = joint.end()
    return tuple(conditions)


def _condition(match: re.Match[str], fields: Mapping[str, Field]) -> Condition:
    name, key, operator = match["field"], match["key"] or "", Operator(match["operator"])
    field = fields.get(name)
    if field is None or field.has_key != bool(key):
        _refuse(f"there is no field {name}; there are {', '.join(sorted(fields))}")
    if operator not in field.operators:
        _refuse(f"{name} cannot be compared by {operator}")
    text = match["bare"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
    return Condition(name, operator, _value(name, text, field), key)


def _value(name: str, text: str, field: Field) -> Value:
    if field.names:
        known = text.removeprefix(field.prefix)
        if known not in field.names:
            _refuse(f"{name} is one of {', '.join(field.names)}")
        return known
    if field.is_id and not is_uuid(text):
        _refuse(f"{name} is a UUID")
    return _time(name, text) if field.is_time else text


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        _refuse(f'{name} is a time such as "2027-01-01T00:00:00Z"')
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _refuse(why: str) -> NoReturn:
    raise InvalidArgument("INVALID_FILTER", f"filter: {why}", field="filter")
