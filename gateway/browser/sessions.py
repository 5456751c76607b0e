"""One call of one browser: refused when another site asks, its request filled from cookies, its answer's tokens moved to them.

    enter()       before the body is read: the cross-origin check
    fill()        request: each marked field that is left out gets its cookie; what the body gives wins
    keep()        answer that went well: marked fields move to Set-Cookie, cookies of `clears_cookies` go
    rejected()    answer UNAUTHENTICATED: session cookies that filled the request go, for the service will not take them again

A session cookie is one that some method clears. Others (a device's proof, say) outlive sessions: a mistyped password, which is
UNAUTHENTICATED as well, must not cost a browser what tells it from a stranger. No other failure takes a cookie away: a service
that is down has said nothing about the session.

Messages are read and written again only where a browser calls a route that has to do with cookies; everyone else costs one
look at two headers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from gateway.browser import authority, origin
from gateway.browser.contract import CookieContract, CookieUse
from gateway.browser.cookies import ON_LOOPBACK, WITH_TLS, Cookies, CookieValueError, Header
from gateway.metadata import RequestHeaders
from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import invalid
from gateway.transcoding.router import ANY_METHOD
from gateway.transcoding.schema import Method, Schema, SchemaError

_NOT_CHECKED: Final = origin.SAFE_METHODS | {ANY_METHOD}


class Target(Protocol):
    """What a browser calls: an endpoint of REST, or a method by its own name. One object each, so that tables may be kept by it."""

    @property
    def method(self) -> Method: ...
    @property
    def http_method(self) -> str: ...
    @property
    def label(self) -> str: ...


class Browsers:
    """Every endpoint that has to do with cookies; immutable once made."""

    def __init__(
        self,
        schema: Schema,
        endpoints: Iterable[Target],
        allows: Callable[[str | None], bool] | None = None,
    ) -> None:
        """`allows` says which other origins' pages may call without cookies.

        Raises SchemaError for a contract that wants from cookies what is not safe or not built.
        """
        self._allows = allows
        contract = CookieContract(schema)
        self._uses = {endpoint: use for endpoint in endpoints if (use := contract.use_of(endpoint.method))}
        for endpoint, use in self._uses.items():
            _require_possible(endpoint, use)
        self._of_sessions = frozenset(name for use in self._uses.values() for name in use.clears)
        self._require_known()

    def enter(self, headers: RequestHeaders, http_method: str, endpoint: Target) -> "BrowserCall | None":
        """The call, where a page of ours makes it and cookies have a part in it. Raises GatewayError CROSS_ORIGIN_REFUSED."""
        if not origin.is_browser(headers):
            return None
        if http_method not in origin.SAFE_METHODS and not origin.require_ours(headers, self._allows):
            return None
        use = self._uses.get(endpoint)
        return None if use is None else BrowserCall(headers, endpoint, use, self._of_sessions)

    def _require_known(self) -> None:
        """A cookie that is cleared and never kept is a slip of the pen, and a session that does not end."""
        known = {place.name for use in self._uses.values() for place in (*use.request, *use.response)}
        for endpoint, use in self._uses.items():
            if unknown := set(use.clears) - known:
                raise SchemaError(
                    f"{endpoint.method.path} clears {sorted(unknown)}, which no field is kept in"
                )


def _require_possible(endpoint: Target, use: CookieUse) -> None:
    where = f"{endpoint.method.path}: {endpoint.http_method} {endpoint.label}"
    if endpoint.method.kind != "unary":
        raise SchemaError(f"{where}: streams have no part in cookies")
    if endpoint.http_method in _NOT_CHECKED:
        what = [place.path for place in (*use.request, *use.response)] or list(use.clears)
        raise SchemaError(f"{where}: {what[0]} is a cookie, and other sites can make browsers call this")


class BrowserCall:
    """One call of a method that has to do with cookies."""

    __slots__ = ("_cookies", "_endpoint", "_filled", "_header", "_of_sessions", "_use")

    def __init__(
        self, headers: RequestHeaders, endpoint: Target, use: CookieUse, of_sessions: frozenset[str]
    ) -> None:
        host = authority.parse(headers.get(b"host") or "")
        plain = host is not None and authority.is_loopback(host[0]) and not headers.secure
        self._cookies: Cookies = ON_LOOPBACK if plain else WITH_TLS
        self._header = headers.get(b"cookie") or ""
        self._endpoint = endpoint
        self._use = use
        self._of_sessions = of_sessions
        self._filled: list[str] = []

    def fill(self, wire: bytes) -> bytes:
        """The request message with cookies in the fields that are left out; raises GatewayError for one that is malformed."""
        if not (self._use.request and self._header):
            return wire
        message: Any = self._endpoint.method.input.type.from_binary(wire)
        for place in self._use.request:
            if place.read(message) == "" and (value := self._value(place.name, place.path)):
                place.write(message, value)
                self._filled.append(place.name)
        return message.to_binary() if self._filled else wire

    def _value(self, name: str, path: str) -> str:
        try:
            return self._cookies.value(self._header, name)
        except CookieValueError:
            # Never set by us and never accepted, so it goes: a browser that keeps it could not sign in again.
            error = invalid(path, "its cookie is no value that was ever set")
            error.headers = [self._cookies.take_away(name)]
            raise error from None

    def keep(self, wire: bytes) -> tuple[bytes, Sequence[Header]]:
        """The answer without its cookies' fields, and the headers that set and clear cookies.

        Raises CodecError for bytes that are no message and for a text that cannot be in a cookie.
        """
        headers = [self._cookies.take_away(name) for name in self._use.clears]
        if not self._use.response:
            return wire, headers
        try:
            message: Any = self._endpoint.method.output.type.from_binary(wire)
            for place in self._use.response:
                if value := place.read(message):
                    headers.append(self._cookies.keep(place.name, value, place.max_age_seconds))
                    place.clear(message)
            return message.to_binary(), headers
        except (ValueError, RecursionError) as error:
            raise CodecError(str(error)) from error

    def rejected(self) -> Sequence[Header]:
        """The headers that go with an answer UNAUTHENTICATED."""
        return [self._cookies.take_away(name) for name in self._filled if name in self._of_sessions]
