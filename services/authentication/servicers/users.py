"""`UserService`: accounts, as administrators see them."""

import hmac

from mesh.interceptors.chain import ServicerContext
from mesh.paging import PageTokens, page_size
from services.authentication import convert
from services.authentication.caller import principal
from services.authentication.domain.accounts import Accounts, RequestKey
from services.authentication.domain.filters import parse_filter
from services.authentication.domain.interventions import Interventions
from services.authentication.grants import Grants
from vivesphere.authentication.v1 import user_service_pb2 as pb
from vivesphere.authentication.v1.user_service_pb2_grpc import UserServiceServicer


class UserServicer(UserServiceServicer):
    """Converts, calls the domain, converts back."""

    def __init__(
        self,
        accounts: Accounts,
        interventions: Interventions,
        grants: Grants,
        pages: PageTokens,
        session_pages: PageTokens,
        request_secret: bytes,
    ) -> None:
        """`request_secret` keys the digests of requests: a bare digest of a password would be guessable."""
        self._accounts = accounts
        self._interventions = interventions
        self._grants = grants
        self._pages = pages
        self._session_pages = session_pages
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

    async def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: ServicerContext
    ) -> pb.ResetPasswordResponse:
        made = await self._interventions.reset_password(
            request.user_id, self._grants.giver(principal()), disable_totp=request.disable_totp
        )
        return pb.ResetPasswordResponse(
            one_time_password=made.password.reveal(), expire_time=convert.timestamp(made.expire_time)
        )

    async def UnlockUser(
        self, request: pb.UnlockUserRequest, context: ServicerContext
    ) -> pb.UnlockUserResponse:
        return pb.UnlockUserResponse(
            user=convert.user_to_proto(await self._interventions.unlock(request.user_id))
        )

    async def ListUserSessions(
        self, request: pb.ListUserSessionsRequest, context: ServicerContext
    ) -> pb.ListUserSessionsResponse:
        caller, size = principal(), page_size(request.page_size)
        filters = {"user": request.user_id}
        after = self._session_pages.decode(request.page_token, filters)
        found = await self._interventions.list_sessions(
            request.user_id, str(after[0]) if after else None, size + 1
        )
        more = len(found) > size
        return pb.ListUserSessionsResponse(
            sessions=[convert.session_to_proto(session, caller.session_id) for session in found[:size]],
            next_page_token=self._session_pages.encode((found[size - 1].id,), filters) if more else "",
        )

    async def RevokeUserSessions(
        self, request: pb.RevokeUserSessionsRequest, context: ServicerContext
    ) -> pb.RevokeUserSessionsResponse:
        sessions, keys = await self._interventions.revoke_sessions(
            request.user_id, list(request.session_ids), api_keys=request.include_api_keys
        )
        return pb.RevokeUserSessionsResponse(revoked_sessions=sessions, revoked_api_keys=keys)

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: ServicerContext
    ) -> pb.RevokeAllSessionsResponse:
        return pb.RevokeAllSessionsResponse(revoked_sessions=await self._interventions.revoke_all_sessions())

    def _key(self, request: pb.CreateUserRequest) -> RequestKey | None:
        if not request.request_id:
            return None
        content = request.SerializeToString(deterministic=True)
        digest = hmac.digest(self._request_secret, content, "sha256")
        return RequestKey(request.request_id, principal().user_id, digest)
