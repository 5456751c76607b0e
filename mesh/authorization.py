"""Decides whether a principal may do what a method's permission names. Deny is the default.

A role is a set of permissions; `*` holds everything, `posts.*` holds everything of one resource. A binding gives a role to a user,
for the whole fleet or for one bot. Roles in the access token count for the whole fleet. An API key narrows what its owner holds to the
permissions it was given, wildcards alike, and adds nothing. The snapshot is immutable and swapped whole when configuration sends a new
revision, so a decision never sees half a change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.context import Principal


@dataclass(frozen=True, slots=True)
class Binding:
    """Gives `role_id` to `subject` (a user id), fleet-wide if `bot_id` is empty, else for that bot."""

    subject: str
    role_id: str
    bot_id: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Roles and bindings of one revision."""

    revision: int
    roles: Mapping[str, frozenset[str]]
    bindings: Mapping[str, tuple[Binding, ...]] = field(default_factory=dict)
    """By subject."""

    def allows(self, principal: Principal, permission: str, bot_id: str = "") -> bool:
        """Whether the principal holds `permission`, for the fleet or at least for `bot_id`, and its API key may use it."""
        if principal.scope is not None and not covers(principal.scope, permission):
            return False
        for role in principal.roles:
            if self._grants(role, permission):
                return True
        return any(self._grants(role, permission) for role in self._bound_roles(principal, bot_id))

    def permissions(self, principal: Principal) -> frozenset[str]:
        """What the principal may do for the whole fleet, wildcards unexpanded."""
        roles = (*principal.roles, *self._bound_roles(principal, ""))
        held = frozenset[str]().union(*(self.roles.get(role, frozenset()) for role in roles))
        scope = principal.scope
        if scope is None:
            return held
        return frozenset(p for p in held if covers(scope, p)) | frozenset(p for p in scope if covers(held, p))

    def _bound_roles(self, principal: Principal, bot_id: str) -> Iterable[str]:
        for binding in self.bindings.get(principal.user_id, ()):
            if not binding.bot_id or (bot_id and binding.bot_id == bot_id):
                yield binding.role_id

    def _grants(self, role: str, permission: str) -> bool:
        held = self.roles.get(role)
        return held is not None and covers(held, permission)


def covers(held: frozenset[str], permission: str) -> bool:
    """Whether a set of permissions, which may hold `*` and `posts.*`, covers one."""
    return permission in held or "*" in held or f"{permission.partition('.')[0]}.*" in held
