"""What a revision puts on the audit trail: each changed setting, role and binding, as it was before and as it is now.

Definitions are the product's own and left out. Values of sensitive settings are left out as well; that they changed is not.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import AuditEvent
from mesh.redaction import REDACTED
from services.configuration.domain.changes import (
    BindingChange,
    Cause,
    Change,
    DefinitionChange,
    RoleChange,
    SettingChange,
    StagingChange,
    Transaction,
)
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.rollout_plan import Staged
from services.configuration.domain.values import Stored

BY_A_SERVICE = "service:"


class Trail(Protocol):
    """Where events go; `mesh.audit.AuditTrail`."""

    async def note(self, connection: AsyncConnection, event: AuditEvent) -> None: ...


def events(made: Transaction, sensitive: frozenset[str]) -> Iterator[AuditEvent]:
    """One event a change; values of the `sensitive` keys are left out."""
    author = made.author
    for change in made.changes:
        told = _told(change, sensitive)
        if told is None:
            continue
        action, resource, before, now = told
        details: dict[str, Any] = {"revision": made.revision, "cause": change.cause.value}
        details |= {"comment": author.comment} if author.comment else {}
        details |= {"approver": author.approver} if author.approver else {}
        yield AuditEvent(
            action=action,
            resource=resource,
            # A service that writes is known better by its certificate.
            actor="" if author.actor.startswith(BY_A_SERVICE) else author.actor,
            details=details | {"before": before, "after": now},
        )


def _told(change: Change, sensitive: frozenset[str]) -> tuple[str, str, Any, Any] | None:
    """(action, resource, before, after)."""
    match change:
        case SettingChange(cause=Cause.ROLLOUT_REVERTED):
            return None  # the value stayed; what was staged is told
        case StagingChange():
            if change.cause is Cause.DEFINE:
                return None
            action = "setting.unstaged" if change.new is None else "setting.staged"
            hidden = change.key in sensitive
            return action, f"settings/{change.key}", _staged(change.old, hidden), _staged(change.new, hidden)
        case SettingChange():
            hidden = change.key in sensitive
            action = "setting.reset" if change.new is None else "setting.changed"
            return action, f"settings/{change.key}", _value(change.old, hidden), _value(change.new, hidden)
        case RoleChange():
            return f"role.{_verb(change)}", f"roles/{change.role_id}", _role(change.old), _role(change.new)
        case BindingChange():
            resource = f"roleBindings/{change.binding_id}"
            return f"role_binding.{_verb(change)}", resource, _binding(change.old), _binding(change.new)
        case DefinitionChange():
            return None


def _verb(change: RoleChange | BindingChange) -> str:
    if change.old is None:
        return "created"
    return "deleted" if change.new is None else "updated"


def _value(stored: Stored | None, hidden: bool) -> Any:
    """`{}` where the default was in force, so that a stored null is told apart."""
    if stored is None:
        return {}
    return {"value": REDACTED if hidden else stored.value}


def _staged(staged: Staged | None, hidden: bool) -> Any:
    """What a share of the instances uses; an empty value stands for the default."""
    if staged is None:
        return {}
    return _value(staged.stored, hidden) | {
        "sharePercent": staged.share_percent,
        "changeId": staged.change_id,
    }


def _role(role: Role | None) -> Any:
    if role is None:
        return {}
    return {"permissions": list(role.permissions), "description": role.description}


def _binding(binding: RoleBinding | None) -> Any:
    if binding is None:
        return {}
    return {"subject": binding.subject, "roleId": binding.role_id, "botId": binding.bot_id}
