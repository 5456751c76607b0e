"""Field masks that ProtoJSON cannot write.

A path such as `fooBar` or `field_1` has no way back from lowerCamelCase, so a printer refuses it, and with it the whole message. A
service that answers one did not mean to hide its answer. So the masks are taken out of the message, the rest is printed, and
they are put back as text: what has a form in it, everything else as it came.
"""

import re
from typing import Any

from protobuf import DescFieldValueList, DescFieldValueMap, DescFieldValueMessage, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.fields import JsonValue

Step = tuple[str, str] | int | str  # a field by JSON and proto name, a place in a list, a key of a map
Taken = list[tuple[tuple[Step, ...], str]]

_REGULAR = re.compile(r"(?:[^A-Z_]|_[a-z])+")  # what comes back from lowerCamelCase as it was


def text_of(paths: list[str]) -> str:
    """The JSON text of a mask: regular paths in lowerCamelCase, others unchanged."""
    return ",".join(fields.mask_path(path) if _REGULAR.fullmatch(path) else path for path in paths)


def take(desc: DescMessage, message: Any) -> Taken:
    """Empty every field mask in a message, and say where they were and what they hold."""
    taken: Taken = []
    if desc.type_name == fields.FIELD_MASK:
        _take(desc, message, (), taken)
    else:
        _fields(desc, message, (), taken)
    return taken


def put(tree: JsonValue, taken: Taken, *, proto_names: bool = False) -> JsonValue:
    """The printed message with the texts of its masks."""
    for where, text in taken:
        if not where:
            return text
        node = tree
        for step in where[:-1]:
            node = node[_key(step, proto_names)]
        node[_key(where[-1], proto_names)] = text
    return tree


def _key(step: Step, proto_names: bool) -> int | str:
    return step[proto_names] if isinstance(step, tuple) else step


def _take(desc: DescMessage, message: Any, where: tuple[Step, ...], taken: Taken) -> None:
    if desc.type_name == fields.FIELD_MASK:
        taken.append((where, text_of(list(message.paths))))
        message.paths = []
    elif not fields.has_special_json(desc):
        _fields(desc, message, where, taken)


def _fields(desc: DescMessage, message: Any, where: tuple[Step, ...], taken: Taken) -> None:
    for field in desc.fields:
        below = fields.element_of(field)
        if not isinstance(below, DescMessage):
            continue
        here = (*where, (field.json_name, field.name))
        match field.value:
            case DescFieldValueList():
                for index, one in enumerate(getattr(message, field.local_name)):
                    _take(below, one, (*here, index), taken)
            case DescFieldValueMap():
                for key, one in getattr(message, field.local_name).items():
                    name = str(key).lower() if isinstance(key, bool) else str(key)
                    _take(below, one, (*here, name), taken)
            case DescFieldValueMessage(oneof=oneof):
                held = getattr(message, field.local_name if oneof is None else oneof.local_name)
                if oneof is not None:
                    held = held.value if held is not None and held.field == field.local_name else None
                if held is not None:
                    _take(below, held, here, taken)
