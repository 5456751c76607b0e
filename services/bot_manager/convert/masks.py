"""Update masks (AIP-134): which fields of a stored message the given one replaces.

No mask means the fields that are set in the given message; "*" means all. A field that is named and absent is cleared. Output-only
fields are passed over, unknown ones refused. Maps and lists are replaced whole.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from mesh.errors import InvalidArgument

M = TypeVar("M", bound=Message)


def paths_of(given: Message, mask: FieldMask, changeable: Collection[str]) -> list[str]:
    """The paths to replace. Raises InvalidArgument (UNKNOWN_FIELD) for one that the message does not have."""
    paths = list(mask.paths) or [field.name for field, _ in given.ListFields()]
    if "*" in paths:
        paths = sorted(changeable)
    for path in paths:
        if not _exists(given.DESCRIPTOR, path.split(".")):
            raise InvalidArgument("UNKNOWN_FIELD", f"there is no field {path}", field="update_mask")
    return [path for path in paths if path.split(".")[0] in changeable]


def merge(stored: M, given: M, paths: Sequence[str]) -> M:
    """A copy of `stored` with the fields of `given` at `paths`."""
    merged = type(stored)()
    merged.CopyFrom(stored)
    for path in paths:
        _replace(merged, given, path.split("."))
    return merged


def _exists(descriptor: Any, names: Sequence[str]) -> bool:
    field = descriptor.fields_by_name.get(names[0])
    if field is None or len(names) == 1:
        return field is not None
    inner = field.message_type
    return inner is not None and not field.is_repeated and _exists(inner, names[1:])


def _replace(target: Message, source: Message, names: Sequence[str]) -> None:
    name, field = names[0], target.DESCRIPTOR.fields_by_name[names[0]]
    if len(names) > 1:
        if target.HasField(name) or source.HasField(name):
            _replace(getattr(target, name), getattr(source, name), names[1:])
        return
    target.ClearField(name)
    if field.is_repeated:
        getattr(target, name).MergeFrom(getattr(source, name))
    elif not field.has_presence or source.HasField(name):
        value = getattr(source, name)
        if isinstance(value, Message):
            getattr(target, name).CopyFrom(value)
        else:
            setattr(target, name, value)
