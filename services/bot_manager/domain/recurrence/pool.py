"""Which item of a pool is next. Pure: what was taken before is an argument."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.model import Schedule
from services.bot_manager.domain.recurrence.timetable import draw


@dataclass(frozen=True, slots=True)
class Taken:
    """An item taken before: its key, in which round through the pool, and for when."""

    key: str
    round: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """The item that is next, and the round it is taken in."""

    index: int
    key: str
    round: int


def keys_of(items: Sequence[Document]) -> list[str]:
    """What each item is known by, wherever it stands in the list: its content, and its number among equal ones."""
    keys: list[str] = []
    for item in items:
        digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:32]
        keys.append(f"{digest}-{sum(key.startswith(digest) for key in keys)}")
    return keys


def choose(
    schedule: Schedule,
    items: Sequence[Document],
    history: Sequence[Taken],
    nominal: datetime,
    *,
    shuffled: bool,
    cool_down: timedelta,
) -> Choice | None:
    """The next item; None while all that may be next are cooling down. `history` is in the order of taking.

    A round takes every item once. A new one does not begin with the item that ended the last, if there is another.
    """
    keys = keys_of(items)
    number = max((taken.round for taken in history), default=0)
    used = {taken.key for taken in history if taken.round == number}
    left = [index for index, key in enumerate(keys) if key not in used]
    if not left:
        number += 1
        last = history[-1].key
        left = [index for index, key in enumerate(keys) if key != last or len(keys) == 1]
    cooling = {taken.key for taken in history if cool_down and taken.time + cool_down > nominal}
    ready = [index for index in left if keys[index] not in cooling]
    if not ready:
        return None
    index = ready[draw(schedule.id, nominal, "pool", len(ready))] if shuffled else ready[0]
    return Choice(index, keys[index], number)
