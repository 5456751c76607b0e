"""What the templates show: services, methods, rows of fields, types. Text is escaped or made by `markup` and `words` here."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from markupsafe import Markup

from gateway.openapi.document import Described, tag_of
from gateway.openapi.operations import Operation
from gateway.openapi.reference import curl, markup
from gateway.openapi.reference.fields import Fields, Row, TypeView
from gateway.openapi.well_known import Json

_STREAMED: Final = frozenset({"server_streaming", "bidi_streaming"})


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
        self._fields = Fields(described.json, described.operations)
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
        types = (
            [self._fields.type(name) for name in sorted(self._fields.types_of(operations))]
            if with_types
            else []
        )
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
                self._fields.row(
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
            kind = Markup("{} as <code>{}</code>. ").format(self._fields.words(schema), media_type)
            if self._fields.is_inline(schema):
                kind = Markup("<code>{}</code>. ").format(media_type)
            elif self._fields.is_empty(schema):
                kind = Markup("An empty object as <code>{}</code>, or nothing. ").format(media_type)
            text = kind + markup.inline(body.get("description", ""))
            found.append(Group("Body", self._fields.inline_rows(schema), text))
        return found

    def _answer(self, content: Json, *, streamed: bool) -> tuple[Markup, list[Row]]:
        names = Markup(", ").join(Markup("<code>{}</code>").format(name) for name in content)
        schema = next(iter(content.values()))["schema"]
        if streamed and "text/event-stream" in content:
            item = content["application/json"]["schema"]["items"]["anyOf"][0]
            return Markup("a stream of {} as {}").format(self._fields.words(item), names), []
        if streamed or "application/json" not in content:
            return Markup("a file: {}").format(names), []
        if self._fields.is_inline(schema):
            return Markup(""), self._fields.inline_rows(schema)
        if self._fields.is_empty(schema):
            return Markup("an empty object"), []
        return self._fields.words(schema), []

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
