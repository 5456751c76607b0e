"""`AuthenticationService`: signing in and out, and what callers do with their own account."""

from google.api.httpbody_pb2 import HttpBody

from mesh.context import Principal
from mesh.interceptors.chain import ServicerContext
from mesh.paging import PageTokens, page_size
from mesh.secret import Secret
from services.authentication import convert
from services.authentication.caller import client, principal
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.domain.signing import JWKS_CONTENT_TYPE
from services.authentication.grants import Grants
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.authentication_service_pb2_grpc import AuthenticationServiceServicer


class AuthenticationServicer(AuthenticationServiceServicer):
    """What is not here yet answers UNIMPLEMENTED by the generated base class."""

    def __init__(
        self, sign_in: SignIn, sessions: Sessions, keyring: Keyring, grants: Grants, pages: PageTokens
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._keyring = keyring
        self._grants = grants
        self._pages = pages

    async def Login(self, request: pb.LoginRequest, context: ServicerContext) -> pb.LoginResponse:
        pair = await self._sign_in.sign_in(
            request.username, Secret(request.password), client(), Secret(request.device_token)
        )
        return pb.LoginResponse(token_pair=convert.token_pair_to_proto(pair))

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: ServicerContext
    ) -> pb.RefreshTokenResponse:
        pair = await self._sessions.refresh(request.refresh_token, client())
        return pb.RefreshTokenResponse(token_pair=convert.token_pair_to_proto(pair))

    async def Logout(self, request: pb.LogoutRequest, context: ServicerContext) -> pb.LogoutResponse:
        caller = principal()
        await self._sessions.sign_out(caller.user_id, caller.session_id, everywhere=request.all_sessions)
        return pb.LogoutResponse()

    async def IntrospectToken(
        self, request: pb.IntrospectTokenRequest, context: ServicerContext
    ) -> pb.IntrospectTokenResponse:
        known = await self._sessions.introspect(request.token)
        if known is None:
            return pb.IntrospectTokenResponse(active=False)
        token = known.token
        holder = Principal(token.subject, token.session_id, token.token_id, token.roles, token.expire_time)
        return convert.introspection_to_proto(known, self._grants.shown(holder))

    async def GetJwks(self, request: pb.GetJwksRequest, context: ServicerContext) -> pb.GetJwksResponse:
        document = await self._keyring.document()
        return pb.GetJwksResponse(jwks=HttpBody(content_type=JWKS_CONTENT_TYPE, data=document))

    async def GetCurrentUser(
        self, request: pb.GetCurrentUserRequest, context: ServicerContext
    ) -> pb.GetCurrentUserResponse:
        caller = principal()
        user = await self._sessions.current_user(caller.user_id, caller.session_id)
        return pb.GetCurrentUserResponse(user=convert.user_to_proto(user, self._grants.shown(caller)))

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: ServicerContext
    ) -> pb.ListSessionsResponse:
        caller, size = principal(), page_size(request.page_size)
        filters = {"user": caller.user_id}
        after = self._pages.decode(request.page_token, filters)
        found = await self._sessions.list_sessions(
            caller.user_id, caller.session_id, str(after[0]) if after else None, size + 1
        )
        more = len(found) > size
        return pb.ListSessionsResponse(
            sessions=[convert.session_to_proto(session, caller.session_id) for session in found[:size]],
            next_page_token=self._pages.encode((found[size - 1].id,), filters) if more else "",
        )

    async def RevokeSession(
        self, request: pb.RevokeSessionRequest, context: ServicerContext
    ) -> pb.RevokeSessionResponse:
        await self._sessions.revoke(principal().user_id, request.session_id)
        return pb.RevokeSessionResponse()

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, context: ServicerContext
    ) -> pb.ChangePasswordResponse:
        caller = principal()
        pair = await self._sign_in.change_password(
            caller.user_id,
            caller.session_id,
            Secret(request.current_password),
            Secret(request.new_password),
            client(),
        )
        return pb.ChangePasswordResponse(token_pair=convert.token_pair_to_proto(pair))
