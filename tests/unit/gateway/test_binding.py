"""Laws of binding: path, query and body to one request message."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.schema import Schema, SchemaError
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import compile_text, echo_set

SCHEMA = Schema(echo_set())
TRANSCODER = Transcoder(SCHEMA)


def bind(line: str, body: Any = None, **parts: str) -> dict[str, Any]:
    """The request message, as ProtoJSON, that a request line and a JSON body make."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    endpoint, values = TRANSCODER.route(method, path)
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    wire = endpoint.bind(values, RequestParts(query, raw, **parts))
    made: dict[str, Any] = json.loads(
        endpoint.method.input.type.from_binary(wire).to_json(
            registry=SCHEMA.registry, use_proto_field_name=True
        )
    )
    return made


def refusal(line: str, body: Any = None, **parts: str) -> tuple[str, list[str]]:
    """Reason and named fields of the refusal."""
    with pytest.raises(GatewayError) as caught:
        bind(line, body, **parts)
    return caught.value.reason, [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("display_name=a", {"display_name": "a"}),
        ("displayName=a+b%20c", {"display_name": "a b c"}),
        ("displayName=", {}),
        ("big=-9223372036854775808", {"big": "-9223372036854775808"}),
        ("flag=true", {"flag": True}),
        ("color=COLOR_RED", {"color": "COLOR_RED"}),
        ("color=1", {"color": "COLOR_RED"}),
        ("color=77", {"color": 77}),
        ("colors=COLOR_RED&colors=0", {"colors": ["COLOR_RED", "COLOR_UNSPECIFIED"]}),
        ("sub.text=a&sub.sub.number=5&sub.tags=x&sub.tags=y", {"sub": {"text": "a", "sub": {"number": 5}, "tags": ["x", "y"]}}),
        ("names=a&names=b&&", {"names": ["a", "b"]}),
        ("labels[a]=1&labels%5Bb%5D=2", {"labels": {"a": "1", "b": "2"}}),
        ("data=-_8", {"data": "+/8="}),
        ("data=%2B%2F8%3D", {"data": "+/8="}),
        ("time=2030-01-31T12:00:00Z", {"time": "2030-01-31T12:00:00Z"}),
        ("wait=1.5s", {"wait": "1.500s"}),
        ("note=", {"note": ""}),
        ("count=0&maybe=false", {"count": "0", "maybe": False}),
        ("mask=display_name,sub.text", {"mask": "displayName,sub.text"}),
        ("mask=displayName", {"mask": "displayName"}),
        ("left=a", {"left": "a"}),
        ("ratio=NaN", {"ratio": "NaN"}),
        ("ratio=1e3", {"ratio": 1000.0}),
        ("maybeNumber=0", {"maybe_number": 0}),
    ],
)  # fmt: skip
def test_query_parameters_fill_fields_of_every_kind(query: str, expected: dict[str, Any]) -> None:
    """A list request has no body, so its query must be able to say everything that has a textual form."""
    assert bind(f"GET /api/v1/things?{query}") == expected


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ("nope=1", "UNKNOWN_FIELD", "nope"),
        ("sub.nope=1", "UNKNOWN_FIELD", "sub.nope"),
        ("display_name.x=1", "UNKNOWN_FIELD", "display_name.x"),
        ("displayName=a&display_name=b", "CONFLICTING_FIELD", "display_name"),
        ("displayName=a&displayName=a", "CONFLICTING_FIELD", "display_name"),
        ("left=a&right=1", "CONFLICTING_FIELD", "right"),
        ("names[0]=a", "INVALID_FIELD", "names[0]"),
        ("labels=a", "INVALID_FIELD", "labels"),
        ("labels[a]=1&labels[a]=2", "CONFLICTING_FIELD", "labels[a]"),
        ("sub=x", "INVALID_FIELD", "sub"),
        ("subs=x", "INVALID_FIELD", "subs"),
        ("extra={}", "INVALID_FIELD", "extra"),
        ("any={}", "INVALID_FIELD", "any"),
        ("big=1_000", "INVALID_FIELD", "big"),
        ("big=0x10", "INVALID_FIELD", "big"),
        ("big=1.0", "INVALID_FIELD", "big"),
        ("big=%D9%A1", "INVALID_FIELD", "big"),
        ("big=9223372036854775808", "INVALID_FIELD", "big"),
        ("flag=1", "INVALID_FIELD", "flag"),
        ("flag=TRUE", "INVALID_FIELD", "flag"),
        ("color=red", "INVALID_FIELD", "color"),
        ("time=yesterday", "INVALID_FIELD", "time"),
        ("wait=1h", "INVALID_FIELD", "wait"),
        ("data=!", "INVALID_FIELD", "data"),
        ("displayName=%ff", "MALFORMED_REQUEST", "(query)"),
        ("displayName=%zz", "MALFORMED_REQUEST", "(query)"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(query: str, reason: str, field: str) -> None:
    """Silently dropped parameters are filters that do not filter."""
    assert refusal(f"GET /api/v1/things?{query}") == (reason, [field])


def test_path_values_reach_nested_fields() -> None:
    """`{thing.id}` makes the messages on its way."""
    assert bind("PATCH /api/v1/things/7", {}) == {"thing": {"id": "7"}}


@pytest.mark.parametrize("path", ["0x1", "1_0", "%2B1", "1e3", "1.0", "", "9999999999"])
def test_an_integer_in_a_path_is_decimal(path: str) -> None:
    """Two spellings of one resource would slip past caches and rules in front."""
    with pytest.raises(GatewayError):
        bind(f"GET /api/v1/fail/{path}")


def test_the_query_cannot_speak_for_path_or_body() -> None:
    """A parameter that overrides the path bypasses every rule that looks at the path."""
    assert refusal("GET /api/v1/things/1?id=2") == ("CONFLICTING_FIELD", ["id"])
    assert refusal("POST /api/v1/things?thing.id=2", {}) == ("CONFLICTING_FIELD", ["thing.id"])
    assert refusal("POST /api/v1/things/1:check?flag=true", {}) == ("CONFLICTING_FIELD", ["flag"])


def test_a_body_may_repeat_the_path_but_not_contradict_it() -> None:
    """Clients send back what they read; that is no conflict."""
    assert bind("PATCH /api/v1/things/7", {"id": "7"})["thing"] == {"id": "7"}
    assert refusal("PATCH /api/v1/things/7", {"id": "8"}) == ("CONFLICTING_FIELD", ["thing.id"])
    assert bind("POST /api/v1/things/7:check", {"id": "7", "flag": True}) == {"id": "7", "flag": True}
    assert refusal("POST /api/v1/things/7:check", {"id": "8"}) == ("CONFLICTING_FIELD", ["id"])


def test_other_fields_come_from_the_query_beside_a_body_field() -> None:
    """`POST /bots/{id}/posts?publishNow=true` with the post as the body is the product's main call."""
    assert bind("POST /api/v1/things?publishNow=true", {"displayName": "a"}) == {
        "thing": {"display_name": "a"},
        "publish_now": True,
    }


@pytest.mark.parametrize(
    ("body", "reason", "fields"),
    [
        ({"nope": 1}, "UNKNOWN_FIELD", ["thing.nope"]),
        ({"sub": {"sub": {"nope": 1}}, "other": 2}, "UNKNOWN_FIELD", ["thing.sub.sub.nope", "thing.other"]),
        ({"subs": [{}, {"x": 1}]}, "UNKNOWN_FIELD", ["thing.subs[1].x"]),
        ({"subMap": {"k": {"x": 1}}}, "UNKNOWN_FIELD", ["thing.sub_map[k].x"]),
        ({"displayName": 1}, "INVALID_FIELD", ["thing.display_name"]),
        ({"sub": {"number": "x"}, "time": "t"}, "INVALID_FIELD", ["thing.sub.number", "thing.time"]),
        ({"subs": [{"number": 1}, {"number": "x"}]}, "INVALID_FIELD", ["thing.subs[1].number"]),
        ({"names": ["a", None]}, "INVALID_FIELD", ["thing.names[1]"]),
        ({"names": "a"}, "INVALID_FIELD", ["thing.names"]),
        ({"labels": {"a": 1}}, "INVALID_FIELD", ["thing.labels[a]"]),
        ({"sub": []}, "INVALID_FIELD", ["thing.sub"]),
        ({"color": "RED"}, "INVALID_FIELD", ["thing.color"]),
        ({"flag": "true"}, "INVALID_FIELD", ["thing.flag"]),
        ({"big": "1_0"}, "INVALID_FIELD", ["thing.big"]),
        ({"any": {"@type": "type.googleapis.com/none.None"}}, "INVALID_FIELD", ["thing.any"]),
        ({"left": "a", "right": 1}, "CONFLICTING_FIELD", ["thing.right"]),
        ({"displayName": "a", "display_name": "a"}, "CONFLICTING_FIELD", ["thing.display_name"]),
        ([], "INVALID_FIELD", ["thing"]),
    ],
)
def test_a_wrong_body_is_refused_by_field(body: Any, reason: str, fields: list[str]) -> None:
    """The answer leads to the field, through lists and maps, and reports several at once."""
    assert refusal("POST /api/v1/things", body) == (reason, fields)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b'{"a":1}x', b'{"id":"1","id":"2"}', b"{'id':1}", b'{"ratio":NaN}', b'{"id":"\xff"}', b"\xef\xbb\xbf{}",
        b'{"big":' + b"1" * 5000 + b"}", b'{"id":"a\nb"}', b"[" * 100_000, b'{"sub":' * 20_000,
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_malformed(body: bytes) -> None:
    """Lenient parsers let two readers of one request disagree; hostile nesting must not take the process down."""
    assert refusal("POST /api/v1/things", body)[0] == "MALFORMED_REQUEST"


def test_messages_nested_beyond_the_limit_are_refused() -> None:
    """Depth costs stack in every service behind."""
    tree: dict[str, Any] = {}
    for _ in range(150):
        tree = {"sub": tree}
    assert refusal("POST /api/v1/things", tree)[0] in ("MALFORMED_REQUEST", "INVALID_FIELD")


def test_a_refusal_never_repeats_a_value() -> None:
    """The value may be a password."""
    with pytest.raises(GatewayError) as caught:
        bind("POST /api/v1/things", {"big": "s3cret", "time": "s3cret", "color": "s3cret", "data": "s3cret!"})
    assert "s3cret" not in json.dumps(caught.value.to_json())


def test_a_body_where_the_rule_has_none_is_refused() -> None:
    """Merging it would bind fields that the contract takes from the query."""
    assert refusal("GET /api/v1/things", b"{}")[0] == "MALFORMED_REQUEST"


def test_only_json_is_json() -> None:
    """A form post from another site carries no JSON content type; that keeps browsers' simple requests out."""
    with pytest.raises(GatewayError) as caught:
        bind("POST /api/v1/things", {}, content_type="text/plain")
    assert caught.value.http_status == 415
    assert bind("POST /api/v1/things", {}, content_type="application/json") == {"thing": {}}


def test_an_empty_body_is_an_empty_message() -> None:
    """`POST …:verb` without a body is common."""
    assert bind("POST /api/v1/things/1:check") == {"id": "1"}
    assert bind("POST /api/v1/things") == {"thing": {}}


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ({"displayName": "x"}, "displayName"),
        ({"flag": None, "big": 1}, "big,flag"),
        ({"sub": {"text": "a", "sub": {"number": 1}}}, "sub.sub.number,sub.text"),
        ({"sub": {}}, "sub"),
        ({"labels": {"a": "b"}, "names": [], "subs": [{"text": "x"}]}, "labels,names,subs"),
        ({"time": "2030-01-01T00:00:00Z", "extra": {"a": {"b": 1}}}, "extra,time"),
        ({"id": "7", "flag": False}, "flag"),
    ],
)
def test_a_patch_without_a_mask_changes_what_its_body_holds(body: dict[str, Any], mask: str) -> None:
    """Otherwise a PATCH of one field would clear all others; lists and maps change as a whole."""
    assert bind("PATCH /api/v1/things/7", body)["update_mask"] == mask


