"""Media types of files that methods answer (google.api.HttpBody).

What a file is, HttpBody says at run time. A contract says it beforehand in words, so the media types are read from the comments
of the field that holds the file, of the answer, of the method, and of the formats a request can choose; a file that nobody says
anything of is application/octet-stream.
"""

from typing import Final

from protobuf import DescEnum, DescMessage

from gateway.openapi import prose
from gateway.openapi.contract import Contract
from gateway.openapi.well_known import Json
from gateway.transcoding import fields
from gateway.transcoding.schema import Method

OCTETS: Final = "application/octet-stream"
BINARY: Final[Json] = {"type": "string", "format": "binary", "contentMediaType": OCTETS}

_OWN_FORM: Final = "A file in a form of its own, which its method describes."


def of_file(contract: Contract, method: Method, field_name: str) -> list[str]:
    """Media types of the file in this field of the answer; the whole answer is the file where the name is ""."""
    comments = contract.comments
    texts = [comments.of(f"{method.output.type_name}.{field_name}")] if field_name else []
    if method.output.type_name != fields.HTTP_BODY:  # whose comment is of files in general
        texts.append(comments.of(method.output.type_name))
    texts.append(contract.comment(method))
    for text in texts:
        if found := prose.media_types(text):
            return found
    return _of_formats(contract, method.input) or [OCTETS]


def _of_formats(contract: Contract, desc: DescMessage) -> list[str]:
    found: list[str] = []
    for field in desc.fields:
        element = fields.element_of(field)
        if isinstance(element, DescEnum):
            for value in element.values:
                found += prose.media_types(contract.comments.of(f"{element.type_name}.{value.name}"))
    return list(dict.fromkeys(found))


def content(media_type: str) -> Json:
    """The Media Type Object of a file."""
    if media_type.startswith("text/"):
        return {"schema": {"type": "string"}}
    if media_type.endswith(("json", "yaml")):
        return {"schema": {"description": _OWN_FORM}}
    return {"schema": dict(BINARY)}
