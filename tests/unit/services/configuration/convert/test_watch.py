"""What travels to the services."""

from datetime import UTC, datetime

from services.configuration.convert.watch import from_snapshot, from_transaction
from services.configuration.domain.changes import (
    Author,
    BindingChange,
    Cause,
    DefinitionChange,
    Head,
    RoleChange,
    SettingChange,
    Transaction,
)
from services.configuration.domain.definition import Definition
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.setting import Setting
from services.configuration.domain.snapshot import Snapshot
from services.configuration.domain.values import Stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = Head(9, "0190c6a1-0000-7000-8000-000000000001", 0, NOW, NOW)


def _definition(key: str, default: object = 1) -> Definition:
    return Definition(key, {}, default, "d", "logging")


def test_each_setting_occurs_once_with_its_newest_value() -> None:
    """A new law and the reset that it forces are one change for whoever applies them."""
    law = _definition("logging.a", default=3)
    transaction = Transaction(
        8,
        Author("x"),
        NOW,
        (
            SettingChange("logging.a", Stored(60), None, 3, Cause.RESET),
            DefinitionChange(None, law, 3, value_revision=4),
            RoleChange("gone", Role("gone", ()), None, Cause.DELETE),
            BindingChange("b1", None, RoleBinding("b1", "ana", "viewer"), Cause.CREATE),
        ),
    )
    message = from_transaction(transaction)
    kinds = [str(change.WhichOneof("change")) for change in message.changes]
    assert sorted(kinds) == ["removed_role_id", "role_binding", "setting"]
    (setting,) = [change.setting for change in message.changes if change.HasField("setting")]
    assert (setting.value.number_value, setting.revision) == (3, 8)


def test_a_large_snapshot_travels_in_parts() -> None:
    """gRPC refuses messages over 4 MiB; the watcher applies the parts together."""
    settings = tuple(Setting(_definition(f"logging.k{index}", "x" * 100)) for index in range(50))
    parts = list(from_snapshot(Snapshot(HEAD, settings, (Role("r", ()),), ()), part_bytes=1000))
    assert len(parts) > 3
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [s.key for part in parts for s in part.settings] == [s.definition.key for s in settings]
    assert {part.revision for part in parts} == {9}


def test_an_empty_history_has_a_snapshot_too() -> None:
    """A watcher waits for it before it allows anything."""
    (part,) = from_snapshot(Snapshot(HEAD, (), (), ()))
    assert not part.more
