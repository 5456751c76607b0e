"""What declaring definitions does to a registry that knows some of them."""

from dataclasses import replace

from services.configuration.domain.changes import DefinitionChange, SettingChange
from services.configuration.domain.definition import Definition
from services.configuration.domain.setting import Setting
from services.configuration.domain.settings_book import plan_registration
from services.configuration.domain.values import Stored

LAW = Definition(
    "logging.retention.days", {"type": "integer", "maximum": 90}, 30, "Kept for.", "logging", release="1.0.0"
)
STORED = Setting(LAW, Stored(60), revision=4)


def test_a_new_definition_brings_its_default_into_force() -> None:
    """Watchers hold every defined setting."""
    (change,) = plan_registration([LAW], {}).changes
    assert isinstance(change, DefinitionChange)
    assert (change.old, change.effective, change.value_revision) == (None, 30, 0)


def test_a_stored_value_survives_a_law_that_allows_it() -> None:
    """An upgrade must not undo what an operator set."""
    (change,) = plan_registration([replace(LAW, default=10, release="1.1.0")], {LAW.key: STORED}).changes
    assert isinstance(change, DefinitionChange)
    assert (change.effective, change.value_revision) == (60, 4)


def test_a_stored_value_that_breaks_the_new_law_is_reset_with_it() -> None:
    """In one revision: no watcher may see the new law with the forbidden value."""
    tighter = replace(LAW, json_schema={"type": "integer", "maximum": 40}, release="1.1.0")
    todo = plan_registration([tighter], {LAW.key: STORED})
    assert todo.invalid_keys == (LAW.key,)
    law, reset = todo.changes
    assert isinstance(law, DefinitionChange)
    assert isinstance(reset, SettingChange)
    assert law.effective == reset.effective == 30
    assert reset.old == Stored(60)


def test_a_repeat_by_a_newer_release_is_only_noted() -> None:
    """So that the old release cannot change it back, and still no revision is made."""
    newer = replace(LAW, release="1.1.0")
    todo = plan_registration([newer], {LAW.key: STORED})
    assert (todo.changes, todo.confirmed) == ((), (newer,))


def test_a_plain_repeat_does_nothing() -> None:
    """Every process declares at every start."""
    todo = plan_registration([LAW], {LAW.key: STORED})
    assert (todo.changes, todo.invalid_keys, todo.confirmed) == ((), (), ())
