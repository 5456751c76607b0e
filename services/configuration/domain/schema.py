"""Holds values against JSON Schema (draft 2020-12), and schemas against what we accept as one.

A schema may refer only within itself: nothing is ever fetched. Problems name the path inside the value and the reason; a reason may
quote the value, so callers leave it out for sensitive settings.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from services.configuration.domain.values import Json, canonical

MAX_PROBLEMS = 10
"""More than these nobody reads."""
MAX_REASON_CHARS = 200
_REFERENCES = ("$ref", "$dynamicRef")


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule. `path` is as in `[2].name`, "" for the value as a whole; `rule` is the schema's keyword."""

    path: str
    reason: str
    rule: str


class SchemaInvalid(Exception):
    """This is no schema that can be used. The text says why."""


def check_schema(schema: Mapping[str, Json]) -> None:
    """Raises SchemaInvalid unless `schema` is draft 2020-12 and refers to nothing outside of itself."""
    try:
        Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise SchemaInvalid(
            f"{_path(error.absolute_path) or 'schema'}: {error.message[:MAX_REASON_CHARS]}"
        ) from None
    outside = next((target for target in _references(schema) if not target.startswith("#")), None)
    if outside is not None:
        raise SchemaInvalid(f"refers to another document: {outside[:MAX_REASON_CHARS]}")


def problems(schema: Mapping[str, Json], value: Json) -> tuple[Problem, ...]:
    """What is wrong with `value`, at most ten things; empty if nothing is. Raises SchemaInvalid if that cannot be said."""
    try:
        errors = list(_validator(canonical(dict(schema))).iter_errors(value))
    except (Unresolvable, RecursionError):
        raise SchemaInvalid(
            "the schema refers to a part that it does not have, or to itself without end"
        ) from None
    errors.sort(key=lambda error: _path(error.absolute_path))
    return tuple(
        Problem(_path(error.absolute_path), error.message[:MAX_REASON_CHARS], str(error.validator))
        for error in errors[:MAX_PROBLEMS]
    )


@lru_cache(maxsize=1024)
def _validator(schema_text: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_text), registry=Registry())


def _references(node: Json) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in _REFERENCES and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _path(parts: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
