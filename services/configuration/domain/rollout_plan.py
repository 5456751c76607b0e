"""Gradual roll-outs: the steps by which new values reach the instances, and which instance is among them.

Each instance's place, 0 to 99, is drawn from its name and the change's id, so that those of a step stay in the next and another
change begins with others. Server and instances compute it alike (contract of StagedValue); nothing about it is stored.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from mesh.errors import InvalidArgument
from services.configuration.domain.values import Stored

PLACES = 100


@dataclass(frozen=True, slots=True)
class Guard:
    """What reverts a roll-out by itself. `service` empty: the services that own the settings; see RolloutGuard in the contract."""

    max_error_rate: float
    service: str = ""
    min_calls: int = 100
    """Calls below which the rate says nothing."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """`steps_percent` rise from 1 to 99; after the last comes everyone. Each is watched for `bake_time`."""

    steps_percent: tuple[int, ...]
    bake_time: timedelta
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A value that only a share of the instances uses yet; `stored` None is the definition's default."""

    stored: Stored | None
    share_percent: int
    change_id: str


def place_of(change_id: str, instance: str) -> int:
    """Where an instance stands in a roll-out, 0 to 99."""
    digest = hashlib.sha256(f"{change_id}/{instance}".encode()).digest()
    return int.from_bytes(digest[:8]) % PLACES


def within(change_id: str, instance: str, share_percent: int) -> bool:
    """Whether an instance has the new values while `share_percent` have them."""
    return place_of(change_id, instance) < share_percent


def check_plan(plan: RolloutPlan, field: str = "plan") -> None:
    """Raises InvalidArgument (INVALID_FIELD) unless the steps rise within 1 to 99."""
    steps = plan.steps_percent
    rising = all(first < second for first, second in pairwise(steps))
    if not steps or not rising or steps[0] < 1 or steps[-1] >= PLACES:
        raise InvalidArgument(
            "INVALID_FIELD", "steps must rise from 1 to 99 percent", field=f"{field}.steps_percent"
        )
