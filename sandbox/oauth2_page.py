"""`GET /i/oauth2/authorize`: the page on which a person lets an app act for an account.

The sandbox knows no sign-in: the form asks which account agrees. After `POST /sandbox/consent` the page agrees at once for the account
named there, or refuses, so that tests and demos need no click.

    POST   /sandbox/consent             {user_id?, deny?}: agree, or refuse, at once from now on; {} asks again

A request whose client or redirect is wrong is never redirected (RFC 6749, section 4.1.2.1). Answers carry `iss` (RFC 9207).
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

from aiohttp import web

from sandbox import body
from sandbox.oauth2 import SCOPES, Client, Refused
from sandbox.problems import Invalid
from sandbox.world import World

MAX_STATE = 500
_CONSENT_BODY = body.record({"user_id": body.identifier, "deny": body.flag})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PARAMETERS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose client and redirect are right."""

    client: Client
    redirect_uri: str
    state: str
    scopes: tuple[str, ...]
    challenge: str


@dataclass(slots=True)
class Consent:
    """What happens without a click: None asks, else the account that agrees; `deny` refuses."""

    user_id: str | None = None
    deny: bool = False


class OAuth2Page:
    """The handlers over one World."""

    def __init__(self, world: World) -> None:
        self._store = world.store
        self._consent = Consent()

    def routes(self) -> list[web.RouteDef]:
        """Path → handler."""
        return [
            web.get("/i/oauth2/authorize", self._ask),
            web.post("/i/oauth2/authorize", self._decide),
            web.post("/sandbox/consent", self._set_consent),
        ]

    async def _set_consent(self, request: web.Request) -> web.Response:
        given = body.parse_object(await request.read())
        _CONSENT_BODY(given, "$")
        user_id = cast("str | None", given.get("user_id"))
        if user_id is not None and self._store.account(user_id) is None:
            raise Invalid("user_id", "is no account", user_id)
        self._consent = Consent(user_id, bool(given.get("deny", False)))
        return web.json_response({"user_id": user_id, "deny": self._consent.deny})

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = self._asked(request.query)
        except Refused as refused:
            return _page(f"<p>{html.escape(refused.description)}</p>", 400)
        wrong = _wrong(asked, request.query)
        if wrong is not None:
            return _back(request, asked, {"error": wrong.error, "error_description": wrong.description})
        if self._consent.deny:
            return _back(request, asked, _DENIED)
        if self._consent.user_id is not None:
            return self._agree(request, asked, self._consent.user_id)
        return _page(self._form(asked, request.query), 200)

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            asked = self._asked(form)
        except Refused as refused:
            return _page(f"<p>{html.escape(refused.description)}</p>", 400)
        if _wrong(asked, form) is not None or form.get("decision") != "allow":
            return _back(request, asked, _DENIED)
        user_id = form.get("user_id", "")
        if self._store.account(user_id) is None:
            return _page("<p>There is no such account.</p>", 400)
        return self._agree(request, asked, user_id)

    def _agree(self, request: web.Request, asked: _Asked, user_id: str) -> web.Response:
        code = self._store.oauth2.grant(
            asked.client, user_id, asked.redirect_uri, asked.scopes, asked.challenge
        )
        return _back(request, asked, {"code": code})

    def _asked(self, given: Mapping[str, str]) -> _Asked:
        """Raises Refused for what must not be redirected."""
        client = self._store.oauth2.client(given.get("client_id", ""))
        redirect_uri = given.get("redirect_uri", "")
        if client is None:
            raise Refused("invalid_request", "There is no such client.")
        if redirect_uri not in client.redirect_uris:
            raise Refused("invalid_request", "The redirect address is not registered for this client.")
        return _Asked(
            client,
            redirect_uri,
            given.get("state", ""),
            tuple(given.get("scope", "").split()),
            given.get("code_challenge", ""),
        )

    def _form(self, asked: _Asked, given: Mapping[str, str]) -> str:
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(given.get(name, ""))}">'
            for name in _PARAMETERS
        )
        accounts = "".join(
            f'<option value="{account.user_id}">@{html.escape(account.handle)}</option>'
            for account in self._store.accounts()
        )
        scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in asked.scopes)
        return (
            f"<p>{html.escape(asked.client.name)} wants to act for an account:</p><ul>{scopes}</ul>"
            f'<form method="post" action="/i/oauth2/authorize">{hidden}'
            f'<p><label>Account <select name="user_id">{accounts}</select></label></p>'
            '<p><button name="decision" value="allow">Authorize app</button> '
            '<button name="decision" value="deny">Cancel</button></p></form>'
        )


_DENIED = {"error": "access_denied", "error_description": "The person has refused."}


def _wrong(asked: _Asked, given: Mapping[str, str]) -> Refused | None:
    """What is wrong with a request that may be redirected."""
    if given.get("response_type") != "code":
        return Refused("unsupported_response_type", "Only code is offered.")
    if not 0 < len(asked.state) <= MAX_STATE:
        return Refused("invalid_request", "state must have 1 to 500 characters.")
    if given.get("code_challenge_method") != "S256" or len(asked.challenge) != 43:
        return Refused("invalid_request", "A code challenge of method S256 is needed.")
    if not asked.scopes or not SCOPES.issuperset(asked.scopes):
        return Refused("invalid_scope", "The scope is empty or unknown.")
    return None


def _back(request: web.Request, asked: _Asked, answer: Mapping[str, str]) -> web.Response:
    parameters = {**answer, "state": asked.state, "iss": f"{request.scheme}://{request.host}"}
    separator = "&" if "?" in asked.redirect_uri else "?"
    location = f"{asked.redirect_uri}{separator}{urlencode(parameters)}"
    return web.Response(status=302, headers={**_HEADERS, "Location": location})


def _page(content: str, status: int) -> web.Response:
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>X sandbox: authorize</title></head>\n'
        f"<body><h1>X sandbox</h1>{content}</body></html>\n"
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)
