"""What a method answers when all went well.

One JSON message, or the field that `response_body` names; a file with its media types; a stream in each of the forms that
Accept chooses. A stream's items are described one by one: a line of NDJSON, an event of text/event-stream (as OpenAPI 3.2
models them, with the item's JSON in `data`), an element of the array.
"""

from typing import Final

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.openapi import media, presence, prose
from gateway.openapi.contract import Contract
from gateway.openapi.failures import STATUS
from gateway.openapi.schemas import PREFIX, Schemas
from gateway.openapi.well_known import Json
from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Method

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
ETAG: Final = "etag"

_STATUS: Final[Json] = {"$ref": PREFIX + STATUS}
_STREAM: Final = (
    'A stream, in the form that Accept asks for: one `{"result": …}` a line, server-sent events, or one array. A stream that '
    "breaks says why in its last line, event or element."
)

_EVENT: Final = (
    "Absent for an item. `error`: the stream broke, `data` is Status; `end`: it is complete, `data` is `{}`."
)


class Answers:
    """Makes the response of success."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def response(self, method: Method, binding: HttpBinding) -> Json:
        """The Response Object of status 200."""
        field = fields.find(method.output, binding.response_body) if binding.response_body else None
        headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
        if _is_file(method, field):
            types = media.of_file(self._contract, method, field.name if field else "")
            content = {one: media.content(one) for one in types}
            return {"description": self._about(method, field), "headers": headers, "content": content}
        schema = self._schema(method, field)
        if method.kind in ("server_streaming", "bidi_streaming"):
            return {"description": _STREAM, "headers": headers, "content": _stream(schema)}
        if resource_etag(method, binding) is not None:
            headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        content = {JSON: {"schema": schema}}
        return {"description": self._about(method, field), "headers": headers, "content": content}

    def _schema(self, method: Method, field: DescField | None) -> Json:
        if field is None:
            return self._schemas.element(method.output, request=False)
        made = self._schemas.value(field, request=False)
        return {"anyOf": [made, {"type": "null"}]} if _may_be_null(field) else made

    def _about(self, method: Method, field: DescField | None) -> str:
        comment = self._contract.field_comment(field) if field is not None else ""
        comment = comment or self._contract.comments.of(method.output.type_name)
        return prose.of_field(comment).text or "Success."


def _may_be_null(field: DescField) -> bool:
    """Whether an absent field prints as null where it is the whole answer: it has presence, and no object to be empty."""
    if (
        isinstance(field.value, DescFieldValueList | DescFieldValueMap)
        or fields.submessage(field) is not None
    ):
        return False
    return presence.has_presence(field)


def _is_file(method: Method, field: DescField | None) -> bool:
    if field is None:
        return method.output.type_name == fields.HTTP_BODY
    below = fields.submessage(field)
    return below is not None and below.type_name == fields.HTTP_BODY


def resource_etag(method: Method, binding: HttpBinding) -> DescField | None:
    """The `etag` of the message that a method answers; None where it has none."""
    desc: DescMessage | None = method.output
    if binding.response_body:
        field = fields.find(method.output, binding.response_body)
        desc = fields.submessage(field) if field is not None else None
    return fields.find(desc, ETAG) if desc is not None else None


def _stream(item: Json) -> Json:
    line = {"oneOf": [_object("result", item), _object("error", _STATUS)]}
    event = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": ["error", "end"], "description": _EVENT},
            "id": {"type": "string", "description": "Where the method can resume: what Last-Event-ID takes."},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": item},
        },
        "required": ["data"],
    }
    array = {"type": "array", "items": {"anyOf": [item, _object("error", _STATUS)]}}
    return {NDJSON: {"schema": line}, EVENTS: {"schema": event}, JSON: {"schema": array}}


def _object(name: str, schema: Json) -> Json:
    return {"type": "object", "properties": {name: schema}, "required": [name]}
