"""Who may give which roles: nobody gives more than they hold.

A permission is `noun.verb`, `noun.*` or `*`; the meaning is `mesh.authorization`'s, told here for sets of permissions.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from mesh.errors import NotFound, PermissionDenied

Roles = Mapping[str, frozenset[str]]
"""Permissions by role id, as configuration has them."""


def _nothing_bound(user_id: str) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Giver:
    """The caller as one who gives roles: what the caller holds for the whole fleet, and the roles that exist."""

    permissions: frozenset[str]
    roles: Roles
    bound: Callable[[str], Iterable[str]] = _nothing_bound
    """Ids of the roles that are bound to a user, for the fleet or for single bots."""

    def check(self, role_ids: Iterable[str]) -> None:
        """Raises NotFound for a role that does not exist, PermissionDenied for one that grants what the giver lacks."""
        for index, role in enumerate(role_ids):
            granted = self.roles.get(role)
            if granted is None:
                raise NotFound("ROLE_NOT_FOUND", f"there is no role {role}", field=f"roles[{index}]")
            self._check_granted(role, granted)

    def check_over(self, user_id: str, role_ids: Iterable[str]) -> None:
        """Raises PermissionDenied if the user, who has these roles, holds more than the giver. Roles that are gone grant nothing."""
        for role in (*role_ids, *self.bound(user_id)):
            self._check_granted(role, self.roles.get(role, frozenset()))

    def _check_granted(self, role: str, granted: frozenset[str]) -> None:
        for permission in sorted(granted):
            if not covers(self.permissions, permission):
                raise PermissionDenied(
                    "PERMISSION_MISSING",
                    f"the role {role} grants {permission}, which you do not hold",
                    metadata={"permission": permission},
                )


def covers(held: Collection[str], permission: str) -> bool:
    """Whether whoever holds `held` holds `permission`, which may be a wildcard itself."""
    return "*" in held or permission in held or f"{permission.partition('.')[0]}.*" in held
