"""Who is a browser, and whether one of our own pages asks.

A browser sends a user's cookies with whatever a page asks for, so a call that may change something must come from a page of
this origin. Browsers say so in Sec-Fetch-Site (Fetch Metadata, W3C), which scripts cannot set; those that leave it out (plain
HTTP away from loopback, old versions) send Origin with every unsafe request (RFC 6454), which is held against the Host header.
A proxy in front must therefore pass Host on as it came, or be trusted and send X-Forwarded-Host (`gateway.edge.front`). Safe
methods are not checked: they change nothing, and the browser keeps their answers from pages of other origins.

Origins that the operator names (`gateway.edge.cors`) may call too, as scripts may: with a bearer token. That is safe as long as
the browser adds nothing of its own, so a request of theirs with any cookie is refused like a stranger's, and one without is no
browser's in what follows: it gets its tokens in bodies and is given no cookie.
"""

from collections.abc import Callable
from typing import Final

from gateway.browser import authority
from gateway.metadata import RequestHeaders
from gateway.transcoding.errors import PERMISSION_DENIED, GatewayError

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_OUR_SITES: Final = frozenset({"same-origin", "none"})  # none: the person, by address bar or bookmark


def is_browser(headers: RequestHeaders) -> bool:
    """True for what a page or a person in a browser asks for."""
    return headers.get(b"sec-fetch-site") is not None or headers.get(b"origin") is not None


def require_ours(headers: RequestHeaders, allows: Callable[[str | None], bool] | None = None) -> bool:
    """Whether a page of this origin, or the person, asks; for unsafe methods of browsers.

    False for a page of another origin that `allows` and that sends no cookie. Any other raises GatewayError CROSS_ORIGIN_REFUSED.
    """
    site = headers.get(b"sec-fetch-site")
    ours = _is_own_origin(headers) if site is None else site in _OUR_SITES
    if ours:
        return True
    if allows is None or not allows(headers.get(b"origin")):
        raise _refused("a page of another origin asked for this")
    if headers.get(b"cookie") is not None:
        raise _refused("pages of other origins call with tokens and without cookies")
    return False


def _refused(message: str) -> GatewayError:
    return GatewayError(PERMISSION_DENIED, "CROSS_ORIGIN_REFUSED", message)


def _is_own_origin(headers: RequestHeaders) -> bool:
    """Whether Origin names the host and port of Host. The scheme is not compared: TLS may end in front of the gateway."""
    origin = authority.parse_origin(headers.get(b"origin") or "")
    host = authority.parse(headers.get(b"host") or "")
    if origin is None or host is None:  # `null`, the origin of sandboxed and local pages, among them
        return False
    scheme, name, port = origin
    return (name, port) == (host[0], authority.default_port(scheme) if host[1] is None else host[1])
