"""What becomes of a wish to change a setting."""

from dataclasses import replace

import pytest

from mesh.errors import Aborted, InvalidArgument
from services.configuration.domain.changes import Cause
from services.configuration.domain.definition import Definition
from services.configuration.domain.setting import Setting, Wish, plan, unknown
from services.configuration.domain.values import MAX_VALUE_BYTES, Stored

KEY = "bot_manager.publish.max_attempts"
DEFINITION = Definition(KEY, {"type": "integer", "minimum": 1, "maximum": 9}, 3, "How often.", "bot_manager")
SETTING = Setting(DEFINITION, Stored(5), revision=7)


def test_a_change_says_what_was_and_what_is() -> None:
    """The log alone answers histories, watchers and rollbacks."""
    change = plan(SETTING, Wish(KEY, Stored(6), SETTING.etag), Cause.UPDATE)
    assert change is not None
    assert (change.old, change.new, change.effective) == (Stored(5), Stored(6), 6)


def test_a_reset_brings_the_default_into_force() -> None:
    """What is in force is what watchers need, not that something was deleted."""
    change = plan(SETTING, Wish(KEY, None), Cause.RESET)
    assert change is not None
    assert (change.new, change.effective) == (None, 3)


def test_what_changes_nothing_succeeds_whatever_the_etag() -> None:
    """A client that repeats a call whose answer was lost holds the old etag."""
    assert plan(SETTING, Wish(KEY, Stored(5), "r0"), Cause.UPDATE) is None
    assert plan(Setting(DEFINITION), Wish(KEY, None, "r9"), Cause.RESET) is None


def test_storing_the_default_is_a_change() -> None:
    """It stays when a later release changes the default."""
    assert plan(Setting(DEFINITION), Wish(KEY, Stored(3)), Cause.UPDATE) is not None


def test_a_stale_etag_loses() -> None:
    """Compare-and-set: somebody else was faster."""
    with pytest.raises(Aborted) as refused:
        plan(SETTING, Wish(KEY, Stored(6), "r6"), Cause.UPDATE)
    assert refused.value.reason == "ETAG_MISMATCH"


@pytest.mark.parametrize("value", [0, 10, 2.5, "5", True, None, [5]])
def test_a_value_that_breaks_the_schema_names_field_and_reason(value: object) -> None:
    """The console shows it beside the input."""
    with pytest.raises(InvalidArgument) as refused:
        plan(SETTING, Wish(KEY, Stored(value)), Cause.UPDATE, "updates[3].value")
    assert refused.value.violations[0].field == "updates[3].value"
    assert refused.value.violations[0].description
    assert refused.value.metadata["key"] == KEY


def test_a_sensitive_value_is_not_quoted() -> None:
    """Errors are logged and shown to people who may not see it."""
    secretive = Setting(replace(DEFINITION, json_schema={"type": "integer"}, sensitive=True))
    with pytest.raises(InvalidArgument) as refused:
        plan(secretive, Wish(KEY, Stored("10.1.2.3")), Cause.UPDATE)
    assert "10.1.2.3" not in repr(refused.value) + str(refused.value.violations)


def test_values_are_bounded() -> None:
    """The whole history is kept, and every process holds every value."""
    anything = Setting(replace(DEFINITION, json_schema={}))
    fits = "x" * (MAX_VALUE_BYTES - 2)
    assert plan(anything, Wish(KEY, Stored(fits)), Cause.UPDATE) is not None
    with pytest.raises(InvalidArgument, match="64 KiB"):
        plan(anything, Wish(KEY, Stored(fits + "x")), Cause.UPDATE)


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    """Most unknown keys are typing mistakes."""
    error = unknown("bot_manager.publish.max_atempts", [KEY, "logging.retention.days"])
    assert error.reason == "SETTING_NOT_FOUND"
    assert error.metadata["nearest"] == KEY
    assert KEY in error.message
    assert unknown("zzz", [KEY]).metadata["nearest"] == ""
