"""Messages and enums → named JSON Schemas.

A message has one schema where requests and answers agree. Where they do not, the answer's keeps the name and the request's is
called `…Input`: a request is held to the rules, refuses what it does not know and has required fields; an answer is not, since
ProtoJSON leaves out what is empty, and newer servers may add fields. Fields that only the server writes are `readOnly` in
both; a request may carry them (an object that was read can be sent back) and they are ignored.

Names are short where that is unique (`Post`), else whole (`vivesphere.mesh.v1.Post`).
"""

from collections.abc import Iterable
from typing import Any, Final

from protobuf import DescEnum, DescField, DescFieldValueList, DescFieldValueMap, DescMessage, ScalarType

from gateway.openapi import presence, prose, rules, well_known
from gateway.openapi.contract import INPUT_ONLY, OUTPUT_ONLY, Contract
from gateway.openapi.well_known import Json
from gateway.transcoding import fields
from gateway.transcoding.fields import Element

PREFIX: Final = "#/components/schemas/"
Without = frozenset[tuple[str, ...]]
NOTHING: Final[Without] = frozenset()


class Schemas:
    """All component schemas of a document; they are made as they are referred to."""

    def __init__(
        self,
        contract: Contract,
        inputs: Iterable[DescMessage],
        outputs: Iterable[DescMessage],
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        """`inputs` and `outputs` are the types of requests and answers; what they hold is found from there. `reserved` names
        are not given to any of them."""
        self._contract = contract
        self._inputs, self._outputs = reachable(inputs), reachable(outputs)
        self._names = _names({*self._inputs, *self._outputs}, reserved)
        self._split = self._find_split()
        self.components: dict[str, Json] = {}

    def reference(self, desc: DescMessage | DescEnum, *, request: bool) -> Json:
        """A reference to the type's schema."""
        name = self._names[desc.type_name]
        if request and isinstance(desc, DescMessage) and desc in self._outputs:
            request = desc in self._split
            name += "Input" if request else ""
        if name not in self.components:
            self.components[name] = {}  # a message may hold itself
            self.components[name] = (
                self._enum(desc) if isinstance(desc, DescEnum) else self.object(desc, request=request)
            )
        return {"$ref": PREFIX + name}

    def object(
        self, desc: DescMessage, *, request: bool, without: Without = NOTHING, partial: bool = False
    ) -> Json:
        """The schema of a message in place. `without` are field paths that a request gives elsewhere; a `partial` request
        changes what it holds, so that comments require nothing of it."""
        cut = {path[0] for path in without if len(path) == 1}
        properties: dict[str, Json] = {}
        required: list[str] = []
        for field in desc.fields:
            if field.name in cut:
                continue
            inner = frozenset(path[1:] for path in without if len(path) > 1 and path[0] == field.name)
            properties[field.json_name] = self.field(field, request=request, without=inner)
            if request and not inner and presence.is_required(self._contract, field, by_comment=not partial):
                required.append(field.json_name)
        made: Json = {"type": "object"}
        text = self._about(desc)
        if text:
            made["description"] = text
        if properties:
            made["properties"] = properties
        if required:
            made["required"] = required
        if request:
            made["additionalProperties"] = False
        made |= self._oneofs(desc, cut, request=request)
        return made | ({"deprecated": True} if desc.deprecated else {})

    def field(self, field: DescField, *, request: bool, without: Without = NOTHING) -> Json:
        """The schema of a field's value, with all that is said of the field."""
        made = self.value(field, request=request, without=without)
        text = prose.of_field(self._contract.field_comment(field)).text
        said = [text] if text else []
        if request:
            said += [f"Rule: {one}." for one in rules.sentences(self._contract.rules(field))]
        cookie = self._contract.cookie(field)
        if cookie:
            said.append(_COOKIE_IN.format(cookie) if request else _COOKIE_OUT.format(cookie))
        if said:
            made["description"] = "\n\n".join(said)
        behavior = self._contract.behavior(field)
        if behavior == OUTPUT_ONLY:
            made["readOnly"] = True
        secret = self._contract.is_secret(field)
        if behavior == INPUT_ONLY or (secret and request and field.parent not in self._outputs):
            made["writeOnly"] = True
        if secret:
            made["x-sensitive"] = True
            if request and made.get("type") == "string" and "format" not in made:
                made["format"] = "password"
        return made | ({"deprecated": True} if field.deprecated else {})

    def value(self, field: DescField, *, request: bool, without: Without = NOTHING) -> Json:
        """The schema of a field's value alone."""
        element = fields.element_of(field)
        made = self.element(element, request=request, without=without)
        if isinstance(field.value, DescFieldValueList):
            made = {"type": "array", "items": made}
        elif isinstance(field.value, DescFieldValueMap):
            keys = well_known.map_key(field.value.key)
            made = {"type": "object", "additionalProperties": made} | (
                {"propertyNames": keys} if keys else {}
            )
        return rules.constrain(made, self._contract.rules(field), element) if request else made

    def element(self, element: Element, *, request: bool, without: Without = NOTHING) -> Json:
        """The schema of a single value of a type."""
        if isinstance(element, ScalarType):
            return well_known.scalar(element)
        if isinstance(element, DescMessage):
            known = well_known.message(element)
            if known is not None:
                return known
            if without:
                return self.object(element, request=request, without=without)
        elif element.type_name == "google.protobuf.NullValue":
            return {"type": "null"}
        return self.reference(element, request=request)

    def named(self, name: str, schema: Json) -> Json:
        """A reference to a schema of this name, or of the name with the next free number where another has it."""
        chosen, number = name, 2
        while self.components.setdefault(chosen, schema) != schema:
            chosen, number = f"{name}{number}", number + 1
        return {"$ref": PREFIX + chosen}

    def name(self, desc: DescMessage | DescEnum) -> str:
        """The name of a type among the schemas."""
        return self._names[desc.type_name]

    def _about(self, desc: DescMessage) -> str:
        text = prose.paragraphs(self._contract.comments.of(desc.type_name))
        found = [f"Rule: {one}." for one in rules.sentences(self._contract.message_rules(desc))]
        return "\n\n".join(filter(None, [text, *found]))

    def _oneofs(self, desc: DescMessage, cut: set[str], *, request: bool) -> Json:
        """At most one member of a oneof, and at least one where the contract says so."""
        pairs: list[Json] = []
        needed: list[Json] = []
        for oneof in desc.oneofs:
            names = [field.json_name for field in oneof.fields if field.name not in cut]
            pairs += [{"required": [one, two]} for at, one in enumerate(names) for two in names[at + 1 :]]
            if request and names and self._contract.oneof_required(oneof):
                needed.append({"anyOf": [{"required": [name]} for name in names]})
        made: Json = {"not": {"anyOf": pairs}} if pairs else {}
        if len(needed) == 1:
            return made | needed[0]
        return made | ({"allOf": needed} if needed else {})

    def _enum(self, desc: DescEnum) -> Json:
        lines = []
        for value in desc.values:
            text = prose.paragraphs(self._contract.comments.of(f"{desc.type_name}.{value.name}"))
            lines.append(f"- `{value.name}`: {' '.join(text.split())}" if text else f"- `{value.name}`")
        text = prose.paragraphs(self._contract.comments.of(desc.type_name))
        made: Json = {"type": "string", "enum": [value.name for value in desc.values]}
        made["description"] = "\n\n".join(filter(None, [text, "\n".join(lines)]))
        return made | ({"deprecated": True} if desc.deprecated else {})

    def _find_split(self) -> frozenset[DescMessage]:
        """Messages whose requests differ from their answers in themselves or in what they hold."""
        both = self._inputs & self._outputs
        own = {desc for desc in both if self._differs(desc)}
        return frozenset(desc for desc in both if own & reachable([desc]))

    def _differs(self, desc: DescMessage) -> bool:
        contract = self._contract
        return bool(rules.sentences(contract.message_rules(desc))) or any(
            contract.rules(field) is not None
            or contract.cookie(field)
            or presence.is_required(contract, field, by_comment=True)
            for field in desc.fields
        )


_COOKIE_IN: Final = "A browser leaves it out: the gateway fills it from the cookie `{}`."
_COOKIE_OUT: Final = "A browser does not see it: the gateway keeps it in the cookie `{}`."


def reachable(messages: Iterable[DescMessage]) -> frozenset[DescMessage]:
    """These types and those of their fields, theirs, and so on; without well-known types, whose JSON is not their fields."""
    left: list[DescMessage] = list(messages)
    found: set[DescMessage] = set()
    while left:
        desc = left.pop()
        if desc in found or well_known.message(desc) is not None:
            continue
        found.add(desc)
        left += [e for field in desc.fields if isinstance(e := fields.element_of(field), DescMessage)]
    return frozenset(found)


def _names(messages: Iterable[DescMessage], reserved: frozenset[str]) -> dict[str, str]:
    """Short names of messages and of the enums they hold, or whole names where the short one is not unique."""
    types: dict[str, Any] = {}
    for desc in messages:
        types[desc.type_name] = desc
        for field in desc.fields:
            element = fields.element_of(field)
            if isinstance(element, DescEnum):
                types[element.type_name] = element
    shorts: dict[str, list[str]] = {}
    for full, desc in types.items():
        package = desc.file.proto.package
        short = full.removeprefix(f"{package}.").replace(".", "") if package else full.replace(".", "")
        shorts.setdefault(short, []).append(full)
    taken = set(shorts)
    made = {}
    for short, full_names in shorts.items():
        clash = (
            short in reserved
            or len(full_names) > 1
            or (short.endswith("Input") and short.removesuffix("Input") in taken)
        )
        for full in full_names:
            made[full] = full if clash else short
    return made
