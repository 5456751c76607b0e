"""Laws of the option by which a stream can be resumed."""

import pytest

from gateway.resume import resumable_streams
from gateway.transcoding.schema import Schema, SchemaError
from tests.unit.gateway.support import compile_text, echo_set, flow_set

CONTRACT = """syntax = "proto3"; package p.v1; import "vivesphere/mesh/v1/browser.proto";
message Inner { string token = 1; int64 number = 2; }
message Request { string token = 1; int64 number = 2; bool flag = 3; Inner inner = 4; oneof one { string other = 5; } repeated string many = 6; }
message Response { string token = 1; int64 number = 2; Inner inner = 3; repeated Inner inners = 4; }
service S { rpc Watch(Request) returns (%s Response) { option (vivesphere.mesh.v1.event_stream) = { %s }; } }"""


def test_streams_are_found_by_their_option() -> None:
    """A contract without the option has none, as any contract that is not ours."""
    assert resumable_streams(Schema(echo_set())) == {}
    paths = {"/vivesphere.flow.v1.FlowService/Watch", "/vivesphere.flow.v1.FlowService/Follow"}
    assert resumable_streams(Schema(flow_set())).keys() == paths


@pytest.mark.parametrize(
    ("stream", "option"),
    [
        ("", 'request_field: "token" response_fields: "token"'),
        ("stream", 'request_field: "nope" response_fields: "token"'),
        ("stream", 'request_field: "token" response_fields: "nope"'),
        ("stream", 'request_field: "token" response_fields: "inner.nope"'),
        ("stream", 'request_field: "token" response_fields: "inners.token"'),
        ("stream", 'request_field: "token" response_fields: "token.token"'),
        ("stream", 'request_field: "token" response_fields: "number"'),
        ("stream", 'request_field: "token" response_fields: ["token", "inner.number"]'),
        ("stream", 'request_field: "flag" response_fields: "token"'),
        ("stream", 'request_field: "inner.token" response_fields: "token"'),
        ("stream", 'request_field: "other" response_fields: "token"'),
        ("stream", 'request_field: "many" response_fields: "token"'),
        ("stream", 'request_field: "token"'),
        ("stream", 'response_fields: "token"'),
    ],
)
def test_an_option_that_does_not_fit_refuses_the_start(stream: str, option: str) -> None:
    """Found at the start, not by the first browser that reconnects."""
    with pytest.raises(SchemaError, match=r"/p\.v1\.S/Watch"):
        resumable_streams(Schema(compile_text(CONTRACT % (stream, option))))


def test_an_id_never_breaks_the_frame() -> None:
    """A token with a line feed would be lines of the gateway's own; such a place is not told."""
    schema = Schema(
        compile_text(CONTRACT % ("stream", 'request_field: "token" response_fields: "inner.token"'))
    )
    resume = resumable_streams(schema)["/p.v1.S/Watch"]
    response = schema.methods["/p.v1.S/Watch"].output.type
    assert resume.id_of(response.from_json('{"inner":{"token":"t-1"}}').to_binary()) == "t-1"
    for token in ("a\\nb", "a\\rb", "a\\u0000", "ä", "a b", "x" * 1025, ""):
        assert resume.id_of(response.from_json(f'{{"inner":{{"token":"{token}"}}}}').to_binary()) == ""
    assert resume.id_of(b"") == ""
