"""Wild calls by the method's own name, in every form of Connect and gRPC-Web, and what may be answered to them.

Messages are in JSON or protobuf, fitting, spoilt, too deep or no messages at all; envelopes have flags and lengths that are wrong,
codings that are not theirs, base64 that breaks off. Most calls are in a form that their method takes.
"""

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import zstandard
from hypothesis import strategies as st

from gateway.transcoding.codec import CodecError, ProtobufPyCodec
from gateway.transcoding.schema import Method, Schema
from tests.integration.gateway import fitting, making, wild
from tests.integration.gateway.aiming import one_of_them
from tests.integration.gateway.fuzzing import gives_little_time
from tests.integration.gateway.making import Request
from tests.integration.gateway.probing import Answer
from tests.integration.gateway.test_grpc_web import opened, trailers, untext

_OF_THE_SERVICE = {2, 13, 14, 15}
_NAMES_OF_THE_SERVICE = {"unknown", "internal", "unavailable", "data_loss"}
_NESTED_LEVELS = 150


def calls(schema: Schema) -> st.SearchStrategy[Request]:
    """Calls of all methods."""
    codec = ProtobufPyCodec(schema.registry)
    return one_of_them(list(schema.methods.values())).flatmap(lambda method: _call(method, codec))


@st.composite
def _call(draw: Any, method: Method, codec: ProtobufPyCodec) -> Request:
    form = draw(st.sampled_from(["json", "proto"]))
    message = draw(_message(method, codec, form))
    taken = ["unary", "web", "text"] if method.kind == "unary" else ["stream", "web", "text"]
    if method.reads_only and method.kind == "unary":
        taken.append("get")
    manner = draw(st.sampled_from([*taken, *taken, "unary", "get", "stream"]))
    coding = draw(st.sampled_from(["", "", "", "", "gzip", "zstd", "identity", "br"]))
    packed = {"gzip": gzip.compress(message, 1), "zstd": zstandard.compress(message)}.get(coding, message)
    if manner == "get":
        return {"method": "GET", "path": f"{method.path}?{draw(_query(form, packed, coding))}"}
    if manner == "unary":
        headers, body = [["Content-Type", f"application/{form}"]], packed
        headers += [["Content-Encoding", coding]] if coding else []
    else:
        body = draw(_envelopes(packed, 1 if packed is not message else 0))
        kind = {"stream": "connect", "web": "grpc-web", "text": "grpc-web-text"}[manner]
        headers = [["Content-Type", f"application/{kind}+{form}"]]
        name = "Connect-Content-Encoding" if manner == "stream" else "Grpc-Encoding"
        headers += [[name, coding]] if coding else []
        if manner == "text":
            body = draw(_broken(base64.b64encode(body)))
    return {
        "method": "POST",
        "path": method.path,
        "headers": headers,
        "body": {"base64": base64.b64encode(body).decode()},
    }


def _message(method: Method, codec: ProtobufPyCodec, form: str) -> st.SearchStrategy[bytes]:
    """The bytes of a message of the method, or nearly so."""
    trees = fitting.message(method.input) | making.message_of(method.input, 3)
    keys = [field.json_name for field in method.input.fields]
    if form == "json":
        texts = trees.map(lambda tree: json.dumps(tree).encode())
        return st.one_of(texts, texts, texts, wild.spoilt(texts), wild.bodies(keys))
    read = codec.message(method.input)

    def wire(tree: Any) -> bytes:
        try:
            return read.to_wire(tree)
        except CodecError:
            return b""

    wires = trees.map(wire)
    return st.one_of(
        wires,
        wires,
        wires,
        wild.spoilt(wires),
        st.binary(max_size=40),
        st.builds(_nested, st.integers(1, 18), st.integers(1, _NESTED_LEVELS)),
    )


def _nested(number: int, levels: int) -> bytes:
    """A message in a message in a message, all in the field of this number."""
    tag, made = _varint(number << 3 | 2), b""
    for _ in range(levels):
        made = tag + _varint(len(made)) + made
    return made


def _varint(value: int) -> bytes:
    return bytes((value & 127 | 128, *_varint(value >> 7))) if value > 127 else bytes((value,))


@st.composite
def _envelopes(draw: Any, message: bytes, flags: int) -> bytes:
    """The message in its envelope, or in one that lies, or none, or two."""
    kind = draw(st.integers(0, 8))
    size = len(message)
    if kind == 0:
        flags = draw(st.sampled_from([0, 1, 2, 0x80, 0xFF]))
    elif kind == 1:
        size = draw(st.sampled_from([0, size + 1, max(0, size - 1), 2**31, 2**32 - 1]))
    made = bytes((flags,)) + size.to_bytes(4, "big") + message
    if kind == 2:
        return made * 2
    return made[: draw(st.integers(0, 7))] if kind == 3 else made


@st.composite
def _broken(draw: Any, text: bytes) -> bytes:
    """Base64 that mostly is whole."""
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return text[: draw(st.integers(0, len(text)))]
    return text + draw(st.sampled_from([b"=", b"====", b"*", b"\n", b"AA=="])) if kind == 1 else text


@st.composite
def _query(draw: Any, form: str, message: bytes, coding: str) -> str:
    """The query of a call by GET."""
    as_text = form == "json" and draw(st.booleans())
    value = quote(message, safe="") if as_text else base64.urlsafe_b64encode(message).decode()
    pairs = [f"encoding={form}", f"message={value}"]
    pairs += [] if as_text else ["base64=1"]
    pairs += [f"compression={coding}"] if coding else []
    kind = draw(st.integers(0, 6))
    if kind == 0:
        pairs.append(draw(wild.queries(["message", "encoding", "base64", "connect", "compression"])))
    elif kind == 1:
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    return "&".join(["connect=v1", *pairs])


def require_answered(request: Request, answer: Answer) -> str:
    """The call was answered, or refused in the words of its protocol and for the client's sake. Returns how: "OK", or why not."""
    kind = answer.headers.get("content-type", "")
    little = gives_little_time(request)
    if kind.startswith("application/grpc-web"):
        told = _told(answer)
        code = int(told["grpc-status"])
        assert code not in _OF_THE_SERVICE, (told, answer)
        assert code != 4 or little, (told, answer)
        return "OK" if code == 0 else told["grpc-status"]
    if kind.startswith("application/connect+"):
        assert answer.status == 200, answer
        *_, (flags, last) = opened(answer.body)
        assert flags == 2, answer
        error = json.loads(last).get("error", {})
        assert error.get("code") not in _NAMES_OF_THE_SERVICE, answer
        assert error.get("code") != "deadline_exceeded" or little, answer
        return error.get("code", "OK")
    assert answer.status < 500 or answer.status == 501 or (answer.status == 504 and little), answer
    if answer.status == 501:
        assert json.loads(answer.body)["code"] == "unimplemented", answer
    return "OK" if answer.status == 200 else str(answer.status)


def _told(answer: Answer) -> dict[str, str]:
    if "grpc-status" in answer.headers:
        assert answer.body == b"", answer
        return answer.headers
    body = untext(answer.body) if "-text" in answer.headers["content-type"] else answer.body
    *_, (flags, block) = opened(body)
    assert flags == 0x80, answer
    return trailers(block)
