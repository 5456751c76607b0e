"""Fields and types for the templates: rows of a table, and which types a page describes.

A message that is the body or the answer of one method and nothing else is shown at that method; all others are types of their own.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from gateway.openapi.operations import Operation
from gateway.openapi.reference import markup, words
from gateway.openapi.references import references
from gateway.openapi.schemas import PREFIX
from gateway.openapi.well_known import Json


@dataclass(frozen=True, slots=True)
class Row:
    """A field, a parameter, or a header."""

    name: str
    kind: Markup
    text: Markup
    limits: list[Markup]
    marks: list[str]


@dataclass(frozen=True, slots=True)
class TypeView:
    """A message or enum."""

    name: str
    text: Markup
    rows: list[Row]


class Fields:
    """Shows the schemas of a document."""

    def __init__(self, document: Json, operations: Iterable[Operation]) -> None:
        self._document = document
        self._operations = tuple(operations)
        self._schemas: Json = document["components"]["schemas"]
        self._types = words.Types(self._schemas)
        self._in_place = self._find_in_place()

    def words(self, schema: Json) -> Markup:
        """What kind of value it is."""
        return self._types.words(schema)

    def is_inline(self, schema: Json) -> bool:
        """Whether a schema is shown where it is used: its fields are of this one method."""
        return schema.get("$ref") in self._in_place and "properties" in self._resolved(schema)

    def is_empty(self, schema: Json) -> bool:
        """Whether a schema is an object without fields."""
        return "$ref" in schema and not self._resolved(schema).keys() & {"properties", "enum", "anyOf"}

    def inline_rows(self, schema: Json) -> list[Row]:
        """The fields of a schema that is shown where it is used; none for any other."""
        if "properties" in schema:
            return self._rows(schema)
        return self._rows(self._resolved(schema)) if self.is_inline(schema) else []

    def _resolved(self, schema: Json) -> Json:
        found: Json = self._schemas[schema["$ref"].removeprefix(PREFIX)] if "$ref" in schema else schema
        return found

    def _rows(self, schema: Json) -> list[Row]:
        required = schema.get("required", ())
        return [
            self.row(name, one, required=name in required)
            for name, one in schema.get("properties", {}).items()
        ]

    def row(self, name: str, schema: Json, *, required: bool) -> Row:
        """One field or parameter."""
        marks = ["required"] if required else []
        marks += ["only in answers"] if schema.get("readOnly") else []
        marks += ["secret"] if schema.get("x-sensitive") else []
        marks += ["deprecated"] if schema.get("deprecated") else []
        text = markup.blocks(schema.get("description", ""))
        return Row(name, self._types.words(schema), text, words.limits(schema), marks)

    def type(self, name: str) -> TypeView:
        """One type."""
        schema = self._types.schema(name)
        return TypeView(name, markup.blocks(schema.get("description", "")), self._rows(schema))

    def types_of(self, operations: list[Operation]) -> set[str]:
        """Names of all types that operations use, directly or through others, apart from those shown in place."""
        left = [one.json.get(part) for one in operations for part in ("parameters", "requestBody")]
        left += [one.json["responses"]["200"] for one in operations]
        found: set[str] = set()
        while left:
            for reference in references(left.pop()):
                if not reference.startswith(PREFIX):
                    continue
                name = self._types.name(reference)
                if name not in found:
                    found.add(name)
                    left.append(self._types.schema(name))
        shown = {name for name in found - {"Status"} if not self.is_inline({"$ref": PREFIX + name})}
        return {name for name in shown if not self.is_empty({"$ref": PREFIX + name})}

    def _find_in_place(self) -> frozenset[str]:
        """References to schemas that are the body or the answer of one method and nothing else."""
        uses = Counter(references([self._document["paths"], self._schemas]))
        found: set[str] = set()
        for one in self._operations:
            parts = (one.json.get("requestBody", {}), one.json["responses"]["200"])
            contents = [content for part in parts for content in part.get("content", {}).values()]
            found |= {content["schema"]["$ref"] for content in contents if "$ref" in content["schema"]}
        return frozenset(reference for reference in found if uses[reference] == 1)
