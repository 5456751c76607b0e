"""Comments of a descriptor set, by the full name of what they stand above.

A set made with source info (`--include_source_info`, as `generated/vivesphere.binpb`) tells comments by paths of field
numbers through the file (google/protobuf/descriptor.proto, SourceCodeInfo); one walk over each file turns them into names.
A set without source info has no comments, and everything built on this still works.
"""

from collections.abc import Iterator
from typing import Any, Final

from protobuf import DescFile, Registry

# Field numbers in descriptor.proto of what holds other elements.
_FILE_MESSAGES: Final = 4
_FILE_ENUMS: Final = 5
_FILE_SERVICES: Final = 6
_SERVICE_METHODS: Final = 2
_MESSAGE_FIELDS: Final = 2
_MESSAGE_NESTED: Final = 3
_MESSAGE_ENUMS: Final = 4
_MESSAGE_ONEOFS: Final = 8
_ENUM_VALUES: Final = 2

_Path = tuple[int, ...]


class Comments:
    """The leading comments of every element of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._texts: dict[str, str] = {}
        for file in registry:
            if isinstance(file, DescFile):
                self._read(file)

    def of(self, full_name: str) -> str:
        """The comment above an element, "" where there is none. Enum values are named below their enum."""
        return self._texts.get(full_name, "")

    def _read(self, file: DescFile) -> None:
        info = file.proto.source_code_info
        if info is None:
            return
        found = {tuple(one.path): one.leading_comments for one in info.location if one.leading_comments}
        for path, name in _elements(file.proto):
            if path in found:
                self._texts[name] = found[path]


def _elements(file: Any) -> Iterator[tuple[_Path, str]]:
    """Paths and full names of all elements of a FileDescriptorProto."""
    prefix = f"{file.package}." if file.package else ""
    for index, message in enumerate(file.message_type):
        yield from _message((_FILE_MESSAGES, index), prefix + message.name, message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum((_FILE_ENUMS, index), prefix + enum.name, enum)
    for index, service in enumerate(file.service):
        path, name = (_FILE_SERVICES, index), prefix + service.name
        yield path, name
        for at, method in enumerate(service.method):
            yield (*path, _SERVICE_METHODS, at), f"{name}.{method.name}"


def _message(path: _Path, name: str, message: Any) -> Iterator[tuple[_Path, str]]:
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELDS, index), f"{name}.{field.name}"
    for index, oneof in enumerate(message.oneof_decl):
        yield (*path, _MESSAGE_ONEOFS, index), f"{name}.{oneof.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _message((*path, _MESSAGE_NESTED, index), f"{name}.{nested.name}", nested)
    for index, enum in enumerate(message.enum_type):
        yield from _enum((*path, _MESSAGE_ENUMS, index), f"{name}.{enum.name}", enum)


def _enum(path: _Path, name: str, enum: Any) -> Iterator[tuple[_Path, str]]:
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, _ENUM_VALUES, index), f"{name}.{value.name}"
