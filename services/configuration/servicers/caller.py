"""Who makes the call that is being served, as this service's domain sees it."""

from typing import Protocol

from mesh.authorization import Policy
from mesh.context import Call, current_call
from mesh.errors import Internal
from services.configuration.domain.changes import Author
from services.configuration.domain.role import Caller

SEES_SENSITIVE = "settings.write"
"""The permission that shows sensitive values (contract of Setting.value)."""


class PolicySource(Protocol):
    """Gives the newest roles and bindings; the process's own watch."""

    def policy(self) -> Policy: ...


def call_about(resource: str = "") -> Call:
    """The call being served; `resource` names for the trail what it is about."""
    call = current_call()
    if call is None:
        raise Internal("INTERNAL", "this is a bug: a servicer runs outside of the chain")
    if resource:
        call.resource = resource
    return call


def caller(resource: str = "") -> Caller:
    """The user who calls."""
    principal = call_about(resource).principal
    if principal is None:
        raise Internal("INTERNAL", "this is a bug: the contract lets this call in without a user")
    return Caller(principal.user_id, principal.roles, principal.scope)


def author(comment: str = "", resource: str = "") -> Author:
    """Who makes a revision: the user, else the service that calls."""
    call = call_about(resource)
    actor = call.principal.user_id if call.principal is not None else f"service:{call.peer}"
    return Author(actor, comment)


def sees_sensitive(source: PolicySource) -> bool:
    """Whether the caller may see sensitive values."""
    principal = call_about().principal
    return principal is not None and source.policy().allows(principal, SEES_SENSITIVE)
