"""How a caller says who it is: security schemes and what each method asks for.

Access tokens and API keys travel in the same header and are told apart by what they may do: methods that need a session or a
recent second factor take no key. A browser's session is a cookie that only the methods take whose request it fills.
"""

from collections.abc import Iterable
from typing import Final

from protobuf import DescField, DescMessage

from gateway.browser.cookies import PREFIX
from gateway.openapi.contract import Access, Contract
from gateway.openapi.well_known import Json
from gateway.transcoding import fields

BEARER: Final = "accessToken"
KEY: Final = "apiKey"

_TOKEN: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An access token, as signing in answers it.",
}
_KEY: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "API key",
    "description": "An API key, in the same header as an access token. It holds the permissions it was given.",
}
_COOKIE: Final = (
    "The session of a browser, kept by the gateway; no script sees it. On loopback, where there is no TLS, without the prefix "
    f"`{PREFIX}`."
)


class Security:
    """The schemes of a contract; those that no method asks for are left out."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.schemes: dict[str, Json] = {}

    def requirement(self, access: Access, request: DescMessage, sessions: Iterable[str]) -> list[Json]:
        """The Security Requirements of a method; `sessions` are the cookies that hold sessions."""
        if not access.signed_in:
            cookies = [name for name in self._cookies(request, (request,)) if name in sessions]
            for name in cookies:
                self.schemes[name] = {
                    "type": "apiKey", "in": "cookie", "name": PREFIX + name, "description": _COOKIE
                }  # fmt: skip
            return [{}, *({name: []} for name in cookies)] if cookies else []
        self.schemes[BEARER] = _TOKEN
        if access.session or access.step_up:
            return [{BEARER: []}]
        self.schemes[KEY] = _KEY
        return [{BEARER: []}, {KEY: []}]

    def _cookies(self, desc: DescMessage, above: tuple[DescMessage, ...]) -> list[str]:
        found: list[str] = []
        for field in desc.fields:
            found += [name] if (name := self._contract.cookie(field)) else self._below(field, above)
        return found

    def _below(self, field: DescField, above: tuple[DescMessage, ...]) -> list[str]:
        below = fields.submessage(field)
        return [] if below is None or below in above else self._cookies(below, (*above, below))
