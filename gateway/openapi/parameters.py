"""What a request says outside of its body: path, query and headers.

The query takes what `gateway.transcoding.query` takes: every leaf that neither path nor body fills, dotted through singular
messages; a list several times, a map as `name[key]=value` (OpenAPI's deepObject). A message that holds itself is followed once;
deeper names work too and are not listed, nor is what is beyond MAX_LISTED.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.openapi import presence
from gateway.openapi.contract import OUTPUT_ONLY, Contract
from gateway.openapi.paths import PathParameter
from gateway.openapi.schemas import Schemas
from gateway.openapi.well_known import Json
from gateway.transcoding import fields

MAX_LISTED: Final = 300  # query parameters of a method; messages that hold each other have no end of them
Taken = set[tuple[str, ...]]

_DEEPER: Final = "Fields of `{}` within `{}` may be named the same way, to any depth the gateway takes; they are not listed."
_MORE: Final = "There are more fields, which may be named the same way; they are not listed."
_SEVERAL: Final = (
    "Any number of path segments, slashes as they are; reserved characters stay percent-encoded."
)


class Parameters:
    """Makes Parameter Objects."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def path(self, parameter: PathParameter) -> Json:
        """A parameter in the path."""
        made: Json = {"name": parameter.name, "in": "path", "required": True}
        text = ""
        if parameter.field is not None:
            schema = self._schemas.field(parameter.field, request=True)
            text = schema.pop("description", "")
            schema.pop("readOnly", None)
            made["schema"] = schema if parameter.whole and not parameter.many else {"type": "string"}
        else:
            made["schema"] = {"type": "string"}
        if parameter.many:
            made["x-multi-segment"] = True
            text = f"{text}\n\n{_SEVERAL}".strip()
        made["schema"] = _not_empty(made["schema"]) if not parameter.many else made["schema"]
        return made | ({"description": text} if text else {})

    def query(self, desc: DescMessage, taken: Taken, *, partial: bool = False) -> list[Json]:
        """All parameters of the query. `taken` are paths, in proto names, that something else fills."""
        leaves = list(islice(self._leaves(desc, (), (desc,), taken), MAX_LISTED + 1))
        made = [self._query(path, note, partial) for path, note in leaves[:MAX_LISTED]]
        if len(leaves) > MAX_LISTED:
            made[-1]["description"] = "\n\n".join(filter(None, [made[-1].get("description", ""), _MORE]))
        return made

    def _leaves(
        self, desc: DescMessage, above: tuple[DescField, ...], types: tuple[DescMessage, ...], taken: Taken
    ) -> Iterator[tuple[tuple[DescField, ...], str]]:
        """Leaves with the fields on the way, and a note on each where the message goes on within itself."""
        for field in desc.fields:
            path = (*above, field)
            if tuple(step.name for step in path) in taken or self._contract.behavior(field) == OUTPUT_ONLY:
                continue
            below = fields.submessage(field)
            if below is None:
                if fields.converter(fields.element_of(field)) is not None:
                    yield path, _note(desc, above)
            elif below not in types:
                yield from self._leaves(below, path, (*types, below), taken)

    def _query(self, path: tuple[DescField, ...], note: str, partial: bool) -> Json:
        field = path[-1]
        schema = self._schemas.field(field, request=True)
        text = "\n\n".join(filter(None, [schema.pop("description", ""), note]))
        made: Json = {"name": ".".join(step.json_name for step in path), "in": "query"}
        if text:
            made["description"] = text
        alone = len(path) == 1
        if alone and presence.is_required(self._contract, field, by_comment=not partial):
            made["required"] = True
        if schema.pop("deprecated", False):
            made["deprecated"] = True
        schema.pop("writeOnly", None)
        if isinstance(field.value, DescFieldValueMap):
            made |= {"style": "deepObject", "explode": True}
        elif isinstance(field.value, DescFieldValueList):
            made |= {"style": "form", "explode": True}
        return made | {"schema": schema}


def _note(desc: DescMessage, above: tuple[DescField, ...]) -> str:
    inner = next((one for one in desc.fields if fields.submessage(one) is desc), None)
    if inner is None or not above:
        return ""
    return _DEEPER.format(inner.json_name, ".".join(step.json_name for step in above))


def _not_empty(schema: Json) -> Json:
    """A segment of a path has at least one character."""
    if schema.get("type") != "string" or schema.keys() & {"minLength", "enum", "pattern", "format", "const"}:
        return schema
    return schema | {"minLength": 1}


def header(name: str, description: str, schema: dict[str, Any]) -> Json:
    """An optional request header."""
    return {"name": name, "in": "header", "description": description, "schema": schema}
