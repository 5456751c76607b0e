"""What a setting may be: its definition, who may declare it, and which of two declarations counts.

A service declares its own settings and those that all share ("mesh.…"). During an upgrade releases run side by side: the definition of
an older release never replaces that of a newer one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mesh.errors import FieldViolation, InvalidArgument, PermissionDenied
from services.configuration.domain.schema import SchemaInvalid, check_schema, problems
from services.configuration.domain.values import MAX_VALUE_BYTES, Json, canonical, weight

SHARED = "mesh"
"""First segment of settings that every service may declare."""

ReleaseOrder: TypeAlias = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Definition:
    """The law of one setting, as its owner declared it. See SettingDefinition in the contract for each field."""

    key: str
    json_schema: Mapping[str, Json]
    default: Json
    description: str
    owner: str
    unit: str = ""
    restart_required: bool = False
    sensitive: bool = False
    approval_required: bool = False
    release: str = "0.0.0"
    """Version of the product that declared it."""


def release_order(release: str) -> ReleaseOrder:
    """Sorts as Semantic Versioning 2.0.0 section 11 does. What is no version sorts before all versions."""
    match = _RELEASE.fullmatch(release)
    if match is None:
        return (-1, 0, 0), False, ()
    major, minor, patch, early = match.groups()
    parts = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in (early or "").split(".")
    )
    return (int(major), int(minor), int(patch)), early is None, parts


def replaces(new: Definition, old: Definition | None) -> bool:
    """Whether declaring `new` over `old` changes what is in force."""
    if old is None:
        return True
    if release_order(new.release) < release_order(old.release):
        return False
    return _law(new) != _law(old)


def owner_of(key: str, caller: str) -> str:
    """Who owns the setting that `caller` declares. Raises PermissionDenied (SERVICE_NOT_ALLOWED) if it is not the caller's."""
    owner = key.partition(".")[0]
    if owner not in (caller, SHARED):
        raise PermissionDenied(
            "SERVICE_NOT_ALLOWED",
            f"{caller or 'this caller'} declares settings below {caller or '-'}. and {SHARED}. only, not {key}",
            metadata={"key": key},
        )
    return owner


def check_definition(definition: Definition, field: str) -> None:
    """Raises InvalidArgument (INVALID_FIELD) for a schema that is none, or a default that breaks it. `field` names the definition."""
    try:
        check_schema(definition.json_schema)
        found = problems(definition.json_schema, definition.default)
    except SchemaInvalid as error:
        raise InvalidArgument(
            "INVALID_FIELD", f"{definition.key}: {error}", field=f"{field}.json_schema"
        ) from None
    if weight(definition.default) > MAX_VALUE_BYTES:
        raise InvalidArgument(
            "INVALID_FIELD", f"{definition.key}: more than 64 KiB as JSON", field=f"{field}.default_value"
        )
    if found:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"{definition.key}: the default breaks its own schema: {found[0].reason}",
            violations=[FieldViolation(f"{field}.default_value{item.path}", item.reason) for item in found],
        )


def _law(definition: Definition) -> tuple[Any, ...]:
    """Everything but the release; JSON told apart strictly."""
    bare = replace(definition, release="", json_schema={}, default=None)
    return bare, canonical(dict(definition.json_schema)), canonical(definition.default)
