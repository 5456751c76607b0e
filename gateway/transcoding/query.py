"""Query parameters → a JSON tree of the request message, keyed by proto names.

A name is a field path in proto or JSON names, dotted through singular messages to a leaf; `m[key]=v` fills a map. A
repeated field takes the parameter several times; a singular one given twice is refused, as is every unknown name. What the
path or the body already fills is off limits. Errors call a field by its proto name, an unknown parameter as it was given.
"""

from collections.abc import Callable
from dataclasses import dataclass

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.transcoding import fields, urls
from gateway.transcoding.errors import GatewayError, Violation, invalid, invalid_all
from gateway.transcoding.fields import Convert, JsonValue

MAX_PARAMETERS = 1000
MAX_DEPTH = 32  # dots in one name
MAX_KNOWN = 1000  # names remembered a route; a recursive message has more


@dataclass(frozen=True, slots=True)
class _Target:
    label: str  # the field in errors: its proto name, whatever name the parameter has
    path: tuple[str, ...]  # proto names
    convert: Convert
    integer: bool
    repeated: bool
    map_key: str | None


class QueryReader:
    """Reads the query strings of one route."""

    def __init__(
        self, desc: DescMessage, taken: Callable[[tuple[str, ...]], str | None], ignored: frozenset[str]
    ) -> None:
        """`taken` says who else fills a field path ("path", "body") or None; `ignored` parameters are skipped."""
        self._desc = desc
        self._taken = taken
        self._ignored = ignored
        self._known: dict[str, _Target] = {}  # names resolved before; the message has finitely many

    def read(self, query: str, tree: dict[str, JsonValue]) -> None:
        """Add the parameters to `tree`; raises a GatewayError that names the parameter."""
        try:
            pairs = list(urls.query_pairs(query))
        except ValueError:
            raise invalid("(query)", "expected UTF-8 in percent encoding", "MALFORMED_REQUEST") from None
        if len(pairs) > MAX_PARAMETERS:
            raise invalid("(query)", f"more than {MAX_PARAMETERS} parameters", "MALFORMED_REQUEST")
        unknown: list[Violation] = []
        for name, value in pairs:
            target = self._known.get(name) or self._resolve(name)
            if target is not None:
                self._put(tree, target, value)
            elif name not in self._ignored:
                unknown.append(Violation(name[:200], "no such query parameter"))
        if unknown:
            raise invalid_all(unknown[:20], "UNKNOWN_FIELD")

    def _resolve(self, name: str) -> _Target | None:
        """Find the field that a parameter means; None when there is none of that name."""
        base, bracket, key = name.partition("[")
        parts = base.split(".")
        if len(parts) > MAX_DEPTH or (bracket and not key.endswith("]")):
            return None
        field = self._leaf(parts)
        if field is None:
            return None
        path = tuple(self._names(parts))
        label = ".".join(path) + bracket + key
        self._refuse_taken(label, path)
        is_map = isinstance(field.value, DescFieldValueMap)
        convert = fields.converter(fields.element_of(field))
        if is_map != bool(bracket) or convert is None:
            raise invalid(label, self._hint(field))
        integer = fields.is_integer(fields.element_of(field))
        repeated = isinstance(field.value, DescFieldValueList)
        target = _Target(label, path, convert, integer, repeated, key[:-1] if is_map else None)
        if not is_map and len(self._known) < MAX_KNOWN:
            self._known[name] = target
        return target

    def _leaf(self, parts: list[str]) -> DescField | None:
        desc: DescMessage | None = self._desc
        field: DescField | None = None
        for part in parts:
            field = fields.find(desc, part) if desc is not None else None
            if field is None:
                return None
            desc = fields.submessage(field)
        return field

    def _names(self, parts: list[str]) -> list[str]:
        """The proto names of a path that `_leaf` has found."""
        names = []
        desc: DescMessage | None = self._desc
        for part in parts:
            field = fields.find(desc, part) if desc is not None else None
            if field is not None:
                names.append(field.name)
                desc = fields.submessage(field)
        return names

    def _refuse_taken(self, name: str, path: tuple[str, ...]) -> None:
        owner = self._taken(path)
        if owner is not None:
            raise invalid(name, f"the {owner} fills this field", "CONFLICTING_FIELD")

    @staticmethod
    def _hint(field: DescField) -> str:
        if isinstance(field.value, DescFieldValueMap):
            return f"is a map: {field.json_name}[key]=value"
        if isinstance(field.value, DescFieldValueList):
            return "a list takes its name once for each element, without brackets"
        return "is a message; name its fields with dots"

    def _put(self, tree: dict[str, JsonValue], target: _Target, text: str) -> None:
        node = tree
        for part in target.path[:-1]:
            node = node.setdefault(part, {})
        leaf = target.path[-1]
        if target.integer and not fields.is_decimal(text):
            raise invalid(target.label, "expected an integer in decimal digits")
        value = target.convert(text)
        if target.repeated:
            node.setdefault(leaf, []).append(value)
        elif target.map_key is not None:
            self._set_once(node.setdefault(leaf, {}), target.map_key, value, target.label)
        else:
            self._set_once(node, leaf, value, target.label)

    @staticmethod
    def _set_once(node: dict[str, JsonValue], key: str, value: JsonValue, label: str) -> None:
        if key in node:
            raise _twice(label)
        node[key] = value


def _twice(label: str) -> GatewayError:
    return invalid(label, "is given twice", "CONFLICTING_FIELD")
