"""The life of one version of a secret, as a table.

              DELETE               UNDELETE          DESTROY
    ACTIVE    → DELETED            stays             → DESTROYED
    DELETED   stays                → ACTIVE          → DESTROYED
    DESTROYED refused              refused           stays

Only ACTIVE gives its values, and only before its `expire_time`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from mesh.errors import FailedPrecondition, NotFound
from services.secure_bot_data.domain.model import Description, State, VersionFact


class Event(StrEnum):
    """What can be done to a version that exists."""

    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    DESTROY = "DESTROY"


TRANSITIONS: Final[Mapping[tuple[State, Event], State | None]] = {
    (State.ACTIVE, Event.DELETE): State.DELETED,
    (State.ACTIVE, Event.UNDELETE): State.ACTIVE,
    (State.ACTIVE, Event.DESTROY): State.DESTROYED,
    (State.DELETED, Event.DELETE): State.DELETED,
    (State.DELETED, Event.UNDELETE): State.ACTIVE,
    (State.DELETED, Event.DESTROY): State.DESTROYED,
    (State.DESTROYED, Event.DELETE): None,
    (State.DESTROYED, Event.UNDELETE): None,
    (State.DESTROYED, Event.DESTROY): State.DESTROYED,
}
"""The state after an event; None where it is refused."""


def affected(facts: Collection[VersionFact], event: Event, asked: Collection[int]) -> list[int]:
    """The versions that `event` changes, ascending. `asked` empty: all it can be applied to; those already there are left out.

    Raises NotFound SECRET_NOT_FOUND for a number that is not kept, FailedPrecondition SECRET_DESTROYED where the table refuses.
    """
    states = {fact.version: fact.state for fact in facts}
    if unknown := sorted(set(asked) - set(states)):
        raise NotFound("SECRET_NOT_FOUND", f"the secret has no version {unknown[0]}")
    changed = []
    for version in sorted(asked or states):
        after = TRANSITIONS[states[version], event]
        if after is None and asked:
            raise refusal(version, State.DESTROYED)
        if after is not None and after is not states[version]:
            changed.append(version)
    return changed


def check_readable(version: int, description: Description, now: datetime) -> None:
    """Raises FailedPrecondition SECRET_EXPIRED once the version's time is over."""
    if description.expire_time is not None and description.expire_time <= now:
        raise FailedPrecondition("SECRET_EXPIRED", f"version {version} of the secret has expired")


def refusal(version: int, state: State) -> FailedPrecondition:
    """Why a version in `state` gives no values."""
    if state is State.DESTROYED:
        return FailedPrecondition(
            "SECRET_DESTROYED", f"version {version} of the secret is destroyed for good"
        )
    return FailedPrecondition(
        "SECRET_DELETED", f"version {version} of the secret is deleted; it can be undeleted"
    )
