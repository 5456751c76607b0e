"""Laws of headers, metadata and deadlines."""

import re
import uuid

import pytest

from gateway import identifiers
from gateway.metadata import RequestHeaders, details_of, relayed_metadata, response_headers
from gateway.proxies import Proxies
from gateway.transcoding.errors import GatewayError

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # W3C Trace Context, section 3.2.4


def headers(**values: str) -> RequestHeaders:
    """Headers by name with underscores for dashes."""
    return RequestHeaders(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]
    )


def test_only_the_short_list_passes_inwards() -> None:
    """A client must not be able to speak for the gateway or another proxy."""
    made = dict(
        headers(
            authorization="Bearer t", x_forwarded_for="6.6.6.6", forwarded="for=6.6.6.6", cookie="c", traceparent=TRACE,
            user_agent="curl", x_request_id="client-id-1", grpc_metadata_admin="yes",
        ).metadata("10.0.0.1")
    )  # fmt: skip
    assert made == {
        "authorization": "Bearer t",
        "x-forwarded-for": "10.0.0.1",
        "traceparent": TRACE,
        "x-user-agent": "curl",
        "x-request-id": "client-id-1",
    }


@pytest.mark.parametrize(
    "given", ["", "short", "a" * 65, "has space", "new\nline", "ümlaut-ümlaut", "-starts-badly"]
)
def test_a_malformed_request_id_is_replaced(given: str) -> None:
    """Ids go into logs and queries of every service."""
    made = headers(x_request_id=given).request_id
    assert made != given
    assert uuid.UUID(made).version == 7


def test_new_ids_are_uuid7_and_ordered_by_time() -> None:
    """Log searches by id stay local in time."""
    made = [identifiers.new_id() for _ in range(50)]
    assert len(set(made)) == 50
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one)
        for one in made
    )
    assert [one[:13] for one in made] == sorted(one[:13] for one in made)


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [("grpc_timeout", "500m", 0.5), ("grpc_timeout", "2S", 2.0), ("grpc_timeout", "1H", 3600.0), ("grpc_timeout", "0S", 0.0),
     ("x_server_timeout", "1.5", 1.5)],
)  # fmt: skip
def test_a_deadline_is_read_from_either_header(header: str, value: str, seconds: float) -> None:
    """gRPC's notation and the plain one."""
    assert headers(**{header: value}).timeout() == seconds


@pytest.mark.parametrize(
    ("header", "value"),
    [("grpc_timeout", "5"), ("grpc_timeout", "-1S"), ("grpc_timeout", "123456789S"), ("grpc_timeout", "1s"),
     ("x_server_timeout", "-1"), ("x_server_timeout", "nan"), ("idempotency_key", "a b"), ("authorization", "Bearer \xff"),
     ("authorization", "Bearer " + "x" * 6000)],
)  # fmt: skip
def test_a_malformed_header_is_refused_at_the_edge(header: str, value: str) -> None:
    """Passed on, it would poison a connection that others share."""
    made = headers(**{header: value})
    with pytest.raises(GatewayError) as caught:
        made.metadata("p") and made.timeout()
    assert caught.value.violations[0].field == header.replace("_", "-")


def test_a_credential_given_twice_is_refused() -> None:
    """Two readers might each take another one."""
    with pytest.raises(GatewayError):
        RequestHeaders([(b"authorization", b"a"), (b"authorization", b"b")])


def test_the_quotes_of_an_idempotency_key_are_no_part_of_it() -> None:
    """The header is a structured field string in the IETF draft; most clients send it bare."""
    assert headers(idempotency_key='"k-1"').idempotency_key == "k-1"
    assert dict(headers(idempotency_key='"k-1"').metadata("p"))["idempotency-key"] == "k-1"


def test_response_metadata_becomes_headers_with_binary_in_base64() -> None:
    """Raw bytes in a header are an injection."""
    made = response_headers(
        (
            ("x-init", "1"),
            ("x-bytes-bin", b"\x00\r\n"),
            ("etag", '"7"'),
            ("grpc-encoding", "gzip"),
            ("x-request-id", "r"),
        ),
        (("x-trail", "2"),),
    )
    assert made == [
        (b"grpc-metadata-x-init", b"1"),
        (b"grpc-metadata-x-bytes-bin", b"AA0K"),
        (b"etag", b'"7"'),
        (b"grpc-trailer-x-trail", b"2"),
    ]


