"""Which process runs which revision, and whether that is as it should be."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

SEEN = timedelta(seconds=10)
"""How far `last_seen_time` may lag behind (contract of InstanceStatus)."""
AWAY_AFTER = timedelta(seconds=20)
"""A process unseen for two reports is away, even if its stream was never seen to end."""
FORGOTTEN_AFTER = timedelta(hours=1)
MAX_INSTANCES = 1000


class State(Enum):
    """Order is that of the answer: what needs attention first."""

    REFUSED = 1
    AWAY = 2
    BEHIND = 3
    CURRENT = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value that a process does not accept, and why; never the value."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a process says of a revision: it runs it, or with `refusals` it keeps what it had."""

    service: str
    instance: str
    revision: int
    history_id: str
    refusals: tuple[Refusal, ...] = ()
    restart_pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """What is known of one process."""

    service: str
    instance: str
    applied_revision: int
    refused_revision: int
    refusals: tuple[Refusal, ...]
    restart_pending: tuple[str, ...]
    connect_time: datetime | None
    last_seen_time: datetime


def state_of(instance: Instance, newest: int, now: datetime) -> State:
    """Whether the process is as it should be at `now`, `newest` being the newest revision."""
    if instance.connect_time is None or now - instance.last_seen_time > AWAY_AFTER:
        return State.AWAY
    if instance.refused_revision > instance.applied_revision:
        return State.REFUSED
    return State.CURRENT if instance.applied_revision >= newest else State.BEHIND
