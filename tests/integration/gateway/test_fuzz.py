"""Whatever arrives in path, query and body is bound or refused: no crash, no hang, no 5xx, no answer that cannot be sent.

First without a server, where very many can be tried, then through the HTTP door. `make fuzz` tries for minutes.
"""

import base64
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import ProtobufPyCodec
from gateway.transcoding.errors import GatewayError, answer
from gateway.transcoding.google_codec import GoogleCodec
from gateway.transcoding.rendering import dump
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.making import Request, requests
from tests.integration.gateway.probing import Front, front, send
from tests.unit.gateway.support import compile_set
from tests.vectors.reading import PROTOS

RAW = compile_set(PROTOS, "probe.proto")
SCHEMA = Schema(RAW)
FRONTS = [Transcoder(SCHEMA, ProtobufPyCodec(SCHEMA.registry)), Transcoder(SCHEMA, GoogleCodec(RAW))]
LONG = settings.default.max_examples > 1000

_METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "CONNECTED"])
_PIECES = [
    "v1", "messages", "users", "projects", "p", "things", "query", "path", "int32", "string", "body", "star", "none", "items", "orders", "7:cancel", "subs", "resp", "fail", "5",
    "", ".", "..", "%2F", "%2f", "%3A", "%", "%zz", "%ff", "%00", "%E4", "%C3%A4", "%ED%A0%80", "%F4%90%80%80", ":", ":cancel", "*", "**", "{name}", "a", "~!$&'()*+,;=:@", "%25", "+",
]  # fmt: skip
_paths = st.lists(
    st.sampled_from(_PIECES)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#/"), max_size=4),
    max_size=7,
).map(lambda pieces: "/" + "/".join(pieces))
_NAMES = [
    "int32_value", "int32Value", "string_value", "sub.text", "sub.sub.sub.number", "sub", "int32_list", "int32_list[0]", "string_map[a]", "string_map[", "string_map]", "sub_map[a].text",
    "choice_string", "choice_int", "timestamp", "duration", "field_mask", "any_value", "value", "struct_value", "customJSON", "name", "id", "nope", "", "[", "]", ".", "..", "sub.", ".sub", "a" * 300, "sub." * 40,
]  # fmt: skip
_VALUES = [
    "",
    "1",
    "x",
    "true",
    "%",
    "%ff",
    "%00",
    "1e999",
    "9" * 400,
    "-" * 50,
    "%C3%A4",
    "{}",
    "null",
    "2030-01-01T00:00:00Z",
    "1s",
    "a,b",
    "=",
    "%3D",
    "+",
]
_queries = st.lists(
    st.builds(lambda name, value: f"{name}={value}", st.sampled_from(_NAMES), st.sampled_from(_VALUES))
    | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=12),
    max_size=5,
).map("&".join)
_KEYS = ["int32Value", "int32_value", "stringValue", "sub", "text", "number", "subList", "stringMap", "subMap", "choiceString", "choiceInt", "timestamp", "duration", "fieldMask", "structValue", "value", "listValue", "anyValue", "@type", "item", "title", "nope", ""]  # fmt: skip
_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5) | st.sampled_from(["1s", "type.googleapis.com/probe.v1.Sub", "type.googleapis.com/google.protobuf.Any", "AQ==", "\ud800"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=3), below, max_size=4), max_leaves=10,
)  # fmt: skip
_texts = _trees.map(lambda tree: json.dumps(tree).encode())
_deep = st.builds(
    lambda opening, times, middle: opening * times + middle,
    st.sampled_from(
        [
            b"[",
            b'{"sub":',
            b'{"structValue":{"a":',
            b'{"subMap":{"k":',
            b'{"value":[',
            b'{"anyValue":{"@type":"type.googleapis.com/google.protobuf.Any","value":',
        ]
    ),
    st.integers(1, 3000),
    st.sampled_from([b"", b"1", b"{}", b'"']),
)
_whole = st.builds(
    lambda opening, closing, times: opening * times + b"1" + closing * times,
    st.just(b'{"structValue":{"a":'),
    st.just(b"}}"),
    st.integers(1, 600),
) | st.builds(lambda times: b'{"sub":' * times + b"{}" + b"}" * times, st.integers(1, 990))


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """A JSON text with some bytes changed."""
    text = bytearray(draw(_texts))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(text)


_bodies = st.one_of(_texts, _spoilt(), _deep, _whole, st.binary(max_size=60))
_KINDS = st.sampled_from(["", "application/json", "text/plain"])


@settings(max_examples=200_000 if LONG else 150, suppress_health_check=[HealthCheck.too_slow])
@given(_METHODS, _paths, _queries, _bodies, _KINDS)
def test_a_wild_request_is_bound_or_refused(
    method: str, path: str, query: str, body: bytes, kind: str
) -> None:
    """The pure part, by both codecs: whatever is raised is a refusal that can be sent, and is the client's."""
    wild = [(method, path), ("POST", "/v1/body/star"), ("GET", "/v1/query"), ("PATCH", "/v1/items/7")]
    for transcoder in FRONTS:
        for verb, where in wild:
            try:
                endpoint, values = transcoder.route(verb, where)
                endpoint.bind(values, RequestParts(query, b"" if verb == "GET" else body, kind))
            except GatewayError as error:
                refused = answer(error)
                assert 400 <= refused.http_status < 500
                dump(refused.body)


@settings(max_examples=20_000 if LONG else 100)
@given(request=requests(SCHEMA))
def test_what_is_bound_can_be_read_and_printed(request: Request) -> None:
    """By the service it is for, and on its way back: what passes one direction must not fail in the other."""
    transcoder = FRONTS[0]
    path, _, query = request["path"].partition("?")
    with contextlib.suppress(GatewayError):
        endpoint, values = transcoder.route(request["method"], path)
        wire = endpoint.bind(
            values, RequestParts(query, request.get("body", "").encode("utf-8", "surrogatepass"))
        )
        desc = endpoint.method.input
        for codec in (ProtobufPyCodec(SCHEMA.registry), GoogleCodec(RAW)):
            again = codec.message(desc).to_json(wire)
            if desc.type_name != "google.api.HttpBody":
                assert codec.message(desc).to_wire(json.loads(again)) is not None


@pytest.fixture(scope="module")
async def probe() -> AsyncIterator[Front]:
    """A gateway before a backend that echoes."""
    async with front(RAW) as running:
        for method in running.backend.methods.values():
            if method.input_type.full_name != method.output_type.full_name and not method.server_streaming:
                running.backend.behaviours[method.name] = _empty(running, method.output_type.full_name)
            elif method.server_streaming:
                running.backend.behaviours[method.name] = _none
        yield running


def _empty(running: Front, name: str) -> object:
    async def answer_empty(request: object, context: object) -> object:
        return running.backend.type(name)()

    return answer_empty


async def _none(request: object, context: object) -> AsyncIterator[object]:
    for nothing in ():
        yield nothing


@settings(
    max_examples=60_000 if LONG else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(method=_METHODS, path=_paths, query=_queries, body=_bodies, kind=_KINDS)
async def test_a_wild_request_is_answered(
    probe: Front, method: str, path: str, query: str, body: bytes, kind: str
) -> None:
    """Through the HTTP door and a real service; it always answers, and never says that it is at fault."""
    headers = [["Content-Type", kind]] if kind else []
    request = {
        "method": method,
        "path": f"{path}?{query}",
        "headers": headers,
        "body": {"base64": base64.b64encode(body).decode()},
    }
    answered = await send(probe.port, request)
    assert answered.status < 500 or answered.status == 501, answered  # client streams
