"""`UserService`: accounts, as administrators see them."""

import hmac

from mesh.interceptors.chain import ServicerContext
from mesh.paging import PageTokens, page_size
from services.authentication import convert
from services.authentication.caller import principal
from services.authentication.domain.accounts import Accounts, RequestKey
from services.authentication.domain.filters import parse_filter
from services.authentication.grants import Grants
from vivesphere.authentication.v1 import user_service_pb2 as pb
from vivesphere.authentication.v1.user_service_pb2_grpc import UserServiceServicer


class UserServicer(UserServiceServicer):
    """What is not here yet answers UNIMPLEMENTED by the generated base class."""

    def __init__(self, accounts: Accounts, grants: Grants, pages: PageTokens, request_secret: bytes) -> None:
        """`request_secret` keys the digests of requests: a bare digest of a password would be guessable."""
        self._accounts = accounts
        self._grants = grants
        self._pages = pages
        self._request_secret = request_secret

    async def CreateUser(
        self, request: pb.CreateUserRequest, context: ServicerContext
    ) -> pb.CreateUserResponse:
        user = await self._accounts.create(
            convert.new_user_from_proto(request), self._grants.giver(principal()), self._key(request)
        )
        return pb.CreateUserResponse(user=convert.user_to_proto(user))

    async def GetUser(self, request: pb.GetUserRequest, context: ServicerContext) -> pb.GetUserResponse:
        return pb.GetUserResponse(user=convert.user_to_proto(await self._accounts.get(request.user_id)))

    async def ListUsers(self, request: pb.ListUsersRequest, context: ServicerContext) -> pb.ListUsersResponse:
        conditions, size = parse_filter(request.filter), page_size(request.page_size)
        filters = {"filter": request.filter}
        after = self._pages.decode(request.page_token, filters)
        found = await self._accounts.list(conditions, str(after[0]) if after else None, size + 1)
        more = len(found) > size
        return pb.ListUsersResponse(
            users=[convert.user_to_proto(user) for user in found[:size]],
            next_page_token=self._pages.encode((found[size - 1].id,), filters) if more else "",
        )

    async def UpdateUser(
        self, request: pb.UpdateUserRequest, context: ServicerContext
    ) -> pb.UpdateUserResponse:
        user = await self._accounts.update(
            request.user_id, convert.user_change_from_proto(request), self._grants.giver(principal())
        )
        return pb.UpdateUserResponse(user=convert.user_to_proto(user))

    async def DeleteUser(
        self, request: pb.DeleteUserRequest, context: ServicerContext
    ) -> pb.DeleteUserResponse:
        await self._accounts.delete(request.user_id, request.etag)
        return pb.DeleteUserResponse()

    def _key(self, request: pb.CreateUserRequest) -> RequestKey | None:
        if not request.request_id:
            return None
        content = request.SerializeToString(deterministic=True)
        digest = hmac.digest(self._request_secret, content, "sha256")
        return RequestKey(request.request_id, principal().user_id, digest)
