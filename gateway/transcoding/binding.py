"""One HTTP request → the wire bytes of one request message, for one route.

Path, query and body fill disjoint sets of fields. They meet in one JSON tree, which the codec reads once: so a value has
the same rules wherever it comes from. The order is body, path, query, then the defaults the gateway fills (the update mask
of a PATCH, `request_id` from Idempotency-Key). A body may repeat a field of the path if the value is the same.

Does not do: form bodies, method overrides, bodies on routes that declare none (refused when not empty).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from protobuf import DescField, DescMessage, Registry, ScalarType

from gateway.transcoding import depth, fields, locate, mask, strict
from gateway.transcoding.codec import Codec, CodecError, JsonSyntaxError, parse_json
from gateway.transcoding.errors import invalid, invalid_all, malformed
from gateway.transcoding.fields import JsonValue
from gateway.transcoding.path_fields import PathFields, present_key
from gateway.transcoding.plain import plain_of
from gateway.transcoding.query import QueryReader
from gateway.transcoding.schema import HttpBinding, Method, SchemaError
from gateway.transcoding.template import Template

WHOLE = "*"


@dataclass(frozen=True, slots=True)
class RequestParts:
    """What a request says apart from its path. `content_type` is lower case without parameters, "" when absent."""

    query: str = ""
    body: bytes = b""
    content_type: str = ""
    idempotency_key: str = ""
    full_content_type: str = ""
    """The header as it came, for a google.api.HttpBody; "" where the short form is all there is."""


class RequestBinder:
    """Compiled once a route; raises SchemaError when the HTTP rule does not fit the request message."""

    def __init__(
        self,
        method: Method,
        binding: HttpBinding,
        template: Template,
        codec: Codec,
        ignored: frozenset[str],
        registry: Registry | None = None,
    ) -> None:
        """`ignored` query parameters are nobody's; `registry` resolves google.protobuf.Any in bodies."""
        self._desc = method.input
        self._registry = registry
        self._codec = codec
        self._message = codec.message(method.input)
        self._where = f"{method.path}: {binding.http_method} {binding.template}"
        self._path = PathFields(method.input, template, codec, self._where)
        self._body = binding.body
        self._body_field = self._find_body_field()
        self._raw_body = self._is_raw()
        self._special = fields.has_special_json(method.input)
        self._mask = mask.mask_field(method.input) if binding.http_method == "PATCH" else None
        # What only reads has nothing to repeat: a request_id there is what is looked for.
        self._idempotency = None if method.reads_only else _idempotency_field(method.input)
        self._query = QueryReader(method.input, self._taken_by, ignored)
        self.plain = None if self._body or self._special else plain_of(method.input, template)
        """Writes the message of a request that has nothing but its path, where that is possible."""

    @property
    def takes_bytes(self) -> bool:
        """True when the body is a google.api.HttpBody, whole or in a field: any bytes, with their content type."""
        return self._raw_body

    @property
    def file_field(self) -> str:
        """Name of the field that the body fills with any bytes; "" where there is none, or where it is the whole message."""
        return self._body_field.name if self._raw_body and self._body_field is not None else ""

    def bind(self, values: Sequence[str], parts: RequestParts) -> bytes:
        """Build the request message; `values` are the path variables in template order. Raises GatewayError."""
        tree = self._read_body(parts)
        self._path.put(tree, values)
        if parts.query:
            self._query.read(parts.query, tree)
        if sloppy := strict.examine(self._desc, tree, self._registry):
            raise invalid_all(locate.with_others(sloppy, self._codec, self._desc, tree))
        mask_paths = self._mask_paths(tree)
        if parts.idempotency_key and self._idempotency is not None:
            self._fill_request_id(tree, parts.idempotency_key)
        if self._special and self._body != WHOLE:
            tree = fields.from_fields(self._desc, tree)
        return self._encode(tree, mask_paths)

    def _encode(self, tree: JsonValue, mask_paths: tuple[str, list[str]] | None) -> bytes:
        try:
            return self._message.to_wire(tree, mask_paths)
        except CodecError:
            found = locate.violations(self._codec, self._desc, tree)
        if not found:
            raise depth.too_deep()
        raise invalid_all(found)

    # body

    def _read_body(self, parts: RequestParts) -> dict[str, JsonValue]:
        if not self._body:
            if parts.body:
                raise malformed("this method takes no body")
            return {}
        if self._raw_body:
            kind = parts.full_content_type or parts.content_type
            content = {"contentType": kind, "data": base64.b64encode(parts.body).decode()}
            return content if self._body_field is None else {self._body_field.name: content}
        if parts.content_type not in ("", "application/json"):
            raise malformed("expected Content-Type: application/json", http_status=415)
        value = self._parse(parts.body)
        if self._body_field is not None:
            return {} if value is None else {self._body_field.name: value}
        if not isinstance(value, dict) and (not self._special or len(self._path)):
            raise malformed("expected a JSON object as the body")
        return value  # type: ignore[no-any-return]  # an object, or the value of a well-known type

    def _parse(self, body: bytes) -> JsonValue:
        if not body:
            return (
                None if self._body_field is not None and fields.submessage(self._body_field) is None else {}
            )
        try:
            value = parse_json(body)
        except JsonSyntaxError as error:
            raise malformed(f"the body is not valid JSON: {error}") from None
        if depth.may_be_deep(body):
            depth.check_text(value)
            depth.check_message(
                self._desc, value if self._body_field is None else {self._body_field.name: value}
            )
        return value

    def _find_body_field(self) -> DescField | None:
        if self._body in ("", WHOLE):
            return None
        field = fields.find(self._desc, self._body)
        if field is None:
            raise SchemaError(f"{self._where}: body {self._body!r} is no field of {self._desc.type_name}")
        return field

    def _is_raw(self) -> bool:
        """True when the body is a google.api.HttpBody, which takes any bytes."""
        if self._body == WHOLE:
            return self._desc.type_name == fields.HTTP_BODY
        message = fields.submessage(self._body_field) if self._body_field is not None else None
        return message is not None and message.type_name == fields.HTTP_BODY

    # what fills a field

    def _taken_by(self, path: tuple[str, ...]) -> str | None:
        """Who fills this field apart from the query."""
        if self._body == WHOLE or (self._body_field is not None and path[0] == self._body_field.name):
            return "body"
        return "path" if path in self._path.names else None

    # what the gateway fills by itself

    def _mask_paths(self, tree: dict[str, JsonValue]) -> tuple[str, list[str]] | None:
        if self._mask is None or self._body_field is None or self._mask.name in tree:
            return None
        desc, body = fields.submessage(self._body_field), tree.get(self._body_field.name)
        if desc is None or not isinstance(body, dict):
            return None
        bound = self._path.names
        found = [
            path for path in mask.paths(desc, body) if (self._body_field.name, *path.split(".")) not in bound
        ]
        return (self._mask.name, found) if found else None

    def _fill_request_id(self, tree: dict[str, JsonValue], key: str) -> None:
        field = self._idempotency
        if field is None:
            return
        name = present_key(self._desc, tree, field.name)
        given = tree.get(name)
        if given in (None, ""):
            tree[name] = key
        elif given != key:
            raise invalid(field.name, "differs from the Idempotency-Key header", "CONFLICTING_FIELD")


def _idempotency_field(desc: DescMessage) -> DescField | None:
    field = fields.find(desc, fields.REQUEST_ID)
    return field if field is not None and fields.element_of(field) is ScalarType.STRING else None
