"""One setting and what becomes of it: pure decisions, made while the writer's lock is held.

same as before      nothing happens, whatever the etag, so that a retry is safe
etag of another     ABORTED
breaks the schema   INVALID_ARGUMENT naming path and reason
otherwise           a change, which becomes part of one revision or of a change on its way
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mesh.errors import Aborted, FieldViolation, InvalidArgument, NotFound
from services.configuration.domain.changes import Cause, SettingChange
from services.configuration.domain.definition import Definition
from services.configuration.domain.rollout_plan import Staged
from services.configuration.domain.schema import SchemaInvalid, problems
from services.configuration.domain.values import MAX_VALUE_BYTES, Json, Stored, same, weight

NEAREST = 3
"""How many known keys an unknown one is answered with."""
NEAR_ENOUGH = 0.5
"""difflib's ratio below which a key is no help."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A defined setting at one moment."""

    definition: Definition
    stored: Stored | None = None
    revision: int = 0
    """Revision in which the value was last changed or reset; 0 if never."""
    update_time: datetime | None = None
    actor: str = ""
    pending_change_id: str = ""
    """Change of it that waits for approval or rolls out; empty if there is none."""
    staged: Staged | None = None

    @property
    def value(self) -> Json:
        """The value in force."""
        return self.definition.default if self.stored is None else self.stored.value

    @property
    def etag(self) -> str:
        """Version for compare-and-set."""
        return etag_of(self.revision)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants a setting to be: `stored` None asks for the default. An empty etag accepts any state."""

    key: str
    stored: Stored | None
    etag: str = ""


def etag_of(revision: int) -> str:
    """Opaque version of whatever was last changed in `revision`."""
    return f"r{revision:x}"


def check_etag(given: str, revision: int, what: str) -> None:
    """Raises Aborted (ETAG_MISMATCH) if an etag was given and is not the current one."""
    if given and given != etag_of(revision):
        raise Aborted("ETAG_MISMATCH", f"{what} was changed meanwhile; read it again", field="etag")


def plan(setting: Setting, wish: Wish, cause: Cause, field: str = "value") -> SettingChange | None:
    """The change that fulfils the wish, None if there is nothing to do.

    Raises Aborted or InvalidArgument. `field` names the value in the request. Whether the change is in force at once is not said
    here.
    """
    if same(setting.stored, wish.stored):
        return None
    definition = setting.definition
    check_etag(wish.etag, setting.revision, definition.key)
    if wish.stored is not None:
        check_value(definition, wish.stored.value, field)
    effective = definition.default if wish.stored is None else wish.stored.value
    return SettingChange(definition.key, setting.stored, wish.stored, effective, cause, definition.sensitive)


def check_value(definition: Definition, value: Json, field: str) -> None:
    """Raises InvalidArgument (INVALID_FIELD) with path and reason of everything that is wrong with the value."""
    if weight(value) > MAX_VALUE_BYTES:
        raise InvalidArgument("INVALID_FIELD", f"{definition.key}: more than 64 KiB as JSON", field=field)
    try:
        found = problems(definition.json_schema, value)
    except SchemaInvalid as error:
        raise InvalidArgument("INVALID_FIELD", f"{definition.key}: {error}", field=field) from None
    if not found:
        return
    violations = [
        # A reason may quote the value, and a sensitive one is not for the access log.
        FieldViolation(
            field + item.path, f"breaks the rule {item.rule}" if definition.sensitive else item.reason
        )
        for item in found
    ]
    raise InvalidArgument(
        "INVALID_FIELD",
        f"{definition.key}: {violations[0].field}: {violations[0].description}",
        violations=violations,
        metadata={"key": definition.key},
    )


def holds(definition: Definition, stored: Stored | None) -> bool:
    """Whether a stored value satisfies a definition; none stored always does."""
    if stored is None:
        return True
    try:
        return not problems(definition.json_schema, stored.value)
    except SchemaInvalid:
        return False


def unknown(key: str, known: Iterable[str]) -> NotFound:
    """The answer to a key that nobody defined, with the nearest that are."""
    nearest = difflib.get_close_matches(key, list(known), n=NEAREST, cutoff=NEAR_ENOUGH)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return NotFound(
        "SETTING_NOT_FOUND",
        f"no setting is called {key[:128]}{hint}",
        metadata={"key": key[:128], "nearest": ",".join(nearest)},
    )
