"""How stored values differ between two states. Pure; "unset" means that the default is in force."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.configuration.domain.changes import SettingChange
from services.configuration.domain.values import Stored, same


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is stored differently, or only in one of two states."""

    key: str
    old: Stored | None
    new: Stored | None


def differences(first: Mapping[str, Stored], second: Mapping[str, Stored]) -> tuple[Difference, ...]:
    """Every key that is stored differently in `second`, ascending."""
    return tuple(
        Difference(key, first.get(key), second.get(key))
        for key in sorted(first.keys() | second.keys())
        if not same(first.get(key), second.get(key))
    )


def as_differences(changes: Iterable[SettingChange]) -> tuple[Difference, ...]:
    """What changes do to stored values, ascending by key."""
    return tuple(
        Difference(change.key, change.old, change.new)
        for change in sorted(changes, key=lambda change: change.key)
    )
