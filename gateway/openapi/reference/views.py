"""What the templates show: services, methods, rows of fields, types. Text is escaped or made by `markup` and `words` here."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from markupsafe import Markup

from gateway.openapi.document import Described, tag_of
from gateway.openapi.operations import Operation
from gateway.openapi.reference import curl, markup, words
from gateway.openapi.schemas import PREFIX
from gateway.openapi.well_known import Json

_STREAMED: Final = frozenset({"server_streaming", "bidi_streaming"})


@dataclass(frozen=True, slots=True)
class Row:
    """A field, a parameter, or a header."""

    name: str
    kind: Markup
    text: Markup
    limits: list[Markup]
    marks: list[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under a heading."""

    title: str
    rows: list[Row]
    text: Markup = field(default_factory=Markup)


@dataclass(frozen=True, slots=True)
class MethodView:
    """One operation."""

    id: str
    verb: str
    path: str
    parts: list[tuple[str, bool]]  # of the path; True for a parameter
    summary: Markup
    description: Markup
    access: list[Markup]
    grpc: str
    groups: list[Group]
    curl: str
    answer: Markup
    answer_text: Markup
    answer_rows: list[Row]
    answer_example: str
    failures: list[tuple[str, Markup]]
    deprecated: bool


@dataclass(frozen=True, slots=True)
class TypeView:
    """A message or enum."""

    name: str
    text: Markup
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service with its methods and the types they use."""

    name: str
    summary: Markup
    text: Markup
    methods: list[MethodView]
    types: list[TypeView]


class Views:
    """Makes views of a document."""

    def __init__(self, described: Described) -> None:
        self._document = described.json
        self._described = described
        self._schemas: Json = described.json["components"]["schemas"]
        self._types = words.Types(self._schemas)
        self._in_place = self._find_in_place()
        self._reasons = frozenset(name for name, _ in self.reasons())

    def services(self) -> list[ServiceView]:
        """Every service, in the document's order, without the types."""
        return [self._service(tag, with_types=False) for tag in self._document["tags"]]

    def service(self, name: str) -> ServiceView | None:
        """One service; None for a name that has none."""
        tag = next((one for one in self._document["tags"] if one["name"] == name), None)
        return None if tag is None else self._service(tag, with_types=True)

    def reasons(self) -> list[tuple[str, Markup]]:
        """Every reason of failures with what it means."""
        text = self._schemas.get("ErrorReason", {}).get("description", "")
        lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- `")]
        pairs = [line.partition("`: ") for line in lines]
        return [(name.removeprefix("`"), markup.inline(meaning)) for name, _, meaning in pairs]

    def conventions(self) -> Markup:
        """What holds for all methods."""
        return markup.blocks(self._document["info"]["description"])

    def _service(self, tag: Json, *, with_types: bool) -> ServiceView:
        operations = [one for one in self._described.operations if tag_of(one.method.service) == tag["name"]]
        text = tag.get("description", "")
        first, _, rest = text.partition("\n\n")
        types = [self._type(name) for name in sorted(self._types_of(operations))] if with_types else []
        methods = [self._method(one) for one in operations]
        return ServiceView(tag["name"], markup.inline(first), markup.blocks(rest), methods, types)

    def _method(self, one: Operation) -> MethodView:
        made = one.json
        answer = made["responses"]["200"]
        kind, rows = self._answer(answer["content"], streamed=one.method.kind in _STREAMED)
        return MethodView(
            id=one.id,
            verb=one.binding.http_method,
            path=one.path,
            parts=_parts(one.path),
            summary=markup.inline(made.get("summary", one.method.name)),
            description=markup.blocks(made.get("description", ""), self._reasons),
            access=_access(one),
            grpc=made["x-grpc-method"],
            groups=self._groups(one),
            curl=curl.command(one),
            answer=kind,
            answer_text=markup.blocks(answer.get("description", "")),
            answer_rows=rows,
            answer_example=self._example(answer["content"]),
            failures=self._failures(made["responses"]),
            deprecated=bool(made.get("deprecated")),
        )

    def _groups(self, one: Operation) -> list[Group]:
        found = []
        for place, title in (("path", "Path"), ("query", "Query"), ("header", "Headers")):
            rows = [
                self._row(
                    p["name"], p["schema"] | _said(p), required=bool(p.get("required")) and place != "path"
                )
                for p in one.json.get("parameters", ())
                if p["in"] == place
            ]
            found += [Group(title, rows)] if rows else []
        body = one.json.get("requestBody")
        if body is not None:
            media_type, content = next(iter(body["content"].items()))
            schema = content["schema"]
            kind = Markup("{} as <code>{}</code>. ").format(self._types.words(schema), media_type)
            if self._is_inline(schema):
                kind = Markup("<code>{}</code>. ").format(media_type)
            elif self._is_empty(schema):
                kind = Markup("An empty object as <code>{}</code>, or nothing. ").format(media_type)
            text = kind + markup.inline(body.get("description", ""))
            found.append(Group("Body", self._inline_rows(schema), text))
        return found

    def _answer(self, content: Json, *, streamed: bool) -> tuple[Markup, list[Row]]:
        names = Markup(", ").join(Markup("<code>{}</code>").format(name) for name in content)
        schema = next(iter(content.values()))["schema"]
        if streamed and "text/event-stream" in content:
            item = content["application/json"]["schema"]["items"]["anyOf"][0]
            return Markup("a stream of {} as {}").format(self._types.words(item), names), []
        if streamed or "application/json" not in content:
            return Markup("a file: {}").format(names), []
        if self._is_inline(schema):
            return Markup(""), self._inline_rows(schema)
        if self._is_empty(schema):
            return Markup("an empty object"), []
        return self._types.words(schema), []

    def _example(self, content: Json) -> str:
        found: Json = content.get("application/x-ndjson") or content.get("application/json", {})
        if "examples" in found:
            name = found["examples"]["example"]["$ref"].rpartition("/")[2]
            value = self._document["components"]["examples"][name]["value"]
            return _pretty(value) if value else ""
        return _pretty(found["example"]) if "example" in found else ""

    def _failures(self, responses: Json) -> list[tuple[str, Markup]]:
        found = []
        for status, response in responses.items():
            if status in ("200", "304", "default"):
                continue
            shared = self._document["components"]["responses"][response["$ref"].rpartition("/")[2]]
            found.append(
                (status, markup.blocks(response.get("description", shared["description"]), self._reasons))
            )
        return found

    # fields and types

    def _is_inline(self, schema: Json) -> bool:
        """Whether a schema is shown where it is used: its fields are of this one method."""
        return schema.get("$ref") in self._in_place and "properties" in self._resolved(schema)

    def _is_empty(self, schema: Json) -> bool:
        return "$ref" in schema and not self._resolved(schema).keys() & {"properties", "enum", "anyOf"}

    def _inline_rows(self, schema: Json) -> list[Row]:
        if "properties" in schema:
            return self._rows(schema)
        return self._rows(self._resolved(schema)) if self._is_inline(schema) else []

    def _resolved(self, schema: Json) -> Json:
        found: Json = self._schemas[schema["$ref"].removeprefix(PREFIX)] if "$ref" in schema else schema
        return found

    def _rows(self, schema: Json) -> list[Row]:
        required = schema.get("required", ())
        return [
            self._row(name, one, required=name in required)
            for name, one in schema.get("properties", {}).items()
        ]

    def _row(self, name: str, schema: Json, *, required: bool) -> Row:
        marks = ["required"] if required else []
        marks += ["only in answers"] if schema.get("readOnly") else []
        marks += ["secret"] if schema.get("x-sensitive") else []
        marks += ["deprecated"] if schema.get("deprecated") else []
        text = markup.blocks(schema.get("description", ""))
        return Row(name, self._types.words(schema), text, words.limits(schema), marks)

    def _type(self, name: str) -> TypeView:
        schema = self._types.schema(name)
        return TypeView(name, markup.blocks(schema.get("description", "")), self._rows(schema))

    def _types_of(self, operations: list[Operation]) -> set[str]:
        """Names of all types that operations use, directly or through others, apart from those shown in place."""
        left = [one.json.get(part) for one in operations for part in ("parameters", "requestBody")]
        left += [one.json["responses"]["200"] for one in operations]
        found: set[str] = set()
        while left:
            for reference in _references(left.pop()):
                if not reference.startswith(PREFIX):
                    continue
                name = self._types.name(reference)
                if name not in found:
                    found.add(name)
                    left.append(self._types.schema(name))
        shown = {name for name in found - {"Status"} if not self._is_inline({"$ref": PREFIX + name})}
        return {name for name in shown if not self._is_empty({"$ref": PREFIX + name})}

    def _find_in_place(self) -> frozenset[str]:
        """References to schemas that are the body or the answer of one method and nothing else."""
        uses = Counter(_references([self._document["paths"], self._schemas]))
        found: set[str] = set()
        for one in self._described.operations:
            parts = (one.json.get("requestBody", {}), one.json["responses"]["200"])
            contents = [content for part in parts for content in part.get("content", {}).values()]
            found |= {content["schema"]["$ref"] for content in contents if "$ref" in content["schema"]}
        return frozenset(reference for reference in found if uses[reference] == 1)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from _references(below)
    elif isinstance(node, list):
        for below in node:
            yield from _references(below)


def _said(parameter: Json) -> Json:
    return {"description": parameter["description"]} if "description" in parameter else {}


def _parts(path: str) -> list[tuple[str, bool]]:
    pieces = path.replace("{", "\0{").replace("}", "}\0").split("\0")
    return [(piece, piece.startswith("{")) for piece in pieces if piece]


def _access(one: Operation) -> list[Markup]:
    access = one.access
    if access.caller == "public":
        return [Markup("anyone")]
    if not access.caller:
        return []
    who = (
        Markup("permission <code>{}</code>").format(access.permission)
        if access.permission
        else Markup("anyone who is signed in")
    )
    found = [who + (Markup(" for the bot") if access.bot_field else Markup(""))]
    found += [Markup("a session, not an API key")] if access.session and not access.step_up else []
    found += [Markup("a recent second factor")] if access.step_up else []
    return found + ([Markup("on the audit trail")] if access.audit else [])


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
