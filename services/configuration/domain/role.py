"""Roles, bindings and the one rule about giving: nobody grants what they do not hold for the whole fleet.

A permission is `resource.verb`; `resource.*` stands for all of a resource and `*` for everything. Which permissions exist is not
written here: it is read from the contracts (`Catalogue`). Built-in roles are data of the product and change with its releases only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

ALL = "*"
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions. `revision` is that of its last change, 0 before it is stored."""

    id: str
    permissions: tuple[str, ...]
    description: str = ""
    built_in: bool = False
    revision: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """`subject` (a user's id) holds `role_id`, fleet-wide if `bot_id` is empty."""

    id: str
    subject: str
    role_id: str
    bot_id: str = ""
    create_actor: str = ""
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `roles` are those of the account, as the access token names them."""

    user_id: str
    roles: tuple[str, ...]
    scope: frozenset[str] | None = None
    """Permissions that the caller's API key is limited to; None for a session."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that a method requires. `methods` are full names such as `vivesphere.bot_manager.v1.PostService/CreatePost`."""

    name: str
    methods: tuple[str, ...]
    per_bot: bool


class Catalogue:
    """Every permission there is, by name."""

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self.permissions = tuple(sorted(permissions, key=lambda permission: permission.name))
        names = {permission.name for permission in self.permissions}
        self._known = names | {f"{name.partition('.')[0]}.*" for name in names} | {ALL}

    def check(self, wanted: Iterable[str], field: str = "role.permissions") -> None:
        """Raises InvalidArgument (INVALID_FIELD) for a permission that no method requires."""
        for index, permission in enumerate(wanted):
            if permission not in self._known:
                raise InvalidArgument(
                    "INVALID_FIELD", f"no method requires {permission}", field=f"{field}[{index}]"
                )


BUILT_IN: tuple[Role, ...] = (
    Role(ADMIN, (ALL,), "May do everything.", built_in=True),
    Role(
        "operator",
        (
            "apps.read",
            "bots.credentials",
            "bots.read",
            "bots.write",
            "logs.read",
            "posts.approve",
            "posts.read",
            "posts.write",
            "secrets.read",
            "secrets.write",
            "settings.read",
            "statistics.read",
        ),
        "Runs bots and publishes; changes neither users nor settings.",
        built_in=True,
    ),
    Role(
        "viewer",
        ("apps.read", "bots.read", "logs.read", "posts.read", "settings.read", "statistics.read"),
        "Sees everything about bots and posts, changes nothing.",
        built_in=True,
    ),
    Role(
        "auditor",
        ("audit.read", "logs.read", "roles.read", "secrets.audit", "settings.read", "users.read"),
        "Reads the trail and who may do what, changes nothing.",
        built_in=True,
    ),
)


def covers(held: Iterable[str], wanted: str) -> bool:
    """Whether holding `held` includes `wanted`. A wildcard is covered only by itself or a wider one: it grows with the product."""
    permissions = frozenset(held)
    return wanted in permissions or ALL in permissions or f"{wanted.partition('.')[0]}.*" in permissions


def held_by(caller: Caller, roles: Mapping[str, Role], bindings: Iterable[RoleBinding]) -> frozenset[str]:
    """What the caller holds for the whole fleet, by account and by bindings, as far as an API key lets it."""
    fleet = {
        binding.role_id for binding in bindings if binding.subject == caller.user_id and not binding.bot_id
    }
    names = fleet.union(caller.roles)
    held = frozenset(permission for name in names if name in roles for permission in roles[name].permissions)
    scope = caller.scope
    if scope is None:
        return held
    return frozenset(p for p in held if covers(scope, p)) | frozenset(p for p in scope if covers(held, p))


def require_held(held: frozenset[str], wanted: Iterable[str]) -> None:
    """Raises PermissionDenied (PERMISSION_MISSING) naming the first of `wanted` that `held` does not include."""
    for permission in wanted:
        if not covers(held, permission):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"nobody gives or takes what they do not hold for the whole fleet: {permission}",
                metadata={"permission": permission},
            )


def require_custom(role: Role) -> None:
    """Raises FailedPrecondition (ROLE_BUILT_IN) for a role of the product."""
    if role.built_in:
        raise FailedPrecondition(
            "ROLE_BUILT_IN", f"the role {role.id} is built in and stays as it is", metadata={"role": role.id}
        )


def require_administrator_left(caller: Caller, leaving: RoleBinding, others: Iterable[RoleBinding]) -> None:
    """Raises FailedPrecondition (LAST_ADMINISTRATOR) if without `leaving` nobody is known to hold `admin` for the fleet.

    Accounts are authentication's; of those only the caller's own is known here. `others` are the remaining bindings of `admin`.
    """
    if leaving.role_id != ADMIN or leaving.bot_id or ADMIN in caller.roles:
        return
    if not any(not binding.bot_id for binding in others):
        raise FailedPrecondition("LAST_ADMINISTRATOR", "this binding is the last that makes an administrator")


def role_missing(role_id: str) -> NotFound:
    """The answer to a role that is not there."""
    return NotFound("ROLE_NOT_FOUND", "no such role", metadata={"role": role_id})
