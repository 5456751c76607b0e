"""Filters, tests and methods that templates may use: pure, deterministic, and bounded by what they are given.

Left out of Jinja2's: what draws at random, formats by a width that the template names, makes markup, calls other filters by name, or
looks into objects.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from jinja2 import Environment
from jinja2 import filters as jinja

from services.bot_manager.domain.templating.values import (
    MAX_ITEMS,
    MAX_TEXT,
    TemplateError,
    Undefined,
    Value,
    shown,
)

_ENVIRONMENT: Final = Environment(autoescape=False)  # noqa: S701 - posts are plain text
MAX_PRECISION: Final = 15
"""Decimal digits that a number here can have."""
_DIRECTIVE: Final = re.compile(r"%(-?)(.?)", re.DOTALL)
_DIRECTIVES: Final = frozenset("aAbBdHIjmMpSuVwYyGUWzZ")
MAX_FORMAT: Final = 200


def _text(value: Value) -> str:
    return value if isinstance(value, str) else shown(value)


def _items(value: Value) -> tuple[Value, ...]:
    """What a loop over the value yields."""
    if isinstance(value, Mapping):
        return tuple(value)
    if isinstance(value, str | tuple):
        if len(value) > MAX_ITEMS:
            raise TemplateError(f"a list is longer than {MAX_ITEMS}")
        return tuple(value)
    raise TemplateError("it is neither a list nor a mapping")


def _join(value: Value, d: str = "") -> str:
    texts = [shown(item) for item in _items(value)]
    if sum(map(len, texts)) + len(_text(d)) * len(texts) > MAX_TEXT:
        raise TemplateError(f"a text is longer than {MAX_TEXT} code points")
    return _text(d).join(texts)


def _replace(value: Value, old: str, new: str, count: int = -1) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    found = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    if len(text) + found * len(new) > MAX_TEXT:
        raise TemplateError(f"a text is longer than {MAX_TEXT} code points")
    return text.replace(old, new, found)


def _round(value: float, precision: int = 0, method: Literal["common", "ceil", "floor"] = "common") -> float:
    if not -MAX_PRECISION <= precision <= MAX_PRECISION:
        raise TemplateError(f"round knows {MAX_PRECISION} digits")
    return jinja.do_round(value, precision, method)


def _integer(value: Value, default: int = 0, base: int = 10) -> int:
    return jinja.do_int(value, default, base)


def _range(*bounds: int) -> tuple[int, ...]:
    numbers = range(*bounds)
    if len(numbers) > MAX_ITEMS:
        raise TemplateError(f"a list is longer than {MAX_ITEMS}")
    return tuple(numbers)


def _split(value: str, separator: str | None = None, limit: int = -1) -> Sequence[str]:
    return value.split(separator, limit)


def _unique(value: Value, case_sensitive: bool = False) -> Sequence[Value]:
    return tuple(jinja.do_unique(_ENVIRONMENT, _items(value), case_sensitive))


def _sort(value: Value, reverse: bool = False, case_sensitive: bool = False) -> Sequence[Value]:
    return jinja.do_sort(_ENVIRONMENT, _items(value), reverse, case_sensitive)


def _truncate(
    value: Value, length: int = 255, killwords: bool = False, end: str = "...", leeway: int | None = None
) -> str:
    return jinja.do_truncate(_ENVIRONMENT, _text(value), length, killwords, end, leeway)


def _reverse(value: Value) -> Value:
    return value[::-1] if isinstance(value, str) else _items(value)[::-1]


def _strftime(moment: datetime, form: str) -> str:
    """One directive at a time, so that widths and other powers of the C library are out of reach."""
    if len(form) > MAX_FORMAT:
        raise TemplateError(f"a format is longer than {MAX_FORMAT} code points")

    def written(match: re.Match[str]) -> str:
        bare, letter = match[1], match[2]
        if letter == "%" and not bare:
            return "%"
        if letter not in _DIRECTIVES:
            raise TemplateError(f"the format has an unknown directive {match[0]!r}")
        text = moment.strftime(f"%{letter}")
        return (text.lstrip("0") or "0") if bare else text

    return _DIRECTIVE.sub(written, form)


FILTERS: Final[Mapping[str, Callable[..., Value]]] = {
    "abs": abs,
    "capitalize": lambda value: _text(value).capitalize(),
    "count": lambda value: len(value),
    "d": lambda value, default_value="", boolean=False: value,
    "default": lambda value, default_value="", boolean=False: value,
    "first": lambda value: _items(value)[0],
    "float": lambda value, default=0.0: jinja.do_float(value, default),
    "int": _integer,
    "items": lambda value: tuple(value.items()),
    "join": _join,
    "last": lambda value: _items(value)[-1],
    "length": lambda value: len(value),
    "list": _items,
    "lower": lambda value: _text(value).lower(),
    "max": lambda value: jinja.do_max(_ENVIRONMENT, _items(value)),
    "min": lambda value: jinja.do_min(_ENVIRONMENT, _items(value)),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "sort": _sort,
    "string": _text,
    "sum": lambda value: sum(_items(value)),
    "title": lambda value: jinja.do_title(_text(value)),
    "trim": lambda value, chars=None: _text(value).strip(chars),
    "truncate": _truncate,
    "unique": _unique,
    "upper": lambda value: _text(value).upper(),
    "urlencode": lambda value: jinja.do_urlencode(_text(value)),
    "wordcount": lambda value: jinja.do_wordcount(_text(value)),
}
"""By name. `default` is evaluated where it stands, since it alone sees what is undefined; here it has its signature."""

TESTS: Final[Mapping[str, Callable[..., bool]]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "divisibleby": lambda value, number: value % number == 0,
    "even": lambda value: value % 2 == 0,
    "in": lambda value, group: value in group,
    "none": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float),
    "odd": lambda value: value % 2 == 1,
    "string": lambda value: isinstance(value, str),
}

FUNCTIONS: Final[Mapping[str, Callable[..., Value]]] = {"range": _range}

METHODS: Final[Mapping[type[Any], Mapping[str, Callable[..., Value]]]] = {
    str: {
        "capitalize": str.capitalize,
        "endswith": str.endswith,
        "lower": str.lower,
        "lstrip": str.lstrip,
        "replace": _replace,
        "rstrip": str.rstrip,
        "split": _split,
        "startswith": str.startswith,
        "strip": str.strip,
        "title": str.title,
        "upper": str.upper,
    },
    datetime: {
        "isoformat": lambda moment: moment.isoformat(),
        "isoweekday": datetime.isoweekday,
        "strftime": _strftime,
        "weekday": datetime.weekday,
    },
    Mapping: {
        "get": lambda mapping, key, default=None: mapping.get(key, default),
        "items": lambda mapping: tuple(mapping.items()),
        "keys": lambda mapping: tuple(mapping),
        "values": lambda mapping: tuple(mapping.values()),
    },
}
"""By the type of the value they are called on."""

FIELDS: Final = frozenset({"year", "month", "day", "hour", "minute", "second"})
"""What a time has beside its methods."""
