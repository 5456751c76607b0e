"""Roles, bindings and permissions."""

from services.configuration.convert.values import timestamp
from services.configuration.domain.role import Permission, Role, RoleBinding
from services.configuration.domain.setting import etag_of
from vivesphere.configuration.v1 import role_binding_pb2, role_pb2


def to_permissions(message: role_pb2.Role) -> tuple[str, ...]:
    """The permissions in one order, so that equal sets are equal."""
    return tuple(sorted(message.permissions))


def to_role(message: role_pb2.Role) -> Role:
    """A role as somebody wants it."""
    return Role(message.id, to_permissions(message), message.description)


def from_role(role: Role) -> role_pb2.Role:
    """A role as stored."""
    return role_pb2.Role(
        id=role.id,
        permissions=role.permissions,
        built_in=role.built_in,
        etag=etag_of(role.revision),
        description=role.description,
        create_time=timestamp(role.create_time),
        update_time=timestamp(role.update_time),
    )


def from_binding(binding: RoleBinding) -> role_binding_pb2.RoleBinding:
    """A binding as stored."""
    return role_binding_pb2.RoleBinding(
        id=binding.id,
        subject=binding.subject,
        role_id=binding.role_id,
        bot_id=binding.bot_id,
        create_actor=binding.create_actor,
        create_time=timestamp(binding.create_time),
    )


def from_permission(permission: Permission) -> role_pb2.Permission:
    """A permission with the methods that require it."""
    return role_pb2.Permission(name=permission.name, methods=permission.methods, per_bot=permission.per_bot)
