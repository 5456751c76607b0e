"""`AuthenticationService`: signing in and out, and what callers do with their own account."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from google.api.httpbody_pb2 import HttpBody

from mesh.context import Principal
from mesh.interceptors.chain import ServicerContext
from mesh.paging import PageTokens, page_size
from mesh.secret import Secret
from services.authentication import convert
from services.authentication.caller import client, principal
from services.authentication.domain.api_key import ResolvedKey
from services.authentication.domain.api_keys import ApiKeys
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.second_factor import SecondFactors
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.domain.signing import CACHE_LIFE, JWKS_CONTENT_TYPE
from services.authentication.grants import Grants
from services.authentication.own import principal_of
from services.authentication.qr import qr_png
from services.authentication.revocation_feed import RevocationFeed
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.authentication_service_pb2_grpc import AuthenticationServiceServicer

JWKS_CACHING: Final = ("cache-control", f"public, max-age={CACHE_LIFE.total_seconds():.0f}")


async def revocation_messages(
    feed: RevocationFeed, from_sequence: int
) -> AsyncGenerator[pb.WatchRevocationsResponse, None]:
    """The feed as its watchers read it, be they other services or this one."""
    async with aclosing(feed.watch(from_sequence)) as events:
        async for event in events:
            for message in convert.revocation_event_to_proto(event):
                yield message


class AuthenticationServicer(AuthenticationServiceServicer):
    """Converts, calls the domain, converts back."""

    def __init__(
        self,
        sign_in: SignIn,
        sessions: Sessions,
        factors: SecondFactors,
        api_keys: ApiKeys,
        keyring: Keyring,
        feed: RevocationFeed,
        grants: Grants,
        pages: PageTokens,
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._factors = factors
        self._api_keys = api_keys
        self._keyring = keyring
        self._feed = feed
        self._grants = grants
        self._pages = pages

    async def Login(self, request: pb.LoginRequest, context: ServicerContext) -> pb.LoginResponse:
        pair = await self._sign_in.sign_in(
            request.username,
            Secret(request.password),
            client(),
            convert.secret(request.otp),
            convert.secret(request.device_token),
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
        resolved = await self._api_keys.resolve(request.token)
        if resolved is not None:
            return await self._of_key(resolved)
        known = await self._sessions.introspect(request.token)
        if known is None:
            return pb.IntrospectTokenResponse(active=False)
        token = known.token
        holder = Principal(token.subject, token.session_id, token.token_id, token.roles, token.expire_time)
        return convert.introspection_to_proto(known, self._grants.shown(holder))

    async def _of_key(self, resolved: ResolvedKey) -> pb.IntrospectTokenResponse:
        await self._api_keys.touch(resolved.api_key.id)
        return convert.key_introspection_to_proto(resolved, self._grants.shown(principal_of(resolved)))

    async def GetJwks(self, request: pb.GetJwksRequest, context: ServicerContext) -> pb.GetJwksResponse:
        document = await self._keyring.document()
        await context.send_initial_metadata((JWKS_CACHING,))
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
            convert.secret(request.otp),
        )
        return pb.ChangePasswordResponse(token_pair=convert.token_pair_to_proto(pair))

    async def RotateSigningKey(
        self, request: pb.RotateSigningKeyRequest, context: ServicerContext
    ) -> pb.RotateSigningKeyResponse:
        keys = await (self._keyring.give_up() if request.compromised else self._keyring.rotate())
        newest_first = sorted(keys, key=lambda key: (key.create_time, key.id), reverse=True)
        return pb.RotateSigningKeyResponse(keys=[convert.signing_key_to_proto(key) for key in newest_first])

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, context: ServicerContext
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        async with aclosing(revocation_messages(self._feed, request.from_sequence)) as messages:
            async for message in messages:
                yield message

    async def EnrollTotp(
        self, request: pb.EnrollTotpRequest, context: ServicerContext
    ) -> pb.EnrollTotpResponse:
        caller = principal()
        made = await self._factors.enroll(caller.user_id, caller.session_id, convert.secret(request.password))
        # A picture is tens of milliseconds of work: off the event loop.
        return convert.enrolment_to_proto(made, await asyncio.to_thread(qr_png, made.uri.reveal()))

    async def ConfirmTotp(
        self, request: pb.ConfirmTotpRequest, context: ServicerContext
    ) -> pb.ConfirmTotpResponse:
        caller = principal()
        codes = await self._factors.confirm(caller.user_id, caller.session_id, Secret(request.otp))
        return pb.ConfirmTotpResponse(recovery_codes=[code.reveal() for code in codes])

    async def DisableTotp(
        self, request: pb.DisableTotpRequest, context: ServicerContext
    ) -> pb.DisableTotpResponse:
        caller = principal()
        await self._factors.disable(
            caller.user_id, caller.session_id, Secret(request.otp), convert.secret(request.password)
        )
        return pb.DisableTotpResponse()
