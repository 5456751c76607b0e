"""What a setting may be, declared once by the service that owns it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from google.protobuf import json_format
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing.exceptions import Unresolvable

from vivesphere.configuration.v1 import setting_pb2

T = TypeVar("T")


class Readable(Protocol):
    """What a definition can be looked up in as an attribute; see `snapshot.SettingsView`."""

    def read(self, definition: "SettingDefinition[T]") -> T:
        """The value in force."""


@dataclass(
    frozen=True
)  # no slots: `SettingDefinition[int](…)` cannot set `__orig_class__` on a frozen class with slots
class SettingDefinition(Generic[T]):
    """One setting that a service owns. `json_schema` is draft 2020-12 and holds for `default` as well.

    As an attribute of a `SettingsView` it reads as its value, typed.
    """

    key: str
    default: T
    json_schema: Mapping[str, Any]
    description: str
    unit: str = ""
    restart_required: bool = False
    """A process keeps the first value that it reads until it starts again."""
    sensitive: bool = False
    """Not for everyone's eyes, such as an internal address. Secrets never are settings."""

    def to_proto(self) -> setting_pb2.SettingDefinition:
        """The definition as the contract has it."""
        message = setting_pb2.SettingDefinition(
            key=self.key,
            description=self.description,
            unit=self.unit,
            restart_required=self.restart_required,
            sensitive=self.sensitive,
        )
        message.json_schema.update(dict(self.json_schema))
        json_format.Parse(json.dumps(self.default), message.default_value)
        return message

    def fault(self, value: object) -> str:
        """Which rule of the schema a value breaks, without the value; empty if none."""
        try:
            error = best_match(Draft202012Validator(dict(self.json_schema)).iter_errors(value))
        except (Unresolvable, RecursionError):
            return "cannot be held against its schema"
        return "" if error is None else f"breaks the rule {error.validator}"

    def __set_name__(self, owner: type, name: str) -> None:
        """Raises TypeError where a view calls a setting by another name than its key's last segment."""
        if self.key.rpartition(".")[2] != name:
            raise TypeError(f"{owner.__name__}.{name} is called otherwise in its key: {self.key}")

    @overload
    def __get__(self, view: None, owner: type) -> Self: ...
    @overload
    def __get__(self, view: Readable, owner: type) -> T: ...
    def __get__(self, view: Readable | None, owner: type) -> Self | T:
        return self if view is None else view.read(self)


def fingerprint(value: object) -> str:
    """One text for equal values. Unlike Python's ==, tells true from 1."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
