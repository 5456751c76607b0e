"""Who may give which roles: nobody gives more than they hold.

A permission is `noun.verb`, `noun.*` or `*`; the meaning is `mesh.authorization`'s, told here for sets of permissions.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mesh.errors import NotFound, PermissionDenied

Roles = Mapping[str, frozenset[str]]
"""Permissions by role id, as configuration has them."""


@dataclass(frozen=True, slots=True)
class Giver:
    """The caller as one who gives roles: what the caller holds for the whole fleet, and the roles that exist."""

    permissions: frozenset[str]
    roles: Roles

    def check(self, role_ids: Iterable[str]) -> None:
        """Raises NotFound for a role that does not exist, PermissionDenied for one that grants what the giver lacks."""
        for index, role in enumerate(role_ids):
            granted = self.roles.get(role)
            if granted is None:
                raise NotFound("ROLE_NOT_FOUND", f"there is no role {role}", field=f"roles[{index}]")
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