def test_an_explicit_mask_stands_and_an_empty_patch_has_none() -> None:
    """`{}` must not become the mask of one empty path."""
    assert bind("PATCH /api/v1/things/7?updateMask=flag", {"displayName": "x"})["update_mask"] == "flag"
    assert "update_mask" not in bind("PATCH /api/v1/things/7", {})
    assert refusal("PATCH /api/v1/things/7", {"nope": 1}) == ("UNKNOWN_FIELD", ["thing.nope"])


def test_the_idempotency_key_fills_an_absent_request_id() -> None:
    """The header is what HTTP clients know; the field is what the services compare."""
    assert bind("POST /api/v1/things", {}, idempotency_key="k1")["request_id"] == "k1"
    assert bind("POST /api/v1/things?requestId=k1", {}, idempotency_key="k1")["request_id"] == "k1"
    assert refusal("POST /api/v1/things?requestId=k2", {}, idempotency_key="k1") == (
        "CONFLICTING_FIELD",
        ["request_id"],
    )
    # A search for a request's logs is not told by a header that means something else.
    assert bind("GET /api/v1/things/7", idempotency_key="k1") == {"id": "7"}


def test_an_http_body_takes_any_bytes() -> None:
    """Uploads are not JSON."""
    made = bind("POST /api/v1/upload", b"\x00\xff", content_type="image/png")
    assert made == {"content_type": "image/png", "data": "AP8="}


