"""How deeply a request may nest: what is deeper could not be read by the service it is for.

Implementations of protobuf read messages at most 100 levels deep (upb, C++, Java, Go agree on that default). A level of JSON
is up to three of them: an object of a google.protobuf.Struct is a message, a map entry and a value. So the walk counts
levels of the message, not of the text. It runs only for a text with enough brackets to reach the limit; all others cost two
counts. The text itself is bounded first, so that no walk behind it can run out of stack.
"""

from protobuf import DescMessage

from gateway.transcoding import fields
from gateway.transcoding.errors import GatewayError, malformed
from gateway.transcoding.fields import JsonValue

MAX_DEPTH = 100
"""Messages below the request message, and containers in a JSON text."""
_HARMLESS = 32  # brackets: three levels each, and one for the field that the body fills, stay below the limit
_STRUCT, _LIST = 3, 2  # levels of an object and of an array in a Value


def may_be_deep(text: bytes) -> bool:
    """False when a JSON text has too few brackets to reach the limit."""
    return text.count(b"{") + text.count(b"[") > _HARMLESS


def check_text(tree: JsonValue) -> None:
    """Raise a GatewayError when a JSON value has more than MAX_DEPTH containers in one another."""
    level = [tree]
    for _ in range(MAX_DEPTH + 1):
        inner: list[JsonValue] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return
    raise too_deep()


def check_message(desc: DescMessage, tree: JsonValue) -> None:
    """Raise a GatewayError when the message of a JSON value has more than MAX_DEPTH levels; for a tree that passed check_text."""
    if _message(desc, tree) > MAX_DEPTH:
        raise too_deep()


def too_deep() -> GatewayError:
    """MALFORMED_REQUEST: the limit."""
    return malformed(f"the request is nested more than {MAX_DEPTH} levels deep")


def _message(desc: DescMessage, tree: JsonValue) -> int:
    """Levels below a message of this type. An Any holds bytes, which are read apart."""
    if fields.has_special_json(desc):
        return 0 if desc.type_name == fields.ANY else max(0, _value(tree) - (desc.type_name != fields.VALUE))
    if not isinstance(tree, dict):
        return 0
    deepest = 0
    for key, value in tree.items():
        field = fields.find(desc, key)
        element = fields.element_of(field) if field is not None else None
        if isinstance(element, DescMessage) and field is not None:
            in_map = fields.is_map(field) and isinstance(value, dict)
            values = value.values() if in_map else value if isinstance(value, list) else (value,)
            below = max((_message(element, one) for one in values), default=0)
            deepest = max(deepest, below + (2 if in_map else 1))
    return deepest


def _value(tree: JsonValue) -> int:
    """Levels below a Value that holds this; a Struct or ListValue is one of them itself."""
    if isinstance(tree, dict):
        return _STRUCT + max((_value(one) for one in tree.values()), default=0)
    if isinstance(tree, list):
        return _LIST + max((_value(one) for one in tree), default=0)
    return 0
