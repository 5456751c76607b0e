"""`ApiKeyService`: the API keys of the signed-in user."""

import hmac

from mesh.clock import Clock
from mesh.interceptors.chain import ServicerContext
from mesh.paging import PageTokens, page_size
from services.authentication import convert
from services.authentication.caller import in_session, principal
from services.authentication.domain.accounts import RequestKey
from services.authentication.domain.api_keys import ApiKeys
from services.authentication.grants import Grants
from vivesphere.authentication.v1 import api_key_service_pb2 as pb
from vivesphere.authentication.v1.api_key_service_pb2_grpc import ApiKeyServiceServicer


class ApiKeyServicer(ApiKeyServiceServicer):
    """All of the contract."""

    def __init__(
        self, api_keys: ApiKeys, grants: Grants, pages: PageTokens, request_secret: bytes, clock: Clock
    ) -> None:
        """`request_secret` keys the digests of requests."""
        self._api_keys = api_keys
        self._grants = grants
        self._pages = pages
        self._request_secret = request_secret
        self._clock = clock

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: ServicerContext
    ) -> pb.CreateApiKeyResponse:
        caller = in_session()
        made = await self._api_keys.create(
            caller.user_id,
            caller.session_id,
            convert.new_api_key_from_proto(request),
            self._grants.giver(caller),
            self._key(request),
        )
        return pb.CreateApiKeyResponse(
            api_key=convert.api_key_to_proto(made.api_key, self._clock.now(), made.key)
        )

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: ServicerContext
    ) -> pb.ListApiKeysResponse:
        user_id, size = principal().user_id, page_size(request.page_size)
        filters = {"user": user_id, "inactive": request.show_inactive}
        after = self._pages.decode(request.page_token, filters)
        found = await self._api_keys.list(
            user_id, str(after[0]) if after else None, size + 1, show_inactive=request.show_inactive
        )
        more, now = len(found) > size, self._clock.now()
        return pb.ListApiKeysResponse(
            api_keys=[convert.api_key_to_proto(key, now) for key in found[:size]],
            next_page_token=self._pages.encode((found[size - 1].id,), filters) if more else "",
        )

    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: ServicerContext
    ) -> pb.RevokeApiKeyResponse:
        await self._api_keys.revoke(principal().user_id, request.api_key_id)
        return pb.RevokeApiKeyResponse()

    def _key(self, request: pb.CreateApiKeyRequest) -> RequestKey | None:
        if not request.request_id:
            return None
        content = request.SerializeToString(deterministic=True)
        digest = hmac.digest(self._request_secret, content, "sha256")
        return RequestKey(request.request_id, principal().user_id, digest)