def test_a_request_without_a_trace_begins_one() -> None:
    """What one request does in all services can be found by one id."""
    for made in (headers().metadata("p"), relayed_metadata([], "p", Proxies())[0]):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", str(dict(made)["traceparent"]))
    assert dict(headers(traceparent=TRACE).metadata("p"))["traceparent"] == TRACE


@pytest.mark.parametrize(
    "given",
    [
        "00-1", "", TRACE.upper(), TRACE + "-more", "ff" + TRACE[2:], TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        TRACE.replace("00f067aa0ba902b7", "0" * 16), TRACE[:-1], TRACE + " ", "01" + TRACE[2:] + "more", TRACE + "," + TRACE,
    ],
)  # fmt: skip
def test_a_malformed_trace_ends_here(given: str) -> None:
    """W3C Trace Context, section 3.2.2: one that cannot be read is begun anew, and its state means nothing."""
    for made in (
        dict(headers(traceparent=given, tracestate="a=1").metadata("p")),
        dict(relayed_metadata([("traceparent", given), ("tracestate", "a=1")], "p", Proxies())[0]),
    ):
        assert identifiers.is_traceparent(str(made["traceparent"]))
        assert made["traceparent"] != given
        assert "tracestate" not in made


def test_a_later_version_of_the_trace_passes() -> None:
    """Section 3.2.1: what is known is read, and the rest goes on."""
    later = "01" + TRACE[2:] + "-what-may-come"
    assert dict(headers(traceparent=later).metadata("p"))["traceparent"] == later


def test_a_trace_that_is_given_twice_is_none() -> None:
    """Nobody can say which of them is meant."""
    made = RequestHeaders([(b"traceparent", TRACE.encode())] * 2).metadata("p")
    assert dict(made)["traceparent"] != TRACE


@pytest.mark.parametrize(
    ("given", "passes"),
    [("a=1,b=2", True), ("a=" + "x" * 510, True), ("a=" + "x" * 511, False), (",".join(["a=1"] * 32), True), (",".join(["a=1"] * 33), False), ("a=\x7f", False)],
)  # fmt: skip
def test_a_state_is_passed_within_its_bounds_or_left_out(given: str, passes: bool) -> None:
    """Section 3.3.1: 512 characters and 32 members are what everybody keeps; the trace goes on either way."""
    made = dict(headers(traceparent=TRACE, tracestate=given).metadata("p"))
    assert made["traceparent"] == TRACE
    assert ("tracestate" in made) is passes


def test_lines_of_a_state_are_one_list() -> None:
    """Section 3.3.1: several headers are joined in their order."""
    made = RequestHeaders(
        [(b"traceparent", TRACE.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    )
    assert dict(made.metadata("p"))["tracestate"] == "a=1,b=2"


def test_a_grpc_client_cannot_set_what_the_gateway_vouches_for() -> None:
    """Services trust x-forwarded-for because it comes from here."""
    made, request_id = relayed_metadata(
        [("x-forwarded-for", "6.6.6.6"), ("traceparent", TRACE), ("authorization", "Bearer t"), ("x-data-bin", b"\x01"), ("grpc-x", "1"),
         ("user-agent", "grpcurl"), ("x-user-agent", "fake"), ("forwarded", "x"), ("cookie", "c")],
        "10.0.0.1", Proxies(),
    )  # fmt: skip
    assert sorted(made, key=str) == sorted(
        [("traceparent", TRACE), ("authorization", "Bearer t"), ("x-data-bin", b"\x01"), ("x-request-id", request_id),
         ("x-forwarded-for", "10.0.0.1"), ("x-user-agent", "grpcurl")], key=str
    )  # fmt: skip


def test_status_details_are_found_in_trailing_metadata() -> None:
    """Absent is None, not empty bytes."""
    assert details_of((("a", "b"), ("grpc-status-details-bin", b"x"))) == b"x"
    assert details_of(None) is None
