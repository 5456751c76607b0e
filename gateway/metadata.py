"""HTTP headers ⇄ gRPC metadata, and deadlines.

Inwards only a short list passes: what identifies the caller, the request and the trace. Everything a client must not be
able to say is made here: the client's address, and the request id and the trace when the client's are malformed (a `tracestate` goes
with the trace that it belongs to). gRPC writes `user-agent`
itself, so the client's own travels as `x-user-agent`. Cookies end here: what of them a service needs is in its request
message (`gateway.browser`). Outwards initial metadata becomes `Grpc-Metadata-*`, a unary call's
trailing metadata `Grpc-Trailer-*`, a few names stay plain; binary values are base64.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from gateway import identifiers
from gateway.proxies import Proxies
from gateway.transcoding.errors import invalid

Metadata = list[tuple[str, str | bytes]]
Headers = Iterable[tuple[bytes, bytes]]

_INWARDS: Final = {
    b"authorization": "authorization",
    b"user-agent": "x-user-agent",
    b"idempotency-key": "idempotency-key",
}
# gRPC refuses a call whose metadata is larger than 8 KiB in all, with words of its own.
MAX_VALUE_CHARS: Final = 6000
_OUTWARDS_PLAIN: Final = frozenset({"etag", "location", "cache-control", "retry-after"})
_INTERNAL: Final = frozenset({"x-request-id", "content-type", "date", "server", "user-agent"})
# Names a gRPC client of the door cannot set: made by the gateway, or spoken between two ends of one connection.
_STRIPPED: Final = frozenset(
    {"x-forwarded-for", "forwarded", "x-real-ip", "x-user-agent", "user-agent", "te", "cookie"}
)

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")  # gRPC over HTTP/2: Timeout
_UNIT_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SECONDS = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,9})?")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class RequestHeaders:
    """The headers of one HTTP request that the gateway reads; names are lower case, as ASGI gives them."""

    __slots__ = ("_values", "request_id", "secure")

    def __init__(self, headers: Headers) -> None:
        """Raises GatewayError when a header that may be given once is given twice."""
        values: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in values:
                if name in _ONCE:
                    raise invalid(name.decode(), "the header is given twice", "MALFORMED_REQUEST")
                if name == b"cookie":  # HTTP/2 sends it in pieces (RFC 9113 section 8.2.3)
                    value = values[name] + b"; " + value
                elif name in _LISTS:  # lines of a list are one list (RFC 9110 section 5.3)
                    value = values[name] + b"," + value
            values[name] = value
        self._values = values
        self.request_id = identifiers.request_id(self.get(b"x-request-id"))
        self.secure = False
        """Whether the client speaks TLS, as the connection or a trusted proxy says."""

    def get(self, name: bytes) -> str | None:
        """The value in Latin-1, or None."""
        value = self._values.get(name)
        return None if value is None else value.decode("latin-1")

    def replace(self, name: bytes, value: str) -> None:
        """Put what a trusted proxy says in the place of what came over the connection."""
        self._values[name] = value.encode("latin-1")

    def items(self) -> Iterator[tuple[str, str]]:
        """Every header with its value in Latin-1; of one that came in several lines what `get` gives."""
        for name, value in self._values.items():
            yield name.decode("latin-1"), value.decode("latin-1")

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters; "" when absent."""
        return (self.get(b"content-type") or "").partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int | None:
        """Raises GatewayError when it is no number."""
        text = self.get(b"content-length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()):
            raise invalid("content-length", "expected a number of bytes", "MALFORMED_REQUEST")
        return int(text)

    def require_sound(self, version: str) -> None:
        """Raises GatewayError for what two ends may read in two ways (RFC 9112 sections 3.2 and 6.1). hyper takes away
        a length beside chunks and closes the connection afterwards (section 6.3)."""
        values = self._values
        if not values.get(b"host") and version == "1.1":  # granian writes an empty one where there is none
            raise invalid("host", "the header is missing", "MALFORMED_REQUEST")
        coding = values.get(b"transfer-encoding")
        if coding is None:
            return
        if coding.lower() != b"chunked":
            raise invalid("transfer-encoding", "expected chunked and no other coding", "MALFORMED_REQUEST")

    @property
    def has_body(self) -> bool:
        """False when HTTP/1.1 framing says that there is none."""
        return b"content-length" in self._values or b"transfer-encoding" in self._values

    @property
    def has_body_or_key(self) -> bool:
        """Whether there is a body (of HTTP/1.1) or an Idempotency-Key."""
        values = self._values
        return b"content-length" in values or b"transfer-encoding" in values or b"idempotency-key" in values

    @property
    def idempotency_key(self) -> str:
        """The key without the quotes of a structured field string; "" when absent."""
        text = self.get(b"idempotency-key")
        if text is None:
            return ""
        if len(text) > 2 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if _IDEMPOTENCY_KEY.fullmatch(text) is None:
            raise invalid("idempotency-key", "expected 1 to 128 visible ASCII characters")
        return text

    def metadata(self, peer: str) -> Metadata:
        """Metadata for the service; `peer` is the client's address. Raises GatewayError for an unprintable value."""
        made: Metadata = [("x-request-id", self.request_id), ("x-forwarded-for", peer)]
        for name, key in _INWARDS.items():
            text = self.get(name)
            if text is None:
                continue
            if len(text) > MAX_VALUE_CHARS:
                raise invalid(name.decode(), f"longer than {MAX_VALUE_CHARS} characters", "MALFORMED_REQUEST")
            if not (text.isascii() and text.isprintable()):
                raise invalid(name.decode(), "expected printable ASCII", "MALFORMED_REQUEST")
            made.append((key, self.idempotency_key if key == "idempotency-key" else text))
        made += trace(self.get(b"traceparent"), self.get(b"tracestate"))
        return made

    def timeout(self) -> float | None:
        """Seconds the client gives the call, from Grpc-Timeout or X-Server-Timeout; None when it says nothing."""
        text = self.get(b"grpc-timeout")
        if text is not None:
            match = _TIMEOUT.fullmatch(text)
            if match is None:
                raise invalid(
                    "grpc-timeout", "expected up to 8 digits and one of H M S m u n", "MALFORMED_REQUEST"
                )
            return int(match[1]) * _UNIT_SECONDS[match[2]]
        text = self.get(b"x-server-timeout")
        if text is None:
            return None
        if _SECONDS.fullmatch(text) is None:
            raise invalid("x-server-timeout", "expected seconds such as 1.5", "MALFORMED_REQUEST")
        return float(text)


_ONCE: Final = frozenset(
    {
        b"authorization",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"grpc-timeout",
        b"connect-timeout-ms",
        b"x-server-timeout",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"sec-fetch-site",
        b"content-encoding",
        b"if-match",
    }
)
_LISTS: Final = frozenset(
    {
        b"accept", b"accept-encoding", b"if-none-match", b"traceparent", b"tracestate",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    }
)  # fmt: skip


def trace(parent: str | None, state: str | None) -> Metadata:
    """The trace that a call is part of: the client's where it is well formed, or a new one."""
    if parent is None or not identifiers.is_traceparent(parent):
        return [("traceparent", identifiers.new_traceparent())]
    if not state or not (identifiers.is_tracestate(state) and state.isascii() and state.isprintable()):
        return [("traceparent", parent)]
    return [("traceparent", parent), ("tracestate", state)]


def response_headers(initial: Any, trailing: Any) -> list[tuple[bytes, bytes]]:
    """HTTP headers for the metadata of an answered call."""
    headers: list[tuple[bytes, bytes]] = []
    for prefix, metadata in (("grpc-metadata-", initial), ("grpc-trailer-", trailing)):
        for key, value in metadata or ():
            name = _outward_name(key, prefix)
            if name:
                data = (
                    base64.b64encode(value)
                    if isinstance(value, bytes)
                    else value.encode("latin-1", "replace")
                )
                headers.append((name, data))
    return headers


@lru_cache(maxsize=512)
def _outward_name(key: str, prefix: str) -> bytes:
    """The header that a metadata key becomes; empty for what stays inside."""
    if key in _INTERNAL or key.startswith("grpc-"):
        return b""
    plain = key in _OUTWARDS_PLAIN and not key.endswith("-bin")
    return (key if plain else prefix + key).encode()


def relayed_metadata(
    incoming: Sequence[tuple[str, str | bytes]], peer: str, proxies: Proxies
) -> tuple[Metadata, str]:
    """Metadata of a gRPC client made fit for a service, and the request id in it. `peer` holds the connection."""
    made: Metadata = []
    given = agent = parent = None
    states: list[str] = []
    forwarded: list[str] = []
    for key, value in incoming:
        if key == "x-request-id":
            given = value if isinstance(value, str) else None
        elif key == "x-forwarded-for" and isinstance(value, str):
            forwarded.append(value)
        elif key == "user-agent":
            agent = value
        elif key == "traceparent":
            parent = str(value) if parent is None else ""  # two of them are none
        elif key == "tracestate":
            states.append(str(value))
        elif key not in _STRIPPED and not key.startswith("grpc-"):
            made.append((key, value))
    request_id = identifiers.request_id(given)
    client = proxies.client(peer, ",".join(forwarded))
    made += [("x-request-id", request_id), ("x-forwarded-for", client)]
    if agent is not None:
        made.append(("x-user-agent", agent))
    made += trace(parent, ",".join(states))
    return made, request_id


def details_of(trailing: Any) -> bytes | None:
    """The value of `grpc-status-details-bin`, the serialised google.rpc.Status; None when there is none."""
    for key, value in trailing or ():
        if key == "grpc-status-details-bin":
            return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
    return None
