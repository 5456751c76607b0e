"""The update mask of a PATCH that names none: the fields that its body holds.

Paths are proto names in sorted order. The walk descends into singular messages, so that `{"poll": {"options": []}}` changes
`poll.options` alone, and stops at lists, maps and well-known types, which change as a whole. A null counts: it clears. The resource's
`etag` (AIP-154) is no change: it says of which state the change is meant.
"""

from protobuf import DescField, DescFieldValueMessage, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.fields import JsonValue


def mask_field(desc: DescMessage) -> DescField | None:
    """The request's one singular FieldMask field; None when there is none or more than one."""
    found = [
        field
        for field in desc.fields
        if isinstance(field.value, DescFieldValueMessage)
        and field.value.message.type_name == fields.FIELD_MASK
    ]
    return found[0] if len(found) == 1 else None


def paths(desc: DescMessage, tree: JsonValue) -> list[str]:
    """The paths that a body of this type holds; unknown keys were refused before."""
    return sorted(path for path in _paths(desc, tree, "") if path != fields.ETAG)


def _paths(desc: DescMessage, tree: dict[str, JsonValue], prefix: str) -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        field = fields.find(desc, key)
        if field is None:
            continue
        below = fields.submessage(field)
        if below is not None and isinstance(value, dict) and value:
            found += _paths(below, value, f"{prefix}{field.name}.")
        else:
            found.append(prefix + field.name)
    return found
