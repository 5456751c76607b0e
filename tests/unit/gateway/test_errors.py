"""Laws of error answers."""

import base64

import pytest
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from gateway.transcoding import errors
from gateway.transcoding.schema import Schema
from tests.unit.gateway.support import echo_set

RENDERER = errors.StatusRenderer(Schema(echo_set()).details)


def status_with(*details: object) -> bytes:
    """A serialised google.rpc.Status holding these details."""
    status = status_pb2.Status(code=8, message="m")
    for detail in details:
        if isinstance(detail, any_pb2.Any):
            status.details.append(detail)
        else:
            status.details.add().Pack(detail)
    made: bytes = status.SerializeToString()
    return made


@pytest.mark.parametrize(
    ("code", "http_status"),
    [(1, 499), (2, 500), (3, 400), (4, 504), (5, 404), (6, 409), (7, 403), (8, 429), (9, 400), (10, 409), (11, 400),
     (12, 501), (13, 500), (14, 503), (15, 500), (16, 401), (99, 500)],
)  # fmt: skip
def test_codes_map_as_google_rpc_code_documents(code: int, http_status: int) -> None:
    """Generic HTTP clients act on the status alone."""
    rendered = RENDERER.render(code, "m", None)
    assert rendered.http_status == http_status
    assert rendered.body == {"code": code, "message": "m", "details": []}


def test_details_are_expanded() -> None:
    """The client reads reason and fields without knowing protobuf."""
    info = error_details_pb2.ErrorInfo(reason="R", domain="d", metadata={"botId": "1"})
    rendered = RENDERER.render(8, "m", status_with(info, timestamp_pb2.Timestamp(seconds=1)))
    assert rendered.body["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "R",
            "domain": "d",
            "metadata": {"botId": "1"},
        },
        {"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "1970-01-01T00:00:01Z"},
    ]


@pytest.mark.parametrize(
    "type_url", ["type.googleapis.com/none.None", "type.googleapis.com/google.rpc.ErrorInfo"]
)
def test_a_detail_that_cannot_be_read_keeps_its_bytes(type_url: str) -> None:
    """An unknown type or broken bytes must not cost code, message and the other details."""
    unknown = any_pb2.Any(type_url=type_url, value=b"\xff\x01")
    rendered = RENDERER.render(8, "m", status_with(unknown))
    value = base64.b64encode(b"\xff\x01").decode()
    assert rendered.body == {"code": 8, "message": "m", "details": [{"@type": type_url, "value": value}]}


def test_broken_status_bytes_leave_code_and_message() -> None:
    """The call's own code and message are enough."""
    assert RENDERER.render(5, "gone", b"\xff\xff").body == {"code": 5, "message": "gone", "details": []}


@pytest.mark.parametrize(
    ("seconds", "nanos", "header"), [(3, 0, b"3"), (3, 1, b"4"), (0, 0, b"0"), (-5, 0, b"0")]
)
def test_retry_info_becomes_retry_after_in_whole_seconds(seconds: int, nanos: int, header: bytes) -> None:
    """Rounded up: coming back too early only costs another refusal."""
    info = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos))
    assert (b"retry-after", header) in RENDERER.render(8, "m", status_with(info)).headers
    assert RENDERER.render(5, "m", status_with(info)).headers == ()


def test_broken_retry_info_is_not_a_failure() -> None:
    """A service's garbage stays the service's."""
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    assert RENDERER.render(14, "m", status_with(broken)).headers == ()


def test_401_challenges_for_a_bearer_token() -> None:
    """RFC 9110 section 11.6.1 wants the header; the message never goes into it."""
    assert RENDERER.render(16, "secret", None).headers == ((b"www-authenticate", b"Bearer"),)


def test_the_gateways_own_errors_look_like_a_services() -> None:
    """One error shape for a client, over HTTP and gRPC alike."""
    error = errors.invalid("bot.time_zone", "expected an IANA name")
    rendered = errors.answer(error)
    assert rendered.http_status == 400
    assert RENDERER.render(3, error.message, error.to_status().SerializeToString()).body == rendered.body
