"""Settings, their definitions and their history."""

from collections.abc import Iterable

from google.protobuf import struct_pb2

from services.configuration.convert.values import from_json, struct_to_json, timestamp, to_json
from services.configuration.domain.changes import Cause, SettingChange, Transaction, settings_only
from services.configuration.domain.comparison import Difference
from services.configuration.domain.definition import Definition, owner_of
from services.configuration.domain.setting import Setting, Wish
from services.configuration.domain.transfer_book import Problem
from services.configuration.domain.values import Stored
from vivesphere.configuration.v1 import setting_pb2, settings_service_pb2

_CAUSES = {
    Cause.UPDATE: setting_pb2.SETTING_REVISION_CAUSE_UPDATE,
    Cause.RESET: setting_pb2.SETTING_REVISION_CAUSE_RESET,
    Cause.ROLLBACK: setting_pb2.SETTING_REVISION_CAUSE_ROLLBACK,
    Cause.IMPORT: setting_pb2.SETTING_REVISION_CAUSE_IMPORT,
    Cause.ROLLOUT_COMPLETED: setting_pb2.SETTING_REVISION_CAUSE_ROLLOUT_COMPLETED,
    Cause.ROLLOUT_REVERTED: setting_pb2.SETTING_REVISION_CAUSE_ROLLOUT_REVERTED,
}


def to_definition(
    message: setting_pb2.SettingDefinition, caller: str, release: str, field: str
) -> Definition:
    """What a service declares; `caller` becomes the owner. Raises PermissionDenied, InvalidArgument."""
    return Definition(
        key=message.key,
        json_schema=struct_to_json(message.json_schema, f"{field}.json_schema"),
        default=to_json(message.default_value, f"{field}.default_value"),
        description=message.description,
        owner=owner_of(message.key, caller),
        unit=message.unit,
        restart_required=message.restart_required,
        sensitive=message.sensitive,
        approval_required=message.approval_required,
        release=release,
    )


def from_definition(definition: Definition, *, reveal: bool) -> setting_pb2.SettingDefinition:
    """The definition as people see it; the default of a sensitive one only with `reveal`."""
    message = setting_pb2.SettingDefinition(
        key=definition.key,
        description=definition.description,
        unit=definition.unit,
        restart_required=definition.restart_required,
        sensitive=definition.sensitive,
        approval_required=definition.approval_required,
        owner=definition.owner,
    )
    message.json_schema.CopyFrom(from_json(dict(definition.json_schema)).struct_value)
    if reveal or not definition.sensitive:
        message.default_value.CopyFrom(from_json(definition.default))
    return message


def from_setting(setting: Setting, *, reveal: bool) -> setting_pb2.Setting:
    """The setting as people see it; a sensitive value only with `reveal`."""
    shown = reveal or not setting.definition.sensitive
    return setting_pb2.Setting(
        key=setting.definition.key,
        value=from_json(setting.value) if shown else None,
        revision=setting.revision,
        etag=setting.etag,
        definition=from_definition(setting.definition, reveal=reveal),
        modified=setting.stored is not None,
        update_time=timestamp(setting.update_time),
        update_actor=setting.actor,
        pending_change_id=setting.pending_change_id,
    )


def to_wish(update: settings_service_pb2.SettingUpdate, field: str) -> Wish:
    """One wish of a batch."""
    stored = None if update.reset_to_default else Stored(to_json(update.value, f"{field}.value"))
    return Wish(update.key, stored, update.etag)


def from_change(
    transaction: Transaction, change: SettingChange, *, reveal: bool
) -> setting_pb2.SettingRevision:
    """One entry of the history; values only with `reveal`."""
    return setting_pb2.SettingRevision(
        revision=transaction.revision,
        key=change.key,
        old_value=_optional(change.old, reveal),
        new_value=_optional(change.new, reveal),
        actor=transaction.author.actor,
        approver=transaction.author.approver,
        comment=transaction.author.comment,
        create_time=timestamp(transaction.commit_time),
        cause=_CAUSES[change.cause],
    )


def from_differences(
    found: Iterable[Difference], hidden: frozenset[str] = frozenset()
) -> list[setting_pb2.SettingDiff]:
    """Differences as people see them; values of `hidden` keys are left out."""
    return [
        setting_pb2.SettingDiff(
            key=item.key,
            old_value=_optional(item.old, item.key not in hidden),
            new_value=_optional(item.new, item.key not in hidden),
        )
        for item in found
    ]


def from_problems(problems: Iterable[Problem]) -> list[settings_service_pb2.ImportProblem]:
    """Why a file cannot be imported: everything that is wrong with each value, with the path inside of it."""
    return [
        settings_service_pb2.ImportProblem(key=problem.key, line=problem.line, description=description)
        for problem in problems
        for description in _descriptions(problem)
    ]


def _descriptions(problem: Problem) -> list[str]:
    violations = problem.error.violations if problem.key else ()
    # What is said of the value as a whole needs no second mention of its key.
    return [
        f"{violation.field.removeprefix(problem.key).lstrip('.')}: {violation.description}".removeprefix(": ")
        for violation in violations
    ] or [problem.error.message]


def from_transaction(
    transaction: Transaction, hidden: frozenset[str]
) -> settings_service_pb2.SettingsTransaction | None:
    """The transaction as people see it, None if it changed no value; those of `hidden` keys are left out."""
    changes = settings_only(transaction)
    if not changes:
        return None
    return settings_service_pb2.SettingsTransaction(
        revision=transaction.revision,
        changes=[from_change(transaction, change, reveal=change.key not in hidden) for change in changes],
    )


def _optional(stored: Stored | None, reveal: bool) -> struct_pb2.Value | None:
    return None if stored is None or not reveal else from_json(stored.value)
