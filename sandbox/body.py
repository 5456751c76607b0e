"""A few combinators that hold a JSON value against a shape, strictly: an unknown field is an error.

A `Check` takes a value and its dotted path and raises `problems.Invalid` naming that path. Shapes are built from
`record`, `array`, `string`, `whole`, `flag`, `choice` and `identifier`. Nothing is converted, nothing is defaulted.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import cast

from sandbox.problems import Invalid

Check = Callable[[object, str], None]
_IDENTIFIER = re.compile(r"[0-9]{1,19}")


def parse_object(raw: bytes) -> dict[str, object]:
    """The JSON object in a request body.

    Raises:
        Invalid: not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid("$", "the body is not valid JSON") from error
    if not isinstance(value, dict):
        raise Invalid("$", "the body must be a JSON object")
    return cast("dict[str, object]", value)


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(path, "must be an object", value)
        for name, inner in value.items():
            if name not in fields:
                raise Invalid(_join(path, name), "is not a known field", inner)
            fields[name](inner, _join(path, name))
        for name in required:
            if name not in value:
                raise Invalid(_join(path, name), "is missing but it is required")

    return check


def array(item: Check, least: int, most: int) -> Check:
    """A list of `least` to `most` items."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise Invalid(path, f"must be a list of {least} to {most} items", value)
        for index, inner in enumerate(value):
            item(inner, f"{path}[{index}]")

    return check


def string(least: int = 0, most: int | None = None) -> Check:
    """A text of `least` to `most` code points, without lone surrogates."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, str):
            raise Invalid(path, "must be a string", value)
        if len(value) < least or (most is not None and len(value) > most):
            raise Invalid(path, f"must have {least} to {most} characters", value)
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise Invalid(path, "is not valid Unicode")

    return check


def whole(least: int, most: int) -> Check:
    """A whole number from `least` to `most`."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Invalid(path, f"must be a whole number from {least} to {most}", value)

    return check


def number(above: float, most: float) -> Check:
    """A number greater than `above`, at most `most`."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not above < value <= most:
            raise Invalid(path, f"must be a number above {above:g}, at most {most:g}", value)

    return check


def flag(value: object, path: str) -> None:
    """true or false."""
    if not isinstance(value, bool):
        raise Invalid(path, "must be true or false", value)


def choice(*values: str) -> Check:
    """One of these texts."""

    def check(value: object, path: str) -> None:
        if value not in values:
            raise Invalid(path, f"must be one of {', '.join(values)}", value)

    return check


def identifier(value: object, path: str) -> None:
    """An id as X writes it: 1 to 19 digits in a string."""
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise Invalid(path, "must be a string of 1 to 19 digits", value)


def _join(path: str, name: str) -> str:
    return name if path == "$" else f"{path}.{name}"
