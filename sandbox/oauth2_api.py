"""The paths of OAuth 2.0 that programs call.

    POST   /2/oauth2/token              grant_type=authorization_code or refresh_token, as a form; HTTP Basic or client_id in the form
    POST   /2/oauth2/revoke             token
    POST   /sandbox/clients             {redirect_uris, confidential?, name?} → client_id, client_secret
    POST   /sandbox/oauth2/expire       {user_id}: X ends the user's access tokens now

Faults with `"endpoint": "token"` hit the token endpoint, before or after X has rotated the token.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote_plus

from aiohttp import web

from sandbox import body, mishaps
from sandbox.faults import AFTER_STORING, TOKEN_ENDPOINT
from sandbox.oauth2 import Client, OAuth2, Pair, Refused
from sandbox.problems import Invalid
from sandbox.world import World

MAX_REDIRECTS = 10
_CLIENT_BODY = body.record(
    {
        "redirect_uris": body.array(body.string(), 1, MAX_REDIRECTS),
        "confidential": body.flag,
        "name": body.string(),
    },
    required=("redirect_uris",),
)
_EXPIRE_BODY = body.record({"user_id": body.identifier}, required=("user_id",))


@dataclass(frozen=True, slots=True)
class _Asked:
    client: Client
    form: dict[str, str]


class OAuth2Api:
    """The handlers over one World."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._oauth2: OAuth2 = world.store.oauth2

    def routes(self) -> list[web.RouteDef]:
        """Path → handler."""
        return [
            web.post("/2/oauth2/token", self._token),
            web.post("/2/oauth2/revoke", self._revoke),
            web.post("/sandbox/clients", self._add_client),
            web.post("/sandbox/oauth2/expire", self._expire),
        ]

    async def _token(self, request: web.Request) -> web.StreamResponse:
        world = self._world
        fault = world.faults.draw("", TOKEN_ENDPOINT)
        if fault and fault.kind not in AFTER_STORING:
            return await mishaps.instead_of_storing(fault, request, {}, world.clock, world.stopping)
        try:
            answer = _answer(self._pair(await self._asked(request)))
        except Refused as refused:
            if fault:
                world.faults.give_back(fault)
            return _refusal(refused)
        if fault:
            return await mishaps.after_storing(fault, request, answer, world.stopping)
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def _pair(self, asked: _Asked) -> Pair:
        form = asked.form
        match form.get("grant_type"):
            case "authorization_code":
                return self._oauth2.exchange_code(
                    asked.client,
                    form.get("code", ""),
                    form.get("redirect_uri", ""),
                    form.get("code_verifier", ""),
                )
            case "refresh_token":
                return self._oauth2.refresh(asked.client, form.get("refresh_token", ""))
        raise Refused("unsupported_grant_type", "Value passed for the grant type was invalid.")

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = await self._asked(request)
        except Refused as refused:
            return _refusal(refused)
        return web.json_response({"revoked": self._oauth2.revoke(asked.client, asked.form.get("token", ""))})

    async def _add_client(self, request: web.Request) -> web.Response:
        given = body.parse_object(await request.read())
        _CLIENT_BODY(given, "$")
        uris = cast("list[str]", given["redirect_uris"])
        for uri in uris:
            if not uri.startswith(("http://", "https://")) or "#" in uri:
                raise Invalid("redirect_uris", "must be absolute addresses without a fragment", uri)
        confidential = bool(given.get("confidential", True))
        client, secret = self._oauth2.add_client(
            str(given.get("name", "an app")), uris, confidential=confidential
        )
        answer = {"client_id": client.client_id, "redirect_uris": uris, "confidential": confidential}
        return web.json_response(answer | ({"client_secret": secret} if secret else {}), status=201)

    async def _expire(self, request: web.Request) -> web.Response:
        given = body.parse_object(await request.read())
        _EXPIRE_BODY(given, "$")
        return web.json_response({"expired": self._oauth2.end_access(cast("str", given["user_id"]))})

    async def _asked(self, request: web.Request) -> _Asked:
        """Client and form of a request. Raises Refused."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused("invalid_request", "The body must be a form.")
        form = {name: str(value) for name, value in (await request.post()).items()}
        client_id, secret = _basic(request.headers.get("Authorization", ""))
        return _Asked(self._oauth2.authenticated(client_id or form.get("client_id", ""), secret), form)


def _basic(authorization: str) -> tuple[str, str | None]:
    """Client id and secret of HTTP Basic (RFC 6749, section 2.3.1); empty and None without it. Raises Refused."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return "", None
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise Refused("invalid_client", "The Authorization header cannot be read.", 401)
    return unquote_plus(name), unquote_plus(secret)


def _answer(pair: Pair) -> dict[str, object]:
    answer: dict[str, object] = {
        "token_type": "bearer",
        "expires_in": pair.seconds,
        "access_token": pair.access_token,
        "scope": " ".join(pair.scopes),
    }
    return answer | ({"refresh_token": pair.refresh_token} if pair.refresh_token else {})


def _refusal(refused: Refused) -> web.Response:
    return web.json_response(
        {"error": refused.error, "error_description": refused.description}, status=refused.status
    )
