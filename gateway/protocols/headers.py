"""HTTP headers ⇄ gRPC metadata where the two have the same names: what a client sends as metadata is a header of that name.

Inwards everything passes but what HTTP, browsers and the protocols say among themselves; what the gateway vouches for is its own, as
over REST (`gateway.metadata`). A name or text that gRPC cannot carry is left out: proxies add such headers, and no service has asked for
them. Binary values (`-bin`) are base64, padded or not. Outwards a service cannot say what only the gateway may.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from gateway.metadata import MAX_VALUE_CHARS, Metadata, RequestHeaders
from gateway.transcoding.errors import invalid

Header = tuple[bytes, bytes]

_OF_HTTP: Final = frozenset(
    {
        "authorization", "cache-control", "connection", "cookie", "date", "dnt", "expect", "forwarded", "host", "http2-settings",
        "idempotency-key", "keep-alive", "max-forwards", "origin", "pragma", "priority", "range", "referer", "te", "traceparent",
        "tracestate", "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via", "x-grpc-web",
        "x-real-ip", "x-request-id", "x-server-timeout", "x-user-agent",
    }
)  # fmt: skip
_OF_HTTP_PREFIXES: Final = (
    "accept", "access-control-", "connect-", "content-", "grpc-", "if-", "proxy-", "sec-", "x-forwarded-",
)  # fmt: skip
_NAME: Final = re.compile(r"[0-9a-z_.-]{1,200}")

_OWN: Final = frozenset(
    {
        "connection", "date", "keep-alive", "referrer-policy", "server", "set-cookie", "strict-transport-security", "trailer",
        "transfer-encoding", "upgrade", "user-agent", "vary", "www-authenticate", "x-content-type-options", "x-request-id",
    }
)  # fmt: skip
_OWN_PREFIXES: Final = (
    "access-control-",
    "connect-",
    "content-",
    "cross-origin-",
    "grpc-",
    "sec-",
    "trailer-",
)


def call_metadata(headers: RequestHeaders, client: str) -> Metadata:
    """Metadata for the service; `client` is the caller's address. Raises GatewayError."""
    made = headers.metadata(client)
    left = MAX_VALUE_CHARS  # of all that is only passed on
    for name, text in headers.items():
        if name in _OF_HTTP or name.startswith(_OF_HTTP_PREFIXES) or _NAME.fullmatch(name) is None:
            continue
        left -= len(name) + len(text)
        if left < 0:
            raise invalid(name, f"headers over {MAX_VALUE_CHARS} characters in all", "MALFORMED_REQUEST")
        if name.endswith("-bin"):
            made.append((name, _binary(name, text)))
        elif text.isascii() and text.isprintable():
            made.append((name, text))
    return made


def _binary(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(name, "expected base64", "MALFORMED_REQUEST") from None


def outwards(metadata: Any, prefix: str = "") -> list[Header]:
    """Headers for a service's metadata."""
    return [((prefix + key).encode(), text.encode("latin-1", "replace")) for key, text in texts(metadata)]


def texts(metadata: Any) -> Iterator[tuple[str, str]]:
    """A service's metadata as text, binary values in base64, without what is not its to say."""
    for key, value in metadata or ():
        if key not in _OWN and not key.startswith(_OWN_PREFIXES):
            yield key, unpadded(value) if isinstance(value, bytes) else value


def unpadded(value: bytes) -> str:
    """Base64 as gRPC and Connect write it."""
    return base64.b64encode(value).rstrip(b"=").decode()
