"""Laws of ProtoJSON for both codecs: tests/vectors/protojson.json says which message a text is, and how a message prints.

The expected message is written in protobuf's text format and read by Google's library, so that no codec is held against itself.
"""

import json
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import (
    Codec,
    CodecError,
    JsonStyle,
    JsonSyntaxError,
    ProtobufPyCodec,
    parse_json,
)
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.google_codec import GoogleCodec
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend
from tests.unit.gateway.support import compile_set
from tests.vectors.reading import PROTOS, cases

RAW = compile_set(PROTOS, "everything.proto")
SCHEMA = Schema(RAW)
BACKEND = ScriptedBackend(RAW)
EVERYTHING: Any = BACKEND.type("vectors.v1.Everything")
DESC: Any = SCHEMA.registry.message("vectors.v1.Everything")
CODECS: dict[str, Codec] = {"protobuf-py": ProtobufPyCodec(SCHEMA.registry), "json_format": GoogleCodec(RAW)}
FRONTS = {name: Transcoder(SCHEMA, codec) for name, codec in CODECS.items()}
CASES = cases("protojson.json")

# What a codec by itself takes although the case refuses it: the layers before it (`strict`, `depth`) are there for these.
_NUMBERS = {f"{kind}: {form}" for kind in ("float", "double") for form in ("plus", "point without digits")} | {
    f"{kind} as a string: {form}" for kind in ("int32", "uint64") for form in ("plus", "leading zero", "point without digits")
}  # fmt: skip
_NAMES = {
    "text: both names",
    "text: both names the other way",
    "text: both names inside a list",
    "text: both names in an Any",
}
_MASKS = {
    f"field mask: {form}"
    for form in ("empty path", "comma at the end", "comma alone", "empty part", "point first")
}
_ONEOFS = {
    "oneof: two members",
    "oneof: two members the other way",
    "oneof: two members in a message",
    "Any: two members of a oneof",
}
_PYTHON_INTS = {"int64 wrapper: underscore"} | {
    f"{kind} as a string: {form}"
    for kind in ("int32", "uint64")
    for form in ("underscore", "digits of another script")
}
LENIENT: dict[str, set[str]] = {
    "protobuf-py": _NUMBERS | _NAMES | _MASKS | _ONEOFS | _PYTHON_INTS,
    "json_format": _NUMBERS | _NAMES | _MASKS,
}
# Valid ProtoJSON, but not what others print.
PRINTS_OTHERWISE: dict[str, dict[str, Any]] = {
    "protobuf-py": {
        "a float prints with the digits it has": {"floatValue": 0.10000000149011612},  # as a double
        "an alias prints the first name": {"alias": "uNo"},  # the last
    },
    "json_format": {},
}


def meant(text: str) -> Any:
    """The message that a text format means."""
    return text_format.Parse(text, EVERYTHING(), descriptor_pool=BACKEND.pool)


def same(wire: bytes, text: str) -> bool:
    """Whether wire bytes are that message, NaN and minus zero included."""
    read = EVERYTHING.FromString(wire)
    return bool(
        read.SerializeToString(deterministic=True) == meant(text).SerializeToString(deterministic=True)
    )


def some(key: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CASES if key in case]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("case", [one for one in some("json") if "text" in one.values[0]])
def test_a_text_is_the_message_that_it_means(name: str, case: Any) -> None:
    """As a request body, through every layer."""
    endpoint, values = FRONTS[name].route("POST", "/v1/send")
    assert same(endpoint.bind(values, RequestParts(body=case["json"].encode())), case["text"])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("case", some("refused"))
def test_a_text_that_is_no_message_is_refused(name: str, case: Any) -> None:
    """With 400, a reason, and an answer that can be sent."""
    endpoint, values = FRONTS[name].route("POST", "/v1/send")
    with pytest.raises(GatewayError) as caught:
        endpoint.bind(values, RequestParts(body=case["json"].encode()))
    assert caught.value.code == 3
    json.dumps(caught.value.to_json(), ensure_ascii=False).encode()


@pytest.mark.parametrize("name", CODECS)
def test_what_a_codec_takes_by_itself_is_known(name: str) -> None:
    """The table is what one would lose by trusting a codec alone; a release of the library that changes it is noticed."""
    codec, taken = CODECS[name].message(DESC), set()
    for case in CASES:
        if "refused" in case:
            try:
                codec.to_wire(parse_json(case["json"].encode()))
            except (CodecError, JsonSyntaxError):
                continue
            taken.add(case["id"])
    assert taken == LENIENT[name]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("case", some("prints"))