@pytest.mark.parametrize(
    "rule",
    [
        'get: "/a/{nope}"',
        'get: "/a/{names}"',
        'get: "/a/{sub}"',
        'get: "/a/{text"',
        'post: "/a" body: "nope"',
        'get: "/a" response_body: "nope"',
        'get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }',
        'get: "/a" additional_bindings { get: "/a" }',
    ],
)
def test_a_rule_that_does_not_fit_its_message_refuses_the_start(rule: str) -> None:
    """Better no gateway than one that cannot serve what it promises."""
    text = f"""syntax = "proto3"; package p.v1; import "google/api/annotations.proto";
        message M {{ string text = 1; repeated string names = 2; M sub = 3; }}
        service S {{ rpc Call(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }} }}"""
    with pytest.raises(ValueError, match=r"S/Call|/a/\{text"):
        Transcoder(Schema(compile_text(text)))


@pytest.mark.parametrize(
    ("kind", "template", "path", "query", "value"),
    [
        ("StringValue", "/v1/{value}", "/v1/a%2Fb", "", "a/b"),
        ("StringValue", "/v1/x", "/v1/x", "", ""),
        ("Int64Value", "/v1/{value}", "/v1/-5", "", "-5"),
        ("Int32Value", "/v1/x", "/v1/x", "", 0),
        ("BoolValue", "/v1/x", "/v1/x", "value=true", True),
        ("BoolValue", "/v1/x", "/v1/x", "", False),
        ("BytesValue", "/v1/x", "/v1/x", "value=-_8", "+/8="),
        ("Duration", "/v1/{seconds}", "/v1/-1", "nanos=-500000000", "-1.500s"),
        ("Duration", "/v1/x", "/v1/x", "", "0s"),
    ],
)
def test_a_wellknown_type_may_be_the_whole_request(
    kind: str, template: str, path: str, query: str, value: Any
) -> None:
    """Contracts of others take a StringValue; path and query then name its fields, as of any message."""
    lower = kind.removesuffix("Value").lower() if kind == "Duration" else "wrappers"
    text = f"""syntax = "proto3"; package p.v1; import "google/api/annotations.proto"; import "google/protobuf/{lower}.proto";
        service S {{ rpc Call(google.protobuf.{kind}) returns (google.protobuf.{kind}) {{ option (google.api.http) = {{ get: "{template}" }}; }} }}"""
    endpoint, values = Transcoder(Schema(compile_text(text))).route("GET", path)
    wire = endpoint.bind(values, RequestParts(query))
    assert json.loads(endpoint.renderer.unary(wire)[1]) == value


