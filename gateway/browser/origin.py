"""Who is a browser, and whether one of our own pages asks.

A browser sends a user's cookies with whatever a page asks for, so a call that may change something must come from a page of
this origin. Browsers say so in Sec-Fetch-Site (Fetch Metadata, W3C), which scripts cannot set; those that leave it out (plain
HTTP away from loopback, old versions) send Origin with every unsafe request (RFC 6454), which is held against the Host header.
A proxy in front must therefore pass Host on as it came. Safe methods are not checked: they change nothing, and the browser
keeps their answers from pages of other origins, since no CORS header is ever sent.
"""

import re
from typing import Final

from gateway.browser import authority
from gateway.metadata import RequestHeaders
from gateway.transcoding.errors import PERMISSION_DENIED, GatewayError

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_OUR_SITES: Final = frozenset({"same-origin", "none"})  # none: the person, by address bar or bookmark
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN = re.compile(rf"(https?)://{authority.HOST_AND_PORT}")


def is_browser(headers: RequestHeaders) -> bool:
    """True for what a page or a person in a browser asks for."""
    return headers.get(b"sec-fetch-site") is not None or headers.get(b"origin") is not None


def require_ours(headers: RequestHeaders) -> None:
    """Raise GatewayError CROSS_ORIGIN_REFUSED unless a page of this origin, or the person, asks; for unsafe methods of browsers."""
    site = headers.get(b"sec-fetch-site")
    ours = _is_own_origin(headers) if site is None else site in _OUR_SITES
    if not ours:
        raise GatewayError(
            PERMISSION_DENIED, "CROSS_ORIGIN_REFUSED", "a page of another origin asked for this"
        )


def _is_own_origin(headers: RequestHeaders) -> bool:
    """Whether Origin names the host and port of Host. The scheme is not compared: TLS may end in front of the gateway."""
    origin = _ORIGIN.fullmatch(headers.get(b"origin") or "")
    host = authority.parse(headers.get(b"host") or "")
    if origin is None or host is None:  # `null`, the origin of sandboxed and local pages, among them
        return False
    default = _DEFAULT_PORTS[origin[1]]
    port = int(origin[3]) if origin[3] else default
    return (origin[2].lower(), port) == (host[0], default if host[1] is None else host[1])
