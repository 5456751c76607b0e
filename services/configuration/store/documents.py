"""Changes as the log keeps them: JSON objects, read back as what they were. Total in both directions.

A stored value is wrapped as `{"value": …}`, so that a stored null differs from nothing stored. Fields may be added, with a default
here; none is ever renamed, since old revisions are never rewritten.
"""

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.configuration.domain.changes import (
    BindingChange,
    Cause,
    Change,
    DefinitionChange,
    RoleChange,
    SettingChange,
    StagingChange,
)
from services.configuration.domain.definition import Definition
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.rollout_plan import Staged
from services.configuration.domain.values import Stored, normal

Document = dict[str, Any]


class Kind(StrEnum):
    """Kinds of changes. Texts are stored; never rename one."""

    DEFINITION = "definition"
    SETTING = "setting"
    STAGING = "staging"
    ROLE = "role"
    BINDING = "role_binding"


def encode(change: Change) -> Document:
    """The columns of `changes` but for the revision."""
    effective: Document | None = None
    match change:
        case SettingChange():
            kind, effective = Kind.SETTING, {"value": change.effective, "sensitive": change.sensitive}
            old, new = stored_document(change.old), stored_document(change.new)
        case StagingChange():
            kind = Kind.STAGING
            effective = {
                "value": change.effective,
                "revision": change.value_revision,
                "sensitive": change.sensitive,
            }
            old, new = staged_document(change.old), staged_document(change.new)
        case DefinitionChange():
            kind, effective = Kind.DEFINITION, {"value": change.effective, "revision": change.value_revision}
            old, new = _optional(change.old), definition_document(change.new)
        case RoleChange():
            kind = Kind.ROLE
            old, new = _optional(change.old), _optional(change.new)
        case BindingChange():
            kind = Kind.BINDING
            old, new = _optional(change.old), _optional(change.new)
    return {
        "kind": kind.value,
        "subject": change.subject,
        "cause": change.cause.value,
        "old": old,
        "new": new,
        "effective": effective,
    }


def decode(
    kind: str,
    subject: str,
    cause: str,
    old: Document | None,
    new: Document | None,
    effective: Document | None,
) -> Change:
    """The change in a row of `changes`."""
    why = Cause(cause)
    match Kind(kind):
        case Kind.SETTING:
            now = effective or {}
            sensitive = now.get("sensitive", False)
            return SettingChange(
                subject, stored_from(old), stored_from(new), now.get("value"), why, sensitive
            )
        case Kind.STAGING:
            now = effective or {}
            before, after = staged_from(old), staged_from(new)
            sensitive = now.get("sensitive", False)
            return StagingChange(
                subject, before, after, now.get("value"), now.get("revision"), why, sensitive
            )
        case Kind.DEFINITION:
            now = effective or {}
            law = definition_from(old) if old else None
            return DefinitionChange(
                law, definition_from(new or {}), now.get("value"), now.get("revision", 0), why
            )
        case Kind.ROLE:
            return RoleChange(subject, role_from(old) if old else None, role_from(new) if new else None, why)
        case Kind.BINDING:
            return BindingChange(
                subject, binding_from(old) if old else None, binding_from(new) if new else None, why
            )


def stored_document(stored: Stored | None) -> Document | None:
    """`{"value": …}`, or None."""
    return None if stored is None else {"value": stored.value}


def stored_from(document: Document | None) -> Stored | None:
    """What `stored_document` made a document of."""
    return None if document is None else Stored(normal(document["value"]))


def staged_document(staged: Staged | None) -> Document | None:
    """`{"stored": {"value": …} or null, "share_percent": …, "change_id": …}`, or None."""
    if staged is None:
        return None
    return {
        "stored": stored_document(staged.stored),
        "share_percent": staged.share_percent,
        "change_id": staged.change_id,
    }


def staged_from(document: Document | None) -> Staged | None:
    """What `staged_document` made a document of."""
    if document is None:
        return None
    return Staged(stored_from(document["stored"]), document["share_percent"], document["change_id"])


def definition_document(definition: Definition) -> Document:
    """A definition as JSON."""
    return asdict(definition) | {"json_schema": dict(definition.json_schema)}


def definition_from(document: Document) -> Definition:
    """What `definition_document` made a document of."""
    return Definition(**document)


def role_document(role: Role) -> Document:
    """A role as JSON; times as ISO 8601 in UTC."""
    return _plain(role)


def role_from(document: Document) -> Role:
    """What `role_document` made a document of."""
    times = {name: _time(document.get(name)) for name in ("create_time", "update_time")}
    return Role(**document | times | {"permissions": tuple(document["permissions"])})


def binding_from(document: Document) -> RoleBinding:
    """A binding out of its JSON."""
    return RoleBinding(**document | {"create_time": _time(document.get("create_time"))})


def _optional(thing: Definition | Role | RoleBinding | None) -> Document | None:
    if thing is None:
        return None
    return definition_document(thing) if isinstance(thing, Definition) else _plain(thing)


def _plain(thing: Role | RoleBinding) -> Document:
    return {
        name: value.isoformat()
        if isinstance(value, datetime)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in asdict(thing).items()
    }


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