def test_a_custom_kind_is_any_method_or_every() -> None:
    """`custom {kind: "*"}` takes what no other route of the path takes."""
    rules = (
        'custom { kind: "PROPFIND" path: "/v1/a" } additional_bindings { custom { kind: "*" path: "/v1/b" } }'
    )
    text = f"""syntax = "proto3"; package p.v1; import "google/api/annotations.proto"; message M {{ string name = 1; }}
        service S {{ rpc Call(M) returns (M) {{ option (google.api.http) = {{ {rules} }}; }}
        rpc Other(M) returns (M) {{ option (google.api.http) = {{ get: "/v1/b" }}; }} }}"""
    transcoder = Transcoder(Schema(compile_text(text)))
    found = {
        line: transcoder.route(*line.split())[0].method.name
        for line in ("PROPFIND /v1/a", "GET /v1/b", "HEAD /v1/b", "PURGE /v1/b")
    }
    assert found == {
        "PROPFIND /v1/a": "Call",
        "GET /v1/b": "Other",
        "HEAD /v1/b": "Other",
        "PURGE /v1/b": "Call",
    }
    with pytest.raises(GatewayError) as caught:
        transcoder.route("GET", "/v1/a")
    assert (caught.value.http_status, list(caught.value.headers)) == (405, [(b"allow", b"PROPFIND")])


