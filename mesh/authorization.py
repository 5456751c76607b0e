"""Decides whether a principal may do what a method's permission names. Deny is the default.

A role is a set of permissions; `*` holds everything, `posts.*` holds everything of one resource. A binding gives a role to a user,
for the whole fleet or for one bot. Roles in the access token count for the whole fleet. An API key narrows what its owner holds to the
permissions it was given, wildcards alike, and adds nothing. The snapshot is immutable and swapped whole when configuration sends a new
revision, so a decision never sees half a change. `grants` and `deciding` are the whole decision, for whoever asks it and for whoever
explains it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.context import Principal


@dataclass(frozen=True, slots=True)
class Binding:
    """Gives `role_id` to `subject` (a user id), fleet-wide if `bot_id` is empty, else for that bot."""

    subject: str
    role_id: str
    bot_id: str = ""
    id: str = ""
    """Empty where nobody asks which binding it was."""


class Grant(NamedTuple):
    """One way in which a principal holds a role, held against a permission."""

    role_id: str
    binding: Binding | None
    """None: the account has the role."""
    entry: str
    """What in the role covers the permission, such as "posts.*"; empty if nothing does."""
    applies: bool
    """False for a binding to another bot, or to one bot where the whole fleet is asked for."""


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
        return deciding(self.grants(principal.user_id, principal.roles, permission, bot_id)) is not None

    def grants(
        self, user_id: str, account_roles: tuple[str, ...], permission: str, bot_id: str = ""
    ) -> Iterator[Grant]:
        """All that the user holds, in the order in which it is looked at: roles of the account, then bindings."""
        for role in account_roles:
            yield Grant(role, None, self._entry(role, permission), True)
        for binding in self.bindings.get(user_id, ()):
            applies = not binding.bot_id or binding.bot_id == bot_id
            yield Grant(binding.role_id, binding, self._entry(binding.role_id, permission), applies)

    def permissions(self, principal: Principal) -> frozenset[str]:
        """What the principal may do for the whole fleet, wildcards unexpanded."""
        bound = (b.role_id for b in self.bindings.get(principal.user_id, ()) if not b.bot_id)
        roles = (*principal.roles, *bound)
        return narrowed(
            frozenset[str]().union(*(self.roles.get(role, frozenset()) for role in roles)), principal.scope
        )

    def _entry(self, role: str, permission: str) -> str:
        held = self.roles.get(role)
        return "" if held is None else entry(held, permission)


def deciding(grants: Iterator[Grant]) -> Grant | None:
    """The grant that lets the principal pass: the first that applies and covers. None: nothing does, and deny is the default."""
    return next((grant for grant in grants if grant.applies and grant.entry), None)


def narrowed(held: frozenset[str], scope: frozenset[str] | None) -> frozenset[str]:
    """What is left of `held` for an API key with `scope`; None is no API key."""
    if scope is None:
        return held
    return frozenset(p for p in held if covers(scope, p)) | frozenset(p for p in scope if covers(held, p))


def entry(held: frozenset[str], permission: str) -> str:
    """What in a set of permissions, which may hold `*` and `posts.*`, covers one; empty if nothing does."""
    if permission in held:
        return permission
    wildcard = f"{permission.partition('.')[0]}.*"
    if wildcard in held:
        return wildcard
    return "*" if "*" in held else ""


def covers(held: frozenset[str], permission: str) -> bool:
    """Whether a set of permissions covers one."""
    return bool(entry(held, permission))
