"""The history: revisions, each one transaction of changes that are seen together or not at all.

Revisions are numbered from 1 without gaps, in the order of their commits, in one sequence for settings, definitions, roles and
bindings. A change holds what was before and what is now, so that the log alone answers watchers, histories and rollbacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from services.configuration.domain.definition import Definition
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.rollout_plan import Staged
from services.configuration.domain.values import Json, Stored


class Cause(StrEnum):
    """How something came to change. Texts are stored; never rename one."""

    UPDATE = "update"
    RESET = "reset"
    ROLLBACK = "rollback"
    IMPORT = "import"
    ROLLOUT_COMPLETED = "rollout_completed"
    ROLLOUT_REVERTED = "rollout_reverted"
    STAGE = "stage"
    DEFINE = "define"
    CREATE = "create"
    DELETE = "delete"
    BUILT_IN = "built_in"


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A value was stored (`new`) or reset (`new` is None); `effective` is in force since.

    With Cause.ROLLOUT_REVERTED the value stays (`old` is `new`): what had been staged never came into force everywhere.
    """

    key: str
    old: Stored | None
    new: Stored | None
    effective: Json
    cause: Cause
    sensitive: bool = False
    """As the definition said when the change was made."""

    @property
    def subject(self) -> str:
        """What changed."""
        return self.key


@dataclass(frozen=True, slots=True)
class StagingChange:
    """What is staged for a setting is new or another (`new`), or nothing is staged any more (None).

    `effective` stays in force for the other instances, stored in `value_revision` (0: never stored, None: in this very revision).
    Watchers learn all of the setting from it: beside another change of the setting, it is the one that is told.
    """

    key: str
    old: Staged | None
    new: Staged | None
    effective: Json
    value_revision: int | None
    cause: Cause = Cause.STAGE
    sensitive: bool = False
    """As the definition said when the change was made."""

    @property
    def subject(self) -> str:
        """What changed."""
        return self.key


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """A definition is new or another; `effective` is in force since, stored in `value_revision` (0: never stored)."""

    old: Definition | None
    new: Definition
    effective: Json
    value_revision: int
    cause: Cause = Cause.DEFINE

    @property
    def subject(self) -> str:
        """What changed."""
        return self.new.key


@dataclass(frozen=True, slots=True)
class RoleChange:
    """A role was made (`old` is None), changed, or deleted (`new` is None)."""

    role_id: str
    old: Role | None
    new: Role | None
    cause: Cause

    @property
    def subject(self) -> str:
        """What changed."""
        return self.role_id


@dataclass(frozen=True, slots=True)
class BindingChange:
    """A binding was made (`old` is None) or deleted (`new` is None)."""

    binding_id: str
    old: RoleBinding | None
    new: RoleBinding | None
    cause: Cause

    @property
    def subject(self) -> str:
        """What changed."""
        return self.binding_id


Change: TypeAlias = SettingChange | StagingChange | DefinitionChange | RoleChange | BindingChange


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a revision: a user's id or `service:<name>`, and why in their words."""

    actor: str
    comment: str = ""
    approver: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One revision."""

    revision: int
    author: Author
    commit_time: datetime
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """Where the history stands, as read from the database at `read_time`."""

    revision: int
    history_id: str
    oldest_revision: int
    """Oldest revision that can be watched from; what led to it is compacted."""
    commit_time: datetime
    read_time: datetime
    built_in_release: str = ""
    """Newest version of the product whose built-in roles are in force."""


def stamped(change: Change, revision: int, now: datetime) -> Change:
    """The change with its revision and time written into what it makes."""
    if isinstance(change, RoleChange) and change.new is not None:
        made = change.old.create_time if change.old else now
        return replace(change, new=replace(change.new, revision=revision, create_time=made, update_time=now))
    if isinstance(change, BindingChange) and change.new is not None:
        return replace(change, new=replace(change.new, create_time=now))
    return change


def settings_only(transaction: Transaction) -> Sequence[SettingChange]:
    """What a person who watches settings sees of a revision: changed values, ascending by key."""
    changes = (change for change in transaction.changes if isinstance(change, SettingChange))
    return sorted(changes, key=lambda change: change.key)
