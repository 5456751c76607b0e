"""Which pages of other origins may call (Fetch, section 3.2: the CORS protocol).

Off by default: no header is sent and browsers keep every answer from pages of other origins. `cors_origins` names those that
may: exactly, by scheme, host and port, or `*` for all of them. Such a page calls with a bearer token, as a script does, and
gets its tokens in bodies. It never calls with cookies: Access-Control-Allow-Credentials is never sent, so a browser keeps an
answer to a request with cookies from it, and `gateway.browser.origin` refuses such a request before it changes anything. So
an origin that is allowed by mistake gains no session; what `*` opens is the network: pages that a person inside visits reach a
gateway that only the inside can.

Every answer varies by Origin while some origins are named and others are not, or a cache would give one the other's headers.
"""

from collections.abc import Iterable
from typing import Final

from gateway.browser import authority

ANY: Final = "*"
MAX_AGE_SECONDS: Final = 7200  # for which a browser need not ask again; Chromium caps it there

# What clients of REST, Connect (connectrpc.com/docs/cors) and gRPC-Web send. X-Forwarded-* is a proxy's to say, no page's.
ALLOWED_HEADERS: Final = (
    "accept", "accept-language", "authorization", "content-encoding", "content-type", "idempotency-key", "if-match", "if-none-match",
    "last-event-id", "traceparent", "tracestate", "x-request-id", "x-server-timeout", "grpc-timeout", "x-grpc-web", "x-user-agent",
    "connect-protocol-version", "connect-timeout-ms", "connect-accept-encoding", "connect-content-encoding",
)  # fmt: skip
# `*` stands for any header, since there are no credentials; the names are for browsers that do not know it. What a service
# sends as metadata (`Grpc-Metadata-*`, `Trailer-*`) has no names that could be listed here.
EXPOSED_HEADERS: Final = (
    "*", "etag", "location", "retry-after", "x-request-id", "www-authenticate", "allow", "content-encoding",
    "grpc-status", "grpc-message", "grpc-status-details-bin", "connect-content-encoding",
)  # fmt: skip
UNKNOWN_PATH_METHODS: Final = (
    "GET, POST"  # the call itself then says, with headers that the page may read, that there is nothing
)

HeaderTuple = tuple[tuple[bytes, bytes], ...]

_VARY: Final = (b"vary", b"origin")


def parse_origins(text: str) -> tuple[str, ...]:
    """`https://a.example, http://localhost:5173` → origins as browsers write them. Raises ValueError naming what is wrong."""
    origins = tuple(_origin(piece) for piece in map(str.strip, text.split(",")) if piece)
    if ANY in origins and len(origins) > 1:
        raise ValueError("`*` stands alone: it allows every origin")
    return origins


def _origin(text: str) -> str:
    if text == ANY:
        return ANY
    parsed = authority.parse_origin(text)
    if parsed is None or not text.isascii():
        raise ValueError(f"expected an origin such as https://console.example, not {text!r}")
    scheme, host, port = parsed
    return f"{scheme}://{host}" if port == authority.default_port(scheme) else f"{scheme}://{host}:{port}"


class Cors:
    """The answers' headers for each origin; made once."""

    def __init__(self, origins: Iterable[str]) -> None:
        exposed = (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())
        allowed = frozenset(origins)
        self._any: HeaderTuple = ((b"access-control-allow-origin", b"*"), exposed) if ANY in allowed else ()
        self._others: HeaderTuple = () if self._any else (_VARY,)
        self._headers: dict[str, HeaderTuple] = {
            origin: ((b"access-control-allow-origin", origin.encode()), exposed, _VARY)
            for origin in allowed - {ANY}
        }

    def allows(self, origin: str | None) -> bool:
        """Whether pages of this origin may call."""
        return origin is not None and (bool(self._any) or origin in self._headers)

    def headers(self, origin: str | None) -> HeaderTuple:
        """What goes with every answer to a request with this Origin header, or without one."""
        if self._any:
            return self._any if origin is not None else ()
        return self._headers.get(origin or "", self._others)

    @staticmethod
    def preflight(methods: str) -> HeaderTuple:
        """What goes with the answer to a preflight request of an allowed origin, besides `headers`."""
        return (
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", ", ".join(ALLOWED_HEADERS).encode()),
            (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
        )


def cors_of(origins: Iterable[str]) -> Cors | None:
    """None where no other origin may call."""
    named = tuple(origins)
    return Cors(named) if named else None
