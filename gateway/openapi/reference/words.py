"""JSON Schemas in words: `list of Post`, `1 to 512 characters`."""

from typing import Any, Final

from markupsafe import Markup, escape

from gateway.openapi.schemas import PREFIX
from gateway.openapi.well_known import Json

_FORMATS: Final = {
    "uuid": "UUID", "date-time": "time (RFC 3339)", "email": "e-mail address", "uri": "URL", "int64": "integer of 64 bits, as a string",
    "uint64": "integer of 64 bits from 0, as a string", "int32": "integer", "uint32": "integer from 0", "byte": "base64",
    "binary": "bytes", "double": "number", "float": "number", "password": "string", "hostname": "host name",
    "ipv4": "IPv4 address", "ipv6": "IPv6 address", "uri-reference": "URL or path",
}  # fmt: skip
_MANY: Final = 8  # values of an enumeration that are shown in place


class Types:
    """Names of types and where they are described; a request's form of a type is shown as the type itself."""

    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas

    def name(self, reference: str) -> str:
        """The name under which readers find a schema."""
        name = reference.removeprefix(PREFIX)
        base = name.removesuffix("Input")
        return base if base in self._schemas else name

    def schema(self, name: str) -> Json:
        """The schema that says most of a type: the request's form, which has the rules."""
        found: Json = self._schemas.get(f"{name}Input") or self._schemas[name]
        return found

    def words(self, schema: Json) -> Markup:
        """What kind of value it is."""
        if "$ref" in schema:
            return self._linked(self.name(schema["$ref"]))
        if schema.get("type") == "array":
            return Markup("list of {}").format(self.words(schema["items"]))
        if isinstance(schema.get("additionalProperties"), dict):
            return Markup("map to {}").format(self.words(schema["additionalProperties"]))
        if "anyOf" in schema and "type" not in schema:
            return self.words(schema["anyOf"][0])
        if "oneOf" in schema:
            return Markup(" or ").join(self.words(one) for one in schema["oneOf"])
        if schema.get("pattern", "").endswith("s$") and schema.get("pattern", "").startswith(
            "^-?[0-9]{1,12}"
        ):
            return Markup("duration such as <code>1.5s</code>")
        found = _FORMATS.get(schema.get("format", "")) or schema.get("type") or "any JSON value"
        return escape(found)

    @staticmethod
    def _linked(name: str) -> Markup:
        return Markup('<a href="#type-{0}">{0}</a>').format(name)


def limits(schema: Json) -> list[Markup]:
    """The rules of a value, each in a few words."""
    target = schema
    made = [*_lengths(target), *_range(target), *_counts(target)]
    if "const" in target:
        made.append(Markup("always <code>{}</code>").format(_shown(target["const"])))
    values = target.get("enum", [])
    if values and len(values) <= _MANY:
        made.append(Markup("one of {}").format(_listed(values)))
    if isinstance(target.get("not"), dict) and target["not"].get("enum"):
        made.append(Markup("not {}").format(_listed(target["not"]["enum"])))
    if "pattern" in target and "format" not in target and not target["pattern"].startswith("^-?[0-9]{1,12}"):
        made.append(Markup("matches <code>{}</code>").format(target["pattern"]))
    items = target.get("items")
    if isinstance(items, dict) and (inner := limits(items)):
        made.append(Markup("each: {}").format(Markup(", ").join(inner)))
    return made


def _lengths(schema: Json) -> list[Markup]:
    return _span(schema.get("minLength"), schema.get("maxLength"), "character")


def _counts(schema: Json) -> list[Markup]:
    made = _span(schema.get("minItems"), schema.get("maxItems"), "element")
    made += _span(schema.get("minProperties"), schema.get("maxProperties"), "entry", "entries")
    return [*made, Markup("no two alike")] if schema.get("uniqueItems") else made


def _span(least: Any, most: Any, unit: str, units: str = "") -> list[Markup]:
    many = units or f"{unit}s"
    if least is None and most is None:
        return []
    if least == most:
        text = f"{least:,} {unit if least == 1 else many}"
    elif most is None:
        text = f"at least {least:,} {unit if least == 1 else many}"
    else:
        text = f"up to {most:,} {many}" if not least else f"{least:,} to {most:,} {many}"
    return [escape(text)]


def _range(schema: Json) -> list[Markup]:
    made = []
    least = schema.get("minimum", schema.get("x-minimum"))
    most = schema.get("maximum", schema.get("x-maximum"))
    above = schema.get("exclusiveMinimum", schema.get("x-exclusive-minimum"))
    below = schema.get("exclusiveMaximum", schema.get("x-exclusive-maximum"))
    if least is not None and most is not None:
        made.append(f"{_shown(least)} to {_shown(most)}")
    elif least is not None:
        made.append(f"{_shown(least)} or later" if str(least).endswith("Z") else f"{_shown(least)} or more")
    elif most is not None:
        made.append(f"up to {_shown(most)}")
    made += [f"more than {_shown(above)}"] if above is not None else []
    if below is not None:
        made.append(f"before {_shown(below)}" if str(below).endswith("Z") else f"less than {_shown(below)}")
    return [escape(one) for one in made]


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return f"{value:,}"


def _listed(values: list[Any]) -> Markup:
    return Markup(", ").join(Markup("<code>{}</code>").format(_shown(value)) for value in values)
