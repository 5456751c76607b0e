"""RoleService."""

from itertools import islice

from google.protobuf import field_mask_pb2

from mesh.contract import rule_of
from mesh.paging import PageTokens, page_size
from services.configuration.convert.roles import (
    from_answer,
    from_binding,
    from_permission,
    from_role,
    to_permissions,
    to_question,
    to_role,
)
from services.configuration.domain.role import Catalogue
from services.configuration.domain.role_book import RoleBook
from services.configuration.explaining import Explainer
from services.configuration.servicers.caller import call_about, caller
from vivesphere.configuration.v1 import role_pb2, role_service_pb2_grpc
from vivesphere.configuration.v1 import role_service_pb2 as pb

CHANGEABLE = ("permissions", "description")


class RoleServicer(role_service_pb2_grpc.RoleServiceServicer):
    """Converts, calls `RoleBook`, converts."""

    def __init__(
        self, book: RoleBook, catalogue: Catalogue, explainer: Explainer, page_secret: bytes
    ) -> None:
        self._book = book
        self._explainer = explainer
        self._catalogue = catalogue
        self._pages = PageTokens(page_secret, "configuration.roles")
        self._permission_pages = PageTokens(page_secret, "configuration.permissions")
        self._binding_pages = PageTokens(page_secret, "configuration.role_bindings")

    async def CreateRole(self, request: pb.CreateRoleRequest, context: object) -> pb.CreateRoleResponse:
        """See the contract."""
        who = caller(f"roles/{request.role.id}")
        role = await self._book.create(to_role(request.role), who, request.request_id)
        return pb.CreateRoleResponse(role=from_role(role))

    async def GetRole(self, request: pb.GetRoleRequest, context: object) -> pb.GetRoleResponse:
        """See the contract."""
        call_about(f"roles/{request.role_id}")
        return pb.GetRoleResponse(role=from_role(await self._book.get(request.role_id)))

    async def ListRoles(self, request: pb.ListRolesRequest, context: object) -> pb.ListRolesResponse:
        """See the contract."""
        position = self._pages.decode(request.page_token, {})
        size = page_size(request.page_size)
        roles = await self._book.page(str(position[0]) if position else "", size + 1)
        more = len(roles) > size
        return pb.ListRolesResponse(
            roles=[from_role(role) for role in roles[:size]],
            next_page_token=self._pages.encode((roles[size - 1].id,), {}) if more else "",
        )

    async def UpdateRole(self, request: pb.UpdateRoleRequest, context: object) -> pb.UpdateRoleResponse:
        """See the contract."""
        fields = _fields(request.update_mask, request.role)
        role = await self._book.update(
            request.role_id,
            caller(f"roles/{request.role_id}"),
            permissions=to_permissions(request.role) if "permissions" in fields else None,
            description=request.role.description if "description" in fields else None,
            etag=request.role.etag,
        )
        return pb.UpdateRoleResponse(role=from_role(role))

    async def DeleteRole(self, request: pb.DeleteRoleRequest, context: object) -> pb.DeleteRoleResponse:
        """See the contract."""
        await self._book.delete(request.role_id, caller(f"roles/{request.role_id}"), request.etag)
        return pb.DeleteRoleResponse()

    async def ListPermissions(
        self, request: pb.ListPermissionsRequest, context: object
    ) -> pb.ListPermissionsResponse:
        """See the contract."""
        position = self._permission_pages.decode(request.page_token, {})
        after = str(position[0]) if position else ""
        size = page_size(request.page_size)
        rest = (permission for permission in self._catalogue.permissions if permission.name > after)
        page = list(islice(rest, size + 1))
        more = len(page) > size
        return pb.ListPermissionsResponse(
            permissions=[from_permission(permission) for permission in page[:size]],
            next_page_token=self._permission_pages.encode((page[size - 1].name,), {}) if more else "",
        )

    async def CreateRoleBinding(
        self, request: pb.CreateRoleBindingRequest, context: object
    ) -> pb.CreateRoleBindingResponse:
        """See the contract."""
        wanted = request.role_binding
        who = caller(f"users/{wanted.subject}/roles/{wanted.role_id}")
        binding = await self._book.bind(wanted.subject, wanted.role_id, wanted.bot_id, who)
        return pb.CreateRoleBindingResponse(role_binding=from_binding(binding))

    async def ListRoleBindings(
        self, request: pb.ListRoleBindingsRequest, context: object
    ) -> pb.ListRoleBindingsResponse:
        """See the contract."""
        filters = {"subject": request.subject, "role": request.role_id, "bot": request.bot_id}
        position = self._binding_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        bindings = await self._book.bindings(
            request.subject, request.role_id, request.bot_id, str(position[0]) if position else "", size + 1
        )
        more = len(bindings) > size
        return pb.ListRoleBindingsResponse(
            role_bindings=[from_binding(binding) for binding in bindings[:size]],
            next_page_token=self._binding_pages.encode((bindings[size - 1].id,), filters) if more else "",
        )

    async def DeleteRoleBinding(
        self, request: pb.DeleteRoleBindingRequest, context: object
    ) -> pb.DeleteRoleBindingResponse:
        """See the contract."""
        await self._book.unbind(request.binding_id, caller(f"roleBindings/{request.binding_id}"))
        return pb.DeleteRoleBindingResponse()

    async def ExplainAccess(
        self, request: pb.ExplainAccessRequest, context: object
    ) -> pb.ExplainAccessResponse:
        """See the contract."""
        call_about(f"users/{request.subject}")
        answer = await self._explainer.explain(to_question(request))
        return from_answer(answer, rule_of(request.method) if request.method else None)


def _fields(mask: field_mask_pb2.FieldMask, role: role_pb2.Role) -> frozenset[str]:
    """Fields to change: those the mask names, without a mask those that are set."""
    if mask.paths:
        return frozenset(mask.paths)
    return frozenset(name for name in CHANGEABLE if getattr(role, name))
