"""Conditional requests (RFC 9110 section 13) over a resource's `etag` field (AIP-154).

Answers: the field becomes the ETag header, in quotes. It is a strong validator in RFC 9110's sense, since If-Match takes no
other: the service changes it whenever the resource changes. A GET with If-None-Match that names it is answered 304 without a
body; the service has been asked all the same, so what is saved is the way to the client.

Requests that may change something: If-Match fills the request's `etag` field, and the service compares it in its own
transaction. Its ETAG_MISMATCH is then 412 instead of 409. A body that gives another etag is refused, as is a list, since a
service takes one; `*` asks that the resource exist, which the service sees by itself. A weak or empty tag matches nothing: 412 at once.
A condition that cannot be held against anything is refused: to ignore it would be to overwrite what the client meant to protect.

An answer without an etag gets none: a hash of its bytes would cost every call something to save a few the transfer, and lists can be watched.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.edge.traits import Place, Traits
from gateway.metadata import Headers, RequestHeaders
from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import ABORTED, ErrorAnswer, GatewayError, invalid
from gateway.transcoding.transcoder import Endpoint

PRECONDITION_FAILED: Final = 412
MISMATCH: Final = "ETAG_MISMATCH"
_READS: Final = frozenset({"GET", "HEAD"})
_OPAQUE = r'"([\x21\x23-\x7e]*)"'  # RFC 9110 section 8.8.3: etagc, without obs-text
_TAG = re.compile(rf"(W/)?{_OPAQUE}")
_TAGS = re.compile(
    rf"[\s,]*(?:(?:W/)?{_OPAQUE}\s*(?:,[\s,]*|$))+"
)  # section 5.6.1.2: empty elements are none
_VALUE = re.compile(r"[\x21\x23-\x7e]+")

Header = tuple[bytes, bytes]


class Condition:
    """What an If-Match says of one call that may change something. `etag` is "" for `*`."""

    __slots__ = ("_etag", "_place", "_type")

    def __init__(self, etag: str, place: Place, message_type: Any) -> None:
        self._etag = etag
        self._place = place
        self._type = message_type

    def fill(self, wire: bytes) -> bytes:
        """The request message with the etag; raises GatewayError CONFLICTING_FIELD where it has another."""
        if not self._etag:
            return wire
        message: Any = self._type.from_binary(wire)
        holder = message
        for field in self._place[:-1]:
            below = getattr(holder, field.local_name)
            if below is None:
                below = field.value.message.type()  # type: ignore[union-attr]  # places lead through messages
                setattr(holder, field.local_name, below)
            holder = below
        name = self._place[-1].local_name
        given = getattr(holder, name)
        if given not in (None, "", self._etag):
            path = ".".join(field.name for field in self._place)
            raise invalid(path, "differs from the If-Match header", "CONFLICTING_FIELD")
        setattr(holder, name, self._etag)
        return bytes(message.to_binary())

    @staticmethod
    def judge(failed: ErrorAnswer) -> ErrorAnswer:
        """412 for a service's ETAG_MISMATCH; any other error as it is."""
        reasons = [detail.get("reason") for detail in failed.body.get("details", ())]
        if failed.body.get("code") == ABORTED and MISMATCH in reasons:
            return replace(failed, http_status=PRECONDITION_FAILED)
        return failed


def condition_of(
    headers: RequestHeaders, http_method: str, endpoint: Endpoint, place: Place
) -> Condition | None:
    """The condition of a call that may change something, None without one. Raises GatewayError 400 or 412."""
    if http_method in _READS:
        return None
    if headers.get(b"if-none-match") is not None:
        raise invalid("if-none-match", "this method has nothing to hold it against", "MALFORMED_REQUEST")
    text = headers.get(b"if-match")
    if text is None:
        return None
    if not place:
        raise invalid("if-match", "this method has no etag to hold it against", "MALFORMED_REQUEST")
    text = text.strip()
    if text == "*":
        return Condition("", place, endpoint.method.input.type)
    tag = _TAG.fullmatch(text)
    if tag is None:
        raise invalid("if-match", 'expected one entity tag in quotes, such as "7", or *', "MALFORMED_REQUEST")
    if tag[1] or not tag[2]:
        raise _mismatch()
    return Condition(tag[2], place, endpoint.method.input.type)


def etag_in(wire: bytes, endpoint: Endpoint, place: Place) -> str:
    """The ETag header's value for an answer, "" where the resource has none or one that no header can hold. Raises CodecError."""
    try:
        holder: Any = endpoint.method.output.type.from_binary(wire)
    except (ValueError, RecursionError) as error:
        raise CodecError(str(error)) from error
    for field in place:
        holder = getattr(holder, field.local_name)
        if holder is None:
            return ""
    return f'"{holder}"' if _VALUE.fullmatch(holder) is not None else ""


def is_not_modified(headers: RequestHeaders, http_method: str, etag: str) -> bool:
    """Whether If-None-Match of a GET or HEAD names this tag (weak comparison). Raises GatewayError 412 for an If-Match that does not."""
    if http_method not in _READS:
        return False
    match = headers.get(b"if-match")
    if match is not None and match.strip() != "*" and etag not in _strong(match):
        raise _mismatch()
    given = headers.get(b"if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag.removeprefix("W/") in (f'"{opaque}"' for _, opaque in _tags(given))


def _strong(text: str) -> list[str]:
    return [f'"{opaque}"' for weak, opaque in _tags(text) if not weak]


def _tags(text: str) -> list[tuple[str, str]]:
    """The tags of a list; none of one that cannot be read, which matches nothing."""
    return _TAG.findall(text) if _TAGS.fullmatch(text) is not None else []


def _mismatch() -> GatewayError:
    return GatewayError(
        ABORTED, MISMATCH, "If-Match does not name the current etag", http_status=PRECONDITION_FAILED
    )


def etag_header(headers: Headers) -> str:
    """The ETag among headers, "" if there is none."""
    return next((value.decode("latin-1") for name, value in headers if name == b"etag"), "")


class Conditions:
    """Conditions of all routes; made once."""

    def __init__(self, traits: Mapping[Endpoint, Traits]) -> None:
        self._traits = traits

    def of(self, headers: RequestHeaders, http_method: str, endpoint: Endpoint) -> Condition | None:
        """See condition_of."""
        return condition_of(headers, http_method, endpoint, self._traits[endpoint].request_etag)

    def tag(self, endpoint: Endpoint, wire: bytes, headers: list[Header]) -> str:
        """The answer's ETag, added to `headers` unless the service has sent one itself. Raises CodecError."""
        sent = etag_header(headers)
        place = self._traits[endpoint].answer_etag
        if sent or not place:
            return sent
        made = etag_in(wire, endpoint, place)
        if made:
            headers.append((b"etag", made.encode()))
        return made
