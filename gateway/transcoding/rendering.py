"""Response messages → HTTP bodies, for one route.

Whole messages and the field that `response_body` names print as ProtoJSON; google.api.HttpBody passes raw with its own
content type. What stands around the items of a stream is `gateway.framing`'s.
"""

import json
from typing import Any

from protobuf import DescMessage

from gateway.transcoding import fields
from gateway.transcoding.codec import Codec
from gateway.transcoding.errors import Json
from gateway.transcoding.schema import HttpBinding, Method, SchemaError

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
OCTETS = b"application/octet-stream"

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ResponseRenderer:
    """Compiled once a route; raises SchemaError when `response_body` names no field."""

    def __init__(self, method: Method, binding: HttpBinding, codec: Codec) -> None:
        self._message = codec.message(method.output)
        self._field = ""
        self._raw_field = ""
        self._output: DescMessage = method.output
        self.raw = method.output.type_name == fields.HTTP_BODY
        if binding.response_body:
            field = fields.find(method.output, binding.response_body)
            if field is None:
                raise SchemaError(f"{method.path}: response_body {binding.response_body!r} is no field")
            self._field = field.name
            below = fields.submessage(field)
            if below is not None and below.type_name == fields.HTTP_BODY:
                self.raw, self._raw_field = True, field.local_name

    def unary(self, wire: bytes) -> tuple[bytes, bytes]:
        """Content type and body of a unary answer. Raises CodecError."""
        if self.raw:
            return self.http_body(wire)
        return JSON, self.json(wire)

    def json(self, wire: bytes) -> bytes:
        """A message, or its field, as JSON without line breaks. Raises CodecError."""
        return self._message.field_to_json(wire, self._field) if self._field else self._message.to_json(wire)

    def http_body(self, wire: bytes) -> tuple[bytes, bytes]:
        """Content type and bytes of a google.api.HttpBody."""
        message: Any = self._output.type.from_binary(wire)
        if self._raw_field:
            message = getattr(message, self._raw_field)
        if message is None:
            return OCTETS, b""
        content_type = message.content_type
        printable = content_type.isascii() and content_type.isprintable()
        return (content_type.encode() if content_type and printable else OCTETS), message.data


def dump(value: Json) -> bytes:
    """An error body, or any other JSON value of the gateway's own."""
    return _compact(value).encode()