def test_what_no_variable_takes_must_be_whole_too() -> None:
    """A broken escape is refused wherever it stands; nobody behind may read it another way."""
    text = """syntax = "proto3"; package p.v1; import "google/api/annotations.proto"; message M { string name = 1; }
        service S { rpc Call(M) returns (M) { option (google.api.http) = { get: "/v1/*/{name}" }; } }"""
    transcoder = Transcoder(Schema(compile_text(text)))
    assert transcoder.route("GET", "/v1/%C3%A4/x")[1] == ["x"]
    for broken in ("%zz", "%ff"):
        with pytest.raises(GatewayError) as caught:
            transcoder.route("GET", f"/v1/{broken}/x")
        assert caught.value.code == 3


def test_several_mistakes_of_several_kinds_are_told_at_once() -> None:
    """A sloppy number does not hide a wrong time."""
    body = {
        "big": "1_0",
        "time": "t",
        "sub": {"number": "007"},
        "any": {"@type": "type.googleapis.com/vivesphere.echo.v1.Thing", "big": "+1"},
    }
    assert refusal("POST /api/v1/things", body) == (
        "INVALID_FIELD",
        ["thing.time", "thing.big", "thing.sub.number", "thing.any.big"],
    )


def test_a_descriptor_set_that_is_none_refuses_the_start() -> None:
    """A wrong file is named, not a stack trace."""
    with pytest.raises(SchemaError):
        Schema(b"\xff\xff\xff")


_names = st.sampled_from(
    [
        "id",
        "displayName",
        "big",
        "sub",
        "text",
        "number",
        "subs",
        "labels",
        "any",
        "@type",
        "extra",
        "time",
        "choice",
        "left",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_names, below, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(_json.map(lambda tree: json.dumps(tree).encode()), st.binary(max_size=40)), st.text(max_size=30)
)
def test_nothing_a_client_sends_makes_binding_fail_otherwise(body: bytes, query: str) -> None:
    """Whatever arrives is bound or refused; an unexpected exception would be a 500."""
    encoded = query.encode("utf-8", "replace").decode("latin-1")
    for line in ("POST /api/v1/things", "PATCH /api/v1/things/1", "POST /api/v1/things/1:check"):
        endpoint, values = TRANSCODER.route(*line.split(" ", 1))
        for parts in (RequestParts("", body), RequestParts(encoded, b"{}")):
            with contextlib.suppress(GatewayError):
                endpoint.bind(values, parts)
