"""Laws of what gRPC-Web and Connect read: whatever bytes come, a typed refusal or the message that was sent."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metadata import RequestHeaders
from gateway.protocols import envelopes
from gateway.protocols.connect import query_of
from gateway.protocols.headers import call_metadata, outwards
from gateway.transcoding.errors import GatewayError

LIMIT = 100


@given(st.binary(max_size=200), st.sampled_from(["identity", "gzip", "zstd"]))
async def test_any_bytes_are_a_message_or_refused(body: bytes, encoding: str) -> None:
    """A body that is no envelope must not become a 5xx, nor a message over the limit pass."""
    message, refused = b"", ""
    try:
        message = await envelopes.open_one(body, LIMIT, encoding)
    except GatewayError as error:
        refused = error.reason
    assert refused in ("", "MALFORMED_REQUEST", "MESSAGE_TOO_LARGE")
    assert len(message) <= LIMIT
    assert refused or body[0] or body == envelopes.seal(0, message)


@given(st.binary(max_size=LIMIT), st.lists(st.integers(0, LIMIT), max_size=5))
def test_text_may_be_cut_anywhere(body: bytes, cuts: list[int]) -> None:
    """A browser's library encodes piece by piece, and pads where it flushes."""
    edges = [0, *sorted(cuts), len(body)]
    pieces = [body[begin:end] for begin, end in pairwise(edges)]
    assert envelopes.from_text(b"".join(map(base64.b64encode, pieces))) == body


@given(st.binary(max_size=200))
def test_text_that_is_none_is_refused(text: bytes) -> None:
    """Nothing is skipped: what was left out might have been the message."""
    body, refused = b"", ""
    try:
        body = envelopes.from_text(text)
    except GatewayError as error:
        refused = error.reason
    assert refused in ("", "MALFORMED_REQUEST")
    assert refused or (len(text) % 4 == 0 and len(body) <= len(text))


@given(st.text(max_size=200))
def test_any_query_is_read_or_refused(text: str) -> None:
    """What a person types into an address bar is no defect of ours."""
    refused = 3
    try:
        query_of(text)
    except GatewayError as error:
        refused = error.code
    assert refused == 3


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        (b"x-custom", b"c", True),
        (b"acme.cost_1", b"c", True),
        (b"cookie", b"a=b", False),
        (b"sec-fetch-site", b"none", False),
        (b"x-forwarded-host", b"evil", False),
        (b"x-user-agent", b"grpc-web-javascript", False),
        (b"grpc-previous-rpc-attempts", b"3", False),
        (b"x-city", "Sèvres".encode(), False),
        (b"x!", b"c", False),
    ],
)
def test_headers_pass_as_metadata_unless_they_are_somebodys_own(
    name: bytes, value: bytes, passes: bool
) -> None:
    """A client says what it likes to a service, and nothing in the gateway's name."""
    made = dict(call_metadata(RequestHeaders([(name, value)]), "192.0.2.1"))
    assert (made.get(name.decode()) == value.decode("latin-1")) is passes
    assert made["x-forwarded-for"] == "192.0.2.1"


@pytest.mark.parametrize(
    "name", ["set-cookie", "access-control-allow-origin", "content-length", "x-request-id"]
)
def test_a_service_says_nothing_in_the_gateways_name(name: str) -> None:
    """Metadata become headers under their own names, so some names are not a service's."""
    assert outwards([(name, "x"), ("x-own", b"\xff")]) == [(b"x-own", b"/w")]
