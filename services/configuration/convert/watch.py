"""What travels to the services: snapshots in parts, transactions, bookmarks."""

from collections.abc import Iterator

from services.configuration.convert.roles import from_binding, from_role
from services.configuration.convert.values import from_json, timestamp
from services.configuration.domain.changes import (
    BindingChange,
    Change,
    DefinitionChange,
    RoleChange,
    SettingChange,
    StagingChange,
    Transaction,
)
from services.configuration.domain.position import Lost
from services.configuration.domain.rollout_plan import Staged
from services.configuration.domain.setting import Setting
from services.configuration.domain.snapshot import Snapshot
from services.configuration.feed import Event, Stop, Told
from vivesphere.configuration.v1 import watch_pb2, watch_service_pb2

PART_BYTES = 1024 * 1024
"""A part of a snapshot is closed once it is this large; with one more value of 64 KiB it stays far below gRPC's 4 MiB."""

_REASONS = {
    Lost.TOO_SLOW: watch_pb2.RESYNC_REASON_TOO_SLOW,
    Lost.HISTORY_REPLACED: watch_pb2.RESYNC_REASON_HISTORY_REPLACED,
}
_OTHERS = 3
"""Rank of changes that do not concern a setting."""
Piece = tuple[str, object, int]


def from_event(event: Snapshot | Event) -> Iterator[watch_service_pb2.WatchResponse]:
    """The messages that carry an event; a snapshot may take several."""
    response = watch_service_pb2.WatchResponse
    match event:
        case Snapshot():
            for part in from_snapshot(event):
                yield response(snapshot=part)
        case Transaction():
            yield response(transaction=from_transaction(event))
        case Told():
            yield response(bookmark=from_told(event))
        case Stop():
            yield response(
                resync=watch_pb2.Resync(
                    reason=_REASONS[event.why],
                    oldest_revision=event.head.oldest_revision,
                    history_id=event.head.history_id,
                )
            )


def from_told(told: Told) -> watch_pb2.Bookmark:
    """A bookmark."""
    return watch_pb2.Bookmark(revision=told.revision, time=timestamp(told.time))


def from_snapshot(snapshot: Snapshot, part_bytes: int = PART_BYTES) -> Iterator[watch_pb2.PolicySnapshot]:
    """The snapshot in parts; only the last one has `more` unset."""
    part, size = _part(snapshot), 0
    for name, piece, weight in _pieces(snapshot):
        if size >= part_bytes:
            part.more = True
            yield part
            part, size = _part(snapshot), 0
        getattr(part, name).append(piece)
        size += weight
    yield part


def from_transaction(transaction: Transaction) -> watch_pb2.PolicyTransaction:
    """The transaction as services apply it: each setting, role and binding once, as it is now."""
    changes: dict[tuple[str, str], watch_pb2.PolicyChange] = {}
    for change in sorted(transaction.changes, key=_rank):
        kind = "setting" if _rank(change) < _OTHERS else type(change).__name__
        changes[kind, change.subject] = _change(change, transaction.revision)
    return watch_pb2.PolicyTransaction(
        revision=transaction.revision,
        changes=changes.values(),
        commit_time=timestamp(transaction.commit_time),
    )


def _rank(change: Change) -> int:
    """Where several changes of a transaction concern one setting, the one that says most comes last and is told."""
    match change:
        case DefinitionChange():
            return 0
        case SettingChange():
            return 1
        case StagingChange():
            return 2
    return _OTHERS


def _change(change: Change, revision: int) -> watch_pb2.PolicyChange:
    message = watch_pb2.PolicyChange
    match change:
        case SettingChange():
            return message(setting=_effective(change.key, change.effective, revision, change.sensitive))
        case StagingChange():
            value, sensitive = change.effective, change.sensitive
            value_revision = revision if change.value_revision is None else change.value_revision
            return message(setting=_effective(change.key, value, value_revision, sensitive, change.new))
        case DefinitionChange():
            value, sensitive = change.effective, change.new.sensitive
            return message(setting=_effective(change.subject, value, change.value_revision, sensitive))
        case RoleChange():
            if change.new is None:
                return message(removed_role_id=change.role_id)
            return message(role=from_role(change.new))
        case BindingChange():
            if change.new is None:
                return message(removed_role_binding_id=change.binding_id)
            return message(role_binding=from_binding(change.new))


def _effective(
    key: str, value: object, revision: int, sensitive: bool, staged: Staged | None = None
) -> watch_pb2.EffectiveSetting:
    return watch_pb2.EffectiveSetting(
        key=key, value=from_json(value), revision=revision, staged=_staged(staged), sensitive=sensitive
    )


def _staged(staged: Staged | None) -> watch_pb2.StagedValue | None:
    if staged is None:
        return None
    return watch_pb2.StagedValue(
        value=None if staged.stored is None else from_json(staged.stored.value),
        share_percent=staged.share_percent,
        change_id=staged.change_id,
    )


def _part(snapshot: Snapshot) -> watch_pb2.PolicySnapshot:
    head = snapshot.head
    return watch_pb2.PolicySnapshot(
        revision=head.revision,
        history_id=head.history_id,
        commit_time=timestamp(head.commit_time) if head.revision else None,
    )


def _pieces(snapshot: Snapshot) -> Iterator[Piece]:
    """(field of PolicySnapshot, message, bytes) of everything in it."""
    for setting in snapshot.settings:
        message = _setting(setting)
        yield "settings", message, message.ByteSize()
    for role in snapshot.roles:
        stored = from_role(role)
        yield "roles", stored, stored.ByteSize()
    for binding in snapshot.bindings:
        held = from_binding(binding)
        yield "role_bindings", held, held.ByteSize()


def _setting(setting: Setting) -> watch_pb2.EffectiveSetting:
    definition = setting.definition
    return _effective(definition.key, setting.value, setting.revision, definition.sensitive, setting.staged)
