"""Request bodies, as `gateway.transcoding.binding` and `gateway.uploads` read them.

The whole message without what the path fills (`body: "*"`), one field, or a file: any bytes, and where the method takes a
stream also multipart/form-data. A stream of messages is NDJSON, or one JSON array.
"""

from dataclasses import dataclass
from typing import Final

from protobuf import DescField, DescMessage

from gateway.openapi import media, prose
from gateway.openapi.contract import Contract
from gateway.openapi.parameters import Parameters
from gateway.openapi.schemas import Schemas
from gateway.openapi.well_known import Json
from gateway.transcoding import fields
from gateway.transcoding.binding import WHOLE
from gateway.transcoding.schema import HttpBinding, Method

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
FORM: Final = "multipart/form-data"

_STREAM: Final = "A stream: one message a line, or all of them in one JSON array."
_FILE: Final = "The file itself, of any media type; what Content-Type says goes along."
_IN_FORM: Final = (
    " Or a form: the file in the part `{}`, other fields of the request in parts of their names, before it."
)


@dataclass(frozen=True, slots=True)
class Body:
    """Where the body of a binding goes. `field` is None for the whole message; `is_file` says that it takes any bytes."""

    field: DescField | None
    is_file: bool


def body_of(method: Method, binding: HttpBinding) -> Body | None:
    """What the body of a request fills; None where it may have none."""
    if not binding.body:
        return None
    if binding.body == WHOLE:
        return Body(None, method.input.type_name == fields.HTTP_BODY)
    field = fields.find(method.input, binding.body)
    below = fields.submessage(field) if field is not None else None
    return Body(field, below is not None and below.type_name == fields.HTTP_BODY)


class Bodies:
    """Makes Request Body Objects."""

    def __init__(self, contract: Contract, schemas: Schemas, parameters: Parameters) -> None:
        self._contract = contract
        self._schemas = schemas
        self._parameters = parameters

    def request_body(
        self, method: Method, binding: HttpBinding, body: Body, bound: frozenset[tuple[str, ...]]
    ) -> Json:
        """`bound` are the field paths that the path fills."""
        if body.is_file:
            return self._file(method, body, bound)
        schema = self._schema(method, binding, body, bound)
        if method.kind in ("client_streaming", "bidi_streaming"):
            array = {"type": "array", "items": schema}
            content: Json = {NDJSON: {"schema": schema}, JSON: {"schema": array}}
            return {"description": _STREAM, "content": content}
        made: Json = {"content": {JSON: {"schema": schema}}}
        if body.field is not None:
            text = prose.of_field(self._contract.field_comment(body.field)).text
            made = ({"description": text} if text else {}) | made
        return made | ({"required": True} if self._demands(schema) else {})

    def _schema(
        self, method: Method, binding: HttpBinding, body: Body, bound: frozenset[tuple[str, ...]]
    ) -> Json:
        schemas, partial = self._schemas, binding.http_method == "PATCH"
        if body.field is None:
            if not bound and not partial:
                return schemas.reference(method.input, request=True)
            made = schemas.object(method.input, request=True, without=bound, partial=partial)
            return schemas.named(f"{schemas.name(method.input)}Body", made)
        inner = frozenset(path[1:] for path in bound if len(path) > 1 and path[0] == body.field.name)
        below = fields.submessage(body.field)
        if below is None:
            return schemas.value(body.field, request=True)
        if inner or partial:
            made = schemas.object(below, request=True, without=inner, partial=partial)
            plain = schemas.object(below, request=True)
            if made != plain:
                return schemas.named(schemas.name(below) + ("Patch" if partial else "Body"), made)
        return schemas.reference(below, request=True)

    def _demands(self, schema: Json) -> bool:
        """Whether an empty body, which stands for an empty message, would be refused."""
        while "$ref" in schema:
            schema = self._schemas.components[schema["$ref"].rpartition("/")[2]]
        return bool(schema.get("required") or schema.get("anyOf") or schema.get("allOf"))

    def _file(self, method: Method, body: Body, bound: frozenset[tuple[str, ...]]) -> Json:
        content: Json = {media.OCTETS: {"schema": dict(media.BINARY)}}
        text = _FILE
        if body.field is not None and method.kind == "client_streaming":
            content[FORM] = {"schema": self._form(method.input, body.field, bound)}
            text += _IN_FORM.format(body.field.name)
        return {"description": text, "required": True, "content": content}

    def _form(self, desc: DescMessage, file: DescField, bound: frozenset[tuple[str, ...]]) -> Json:
        taken = {*bound, (file.name,)}
        properties: Json = {}
        required = []
        for one in self._parameters.query(desc, taken):
            properties[one["name"]] = one["schema"] | (
                {"description": one["description"]} if "description" in one else {}
            )
            required += [one["name"]] if one.get("required") else []
        properties[file.name] = dict(media.BINARY)
        return {"type": "object", "properties": properties, "required": [*required, file.name]}
