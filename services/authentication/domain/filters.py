"""The filter of ListUsers: comparisons joined by AND (a small part of AIP-160).

    state = "ACTIVE" AND roles : "admin" AND username = "ann*"

`=` compares `username`, `email` and `state`; a `*` at the end of the former two makes it a prefix. `:` asks whether `roles` holds a value.
Values may be quoted. Names of users are compared in their normal form. Anything else is refused, never ignored.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NoReturn

from mesh.errors import InvalidArgument
from services.authentication.domain.names import normalise
from services.authentication.domain.user import UserState

MAX_TERMS: Final = 8
_TERM = re.compile(
    r'\s*(?P<field>[a-z_]+)\s*(?P<operator>[=:])\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"=:]+))\s*'
)
_OPERATORS: Final = {"username": "=", "email": "=", "state": "=", "roles": ":"}


class Comparison(Enum):
    """How a field is compared with a value."""

    EQUALS = auto()
    STARTS_WITH = auto()
    HOLDS = auto()


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `field` is username, email, state or roles."""

    field: str
    comparison: Comparison
    value: str


def parse_filter(text: str) -> tuple[Condition, ...]:
    """The conditions, all of which must hold; none for an empty filter. Raises InvalidArgument (INVALID_FILTER)."""
    if not text.strip():
        return ()
    terms = re.split(r"\s+AND\s+", text)
    if len(terms) > MAX_TERMS:
        _refuse(f"at most {MAX_TERMS} comparisons")
    return tuple(_condition(term) for term in terms)


def _condition(term: str) -> Condition:
    match = _TERM.fullmatch(term)
    if match is None:
        _refuse('expected comparisons such as state = "ACTIVE" joined by AND')
    field, operator = match["field"], match["operator"]
    value: str = match["bare"] if match["quoted"] is None else match["quoted"]
    if _OPERATORS.get(field) != operator:
        _refuse(f"{field} {operator} is not known; there are username =, email =, state =, roles :")
    if field == "roles":
        return Condition(field, Comparison.HOLDS, value)
    if field == "state":
        return Condition(field, Comparison.EQUALS, _state(value))
    comparison = Comparison.STARTS_WITH if value.endswith("*") else Comparison.EQUALS
    value = value.removesuffix("*")
    return Condition(field, comparison, normalise(value) if field == "username" else value)


def _state(value: str) -> str:
    name = value.removeprefix("USER_STATE_")
    if name not in UserState.__members__:
        _refuse(f"state is one of {', '.join(UserState)}")
    return name


def _refuse(why: str) -> NoReturn:
    raise InvalidArgument("INVALID_FILTER", f"filter: {why}", field="filter")
