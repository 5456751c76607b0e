"""Accounts of the sandbox that let a client act for them, as a person with a browser would."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from mesh.secret import Secret
from sandbox.oauth2 import challenge_of
from services.bot_manager.tokens.port import AuthorizationCode

CALLBACK = "http://127.0.0.1:8080/oauth/callback"
SCOPES = "tweet.read tweet.write users.read media.write offline.access"
VERIFIER = "v" * 43


@dataclass(frozen=True)
class Authorized:
    """A client of the sandbox, and an account that agrees to whatever it asks."""

    session: aiohttp.ClientSession
    url: str
    client_id: str
    secret: Secret | None
    user_id: str

    async def code(self, scopes: str = SCOPES) -> AuthorizationCode:
        """What the callback is told, with what the server kept."""
        await _post(self.session, f"{self.url}/sandbox/consent", {"user_id": self.user_id})
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": scopes,
            "state": "s" * 32,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        page = f"{self.url}/i/oauth2/authorize?{urlencode(asked)}"
        code = (await redirect_of(self.session, page))["code"]
        return AuthorizationCode(Secret(code), Secret(VERIFIER), self.client_id, CALLBACK)


async def redirect_of(session: aiohttp.ClientSession, page: str) -> dict[str, str]:
    """The parameters with which the sandbox's page sends the browser back at once."""
    async with session.get(page, allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        target = urlsplit(response.headers["Location"])
    return {name: values[0] for name, values in parse_qs(target.query).items()}


async def authorize(
    session: aiohttp.ClientSession,
    url: str,
    *,
    confidential: bool = True,
    handle: str = "acme",
    callback: str = CALLBACK,
) -> Authorized:
    """A new client, and the account with this handle."""
    account = await _post(session, f"{url}/sandbox/accounts", {"handle": handle})
    given = {"redirect_uris": [callback], "confidential": confidential}
    made = await _post(session, f"{url}/sandbox/clients", given)
    secret = Secret(made["client_secret"]) if confidential else None
    return Authorized(session, url, made["client_id"], secret, account["user_id"])


async def _post(session: aiohttp.ClientSession, url: str, body: object) -> Any:
    async with session.post(url, json=body) as response:
        assert response.ok, await response.text()
        return await response.json()
