"""Roles, bindings and permissions."""

from mesh.authorization import Grant
from services.configuration.convert.values import timestamp
from services.configuration.domain.role import Permission, Role, RoleBinding
from services.configuration.domain.setting import etag_of
from services.configuration.explaining import Answer, Question
from vivesphere.configuration.v1 import role_binding_pb2, role_pb2, role_service_pb2
from vivesphere.mesh.v1 import access_pb2


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


def to_question(request: role_service_pb2.ExplainAccessRequest) -> Question:
    """What is asked."""
    return Question(request.subject, request.method, request.permission, request.bot_id, tuple(request.roles))


def from_answer(answer: Answer, rule: access_pb2.AccessRule | None) -> role_service_pb2.ExplainAccessResponse:
    """The decision with the method's rule, None if a permission was asked for."""
    return role_service_pb2.ExplainAccessResponse(
        allowed=answer.allowed,
        explanation=answer.explanation,
        rule=rule,
        permission=answer.permission,
        grant=_grant(answer.grant) if answer.grant else None,
        considered=map(_grant, answer.considered),
        revision=answer.revision,
    )


def _grant(grant: Grant) -> role_service_pb2.AccessGrant:
    binding = grant.binding
    return role_service_pb2.AccessGrant(
        role_id=grant.role_id,
        binding_id=binding.id if binding else "",
        bot_id=binding.bot_id if binding else "",
        matched_permission=grant.entry,
    )