def test_a_message_prints_as_it_should(name: str, case: Any) -> None:
    """What clients read."""
    wire = meant(case["text"]).SerializeToString()
    wanted = PRINTS_OTHERWISE[name].get(case["id"], case["prints"])
    assert json.loads(CODECS[name].message(DESC).to_json(wire)) == wanted


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("case", some("unprintable"))
def test_a_message_without_a_json_form_is_an_error(name: str, case: Any) -> None:
    """Never a text that means something else."""
    with pytest.raises(CodecError):
        CODECS[name].message(DESC).to_json(meant(case["text"]).SerializeToString())


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("wire", [b"\xff", b"\x0a", b'"\x05ab', b"r\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_an_error(name: str, wire: bytes) -> None:
    """A service's garbage is a typed error, in both codecs alike."""
    with pytest.raises(CodecError):
        CODECS[name].message(DESC).to_json(wire)


FIELDS_ALONE = [
    ("int32_value: 5", "int32_value", 5), ("", "int32_value", 0), ("", "int64_value", "0"), ("", "tint", "TINT_NONE"), ("", "int32_list", []),
    ("", "string_map", {}), ("", "inner", {}), ("inner {a: 1}", "inner", {"a": 1}), ("", "time", None), ("time {seconds: 1}", "time", "1970-01-01T00:00:01Z"),
    ("", "int32_wrapper", None), ("int32_wrapper {}", "int32_wrapper", 0), ("", "maybe_int32", None), ("maybe_int32: 0", "maybe_int32", 0),
    ("", "choice_string", None), ('choice_string: ""', "choice_string", ""), ("", "choice_inner", {}), ("choice_inner {a: 2}", "choice_inner", {"a": 2}),
    ('mask {paths: "fooBar"}', "mask", "fooBar"), ("int32_list: 1", "int32_list", [1]), ("renamed: 3", "renamed", 3), ("value {bool_value: true}", "value", True),
]  # fmt: skip


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(("text", "field", "printed"), FIELDS_ALONE)
def test_a_field_prints_alone(name: str, text: str, field: str, printed: Any) -> None:
    """`response_body` may name a field of any kind, and it may be absent."""
    wire = meant(text).SerializeToString()
    assert json.loads(CODECS[name].message(DESC).field_to_json(wire, field)) == printed


@pytest.mark.parametrize("name", CODECS)
def test_names_and_defaults_print_as_chosen(name: str) -> None:
    """Two styles besides ProtoJSON's own, for clients that were written for other gateways."""
    style = JsonStyle(proto_names=True, defaults=True)
    codec: Codec = (
        ProtobufPyCodec(SCHEMA.registry, style) if name == "protobuf-py" else GoogleCodec(RAW, style)
    )
    inner: Any = SCHEMA.registry.message("vectors.v1.Inner")
    assert json.loads(codec.message(inner).to_json(b"")) == {"a": 0}
    printed = json.loads(
        codec.message(DESC).to_json(meant('snake_name: 1 mask {paths: "fooBar"}').SerializeToString())
    )
    assert (printed["snake_name"], printed["int64_value"], printed["mask"]) == (1, "0", "fooBar")
    assert "maybe_int32" not in printed
    assert codec.message(DESC).field_to_json(b"", "snake_name") == b"0"


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("text", ["AQI==", "AQID=", "=", "AQI===", "A", "A=I", "AQI =", "-/8="])
def test_base64_has_no_more_padding_than_it_needs(name: str, text: str) -> None:
    """And one alphabet; a value that one reader takes and the next does not is two values."""
    with pytest.raises(CodecError):
        CODECS[name].message(DESC).to_wire({"bytesValue": text})


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_a_number_that_no_double_holds_is_not_infinity(name: str, number: str) -> None:
    """In a string as well, which is how queries give numbers: infinity has a word of its own."""
    with pytest.raises(CodecError):
        CODECS[name].message(DESC).to_wire({"doubleValue": number})


_keys = st.sampled_from(
    [name for field in DESC.fields for name in (field.name, field.json_name)]
    + ["a", "back", "@type", "value", "k", "1", "true", ""]
)
_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**31, 2**63, 2**64, -(2**63), 1.0, 0.5, 1e300, 1e39]), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([
        "", "1", "-1", "1.0", "1e3", "01", "+1", "1_0", "NaN", "Infinity", "true", "TINT_RED", "TINT", "AQI=", "AQI", "AQI==", "AQ=", "=", "-_8", "AQ=I", "1s", "1.5s", "-1s", "1970-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z", "a,b", "aB.c", "a_b", "a,,b", "NULL_VALUE", "type.googleapis.com/vectors.v1.Inner", "type.googleapis.com/google.protobuf.Duration", "vectors.v1.Inner",
    ]),
    st.text(max_size=4),
)  # fmt: skip
_trees = st.dictionaries(
    _keys, st.recursive(_leaves, lambda below: st.lists(below, max_size=2) | st.dictionaries(_keys, below, max_size=2), max_leaves=4), min_size=1, max_size=2
)  # fmt: skip


@given(_trees)
def test_both_codecs_say_the_same(tree: Any) -> None:
    """Behind the layers they share they take the same, and each reads what the other prints."""
    body = json.dumps(tree).encode()
    wires: dict[str, bytes | None] = {}
    for name, front in FRONTS.items():
        endpoint, values = front.route("POST", "/v1/send")
        try:
            read = EVERYTHING.FromString(endpoint.bind(values, RequestParts(body=body)))
            wires[name] = read.SerializeToString(deterministic=True)
        except GatewayError:
            wires[name] = None
    assert wires["protobuf-py"] == wires["json_format"]
    wire = wires["protobuf-py"]
    if wire is not None:
        names = list(CODECS)
        for one, other in (names, names[::-1]):
            printed = json.loads(CODECS[one].message(DESC).to_json(wire))
            read = EVERYTHING.FromString(CODECS[other].message(DESC).to_wire(printed))
            assert read.SerializeToString(deterministic=True) == wire
