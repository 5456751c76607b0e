"""What a value of a template may be, and how large.

Texts, numbers, truth values, None, times, sequences (always tuples) and mappings. Sequences hold scalars, or tuples of scalars such as
the pairs of a mapping: deeper ones could share what they hold, and looking at them would take for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

MAX_TEXT: Final = 25_000
"""Code points of a text, as of a post."""
MAX_ITEMS: Final = 1_000
MAX_NUMBER: Final = 10**15
MAX_DEPTH: Final = 2
MAX_STEPS: Final = 20_000
"""A long template of a post takes some hundred; this many take about a tenth of a second."""
CHARS_A_STEP: Final = 250
"""How much text costs as much as one step."""
SOURCE_A_STEP: Final = 5
"""How many characters of a template are read in the time of one step."""

Value = Any
"""One of the kinds named above, or Undefined."""


class TemplateError(Exception):
    """A template that cannot be rendered. The message is for its author; `variable` is the one that was not given, if it was that."""

    def __init__(self, message: str, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class Budget:
    """What rendering a post may cost, all its parts together. A step is a node of a syntax tree that is looked at."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def pay(self, steps: int) -> None:
        """Raises TemplateError if that is more than is left."""
        self._left -= steps
        if self._left < 0:
            raise TemplateError("it takes too many steps")


@dataclass(frozen=True, slots=True)
class Undefined:
    """A name that has no value. Only `default` and the tests of it may see one."""

    name: str


def checked(value: Value, depth: int = 0) -> Value:
    """The value, sequences made tuples. Raises TemplateError if it is too large, or of another kind."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise TemplateError(f"a text is longer than {MAX_TEXT} code points")
    elif isinstance(value, int | float):
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise TemplateError("a number is too large")
    elif isinstance(value, tuple | list):
        return _checked_items(value, depth)
    elif not (value is None or isinstance(value, datetime | Mapping | Undefined)):
        raise TemplateError("a value is of a kind that templates do not know")
    return value


def _checked_items(value: tuple[Value, ...] | list[Value], depth: int) -> tuple[Value, ...]:
    if len(value) > MAX_ITEMS:
        raise TemplateError(f"a list is longer than {MAX_ITEMS}")
    if depth == MAX_DEPTH:
        raise TemplateError("a list holds lists of lists")
    return tuple(checked(item, depth + 1) for item in value)


def cost(value: Value) -> int:
    """Steps that looking at the whole value is worth."""
    if isinstance(value, str):
        return len(value) // CHARS_A_STEP
    if isinstance(value, tuple):
        return sum(1 + cost(item) for item in value)
    return 0


def shown(value: Value) -> str:
    """The value as text. Raises TemplateError for what has none."""
    if isinstance(value, str | int | float | datetime) or value is None:
        return str(value)
    raise TemplateError("a list or mapping has no text of its own; name one of its values, or join them")
