"""What becomes of money that was set aside for a call to X, and the entries that tell of it.

X bills what it takes (its FAQ: failed requests are not billed). So: taken is booked, surely not taken is given back, and what X may have
taken stays set aside until that is known. Each attempt is settled once; a late word that X took it after all books it all the same.
Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from services.bot_manager.domain import story
from services.bot_manager.domain.model import (
    Attempt,
    AttemptOutcome,
    Charge,
    Entry,
    EntryKind,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.domain.money import day_of
from services.bot_manager.domain.reserving import dollars

FINAL: Final = frozenset(AttemptOutcome) - {AttemptOutcome.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Reserved:
    """An attempt as far as money goes. `settled` is what was booked of its cost, None while it is set aside."""

    attempt_id: str
    bot_id: str
    part_index: int
    charge: Charge
    day: date
    outcome: AttemptOutcome | None = None
    settled: int | None = None

    @classmethod
    def of(cls, attempt: Attempt, bot_id: str) -> "Reserved":
        """One that is under way."""
        day = day_of(attempt.started_time)
        return cls(attempt.id, bot_id, attempt.part_index, attempt.charge, day)


@dataclass(frozen=True, slots=True)
class Settlement:
    """`booked` of what was reserved is spent, the rest is free again."""

    reserved: Reserved
    booked: int
    called: bool = True
    """False if X was surely not even called."""

    @property
    def spent(self) -> int:
        """How much more is spent by it."""
        return self.booked - (self.reserved.settled or 0)

    @property
    def freed(self) -> int:
        """How much less is set aside by it."""
        return self.reserved.charge.cost_usd_micros if self.reserved.settled is None else 0

    @property
    def counted_for(self) -> str:
        """Whose sums are told."""
        return self.reserved.charge.counted_for or self.reserved.bot_id

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose money it is."""
        app_id = self.reserved.charge.app_id
        return (self.reserved.bot_id, app_id) if app_id else (self.reserved.bot_id,)


def settle(reserved: Reserved, outcome: AttemptOutcome) -> Settlement | None:
    """What an outcome comes to; None while nobody knows, and for one that is settled for good."""
    if reserved.outcome in FINAL or outcome is AttemptOutcome.UNKNOWN:
        return None
    accepted = outcome is AttemptOutcome.ACCEPTED
    if reserved.settled is not None and not accepted:
        return None
    booked = reserved.charge.cost_usd_micros if accepted else 0
    return Settlement(reserved, booked, called=outcome is not AttemptOutcome.NOT_SENT)


def settle_unknown(before: Post, after: Post, attempts: Sequence[Reserved]) -> list[Settlement]:
    """A post leaves UNKNOWN. `attempts` are all of its, in order; of a part that is on X by now the last one that may be it is booked."""
    settlements = []
    for old, part in zip(before.parts, after.parts, strict=True):
        mine = [one for one in attempts if one.part_index == part.index]
        taken = None
        fresh = old.state is not PartState.PUBLISHED and part.state is PartState.PUBLISHED
        if fresh and not any(one.settled for one in mine):
            open_ones = [one for one in mine if one.settled is None]
            unknown = [one for one in mine if one.outcome is AttemptOutcome.UNKNOWN]
            taken = next(reversed(open_ones or unknown or mine), None)
        for one in mine:
            if one is taken:
                settlements.append(Settlement(one, one.charge.cost_usd_micros))
            elif one.settled is None:
                settlements.append(Settlement(one, 0))
    return settlements


def leaves_unknown(before: Post, after: Post) -> bool:
    """Whether it is known by now what was not."""
    return before.state is PostState.UNKNOWN and after.state is not PostState.UNKNOWN


def reserved_entry(attempt: Attempt) -> Entry | None:
    """Of COST_RESERVED; None for what costs nothing."""
    charge = attempt.charge
    if charge.cost_usd_micros == 0:
        return None
    return Entry(
        EntryKind.COST_RESERVED,
        f"{dollars(charge.cost_usd_micros)} set aside",
        part_index=attempt.part_index,
        details=story.cost_detail(
            charge.cost_usd_micros, charge.today_usd_micros, charge.daily_budget_usd_micros
        ),
        state=PostState.CLAIMED,
    )


def settled_entry(settlement: Settlement, before: int) -> Entry | None:
    """Of COST_SETTLED; None for what costs nothing. `before`: what the owner it counts for had used of that day before it."""
    reserved, cost = settlement.reserved, settlement.reserved.charge.cost_usd_micros
    if cost == 0:
        return None
    words = "booked" if settlement.booked else "given back, X did not take it"
    amount = settlement.booked or -cost
    today = before + settlement.spent - settlement.freed
    return Entry(
        EntryKind.COST_SETTLED,
        f"{dollars(cost)} {words}",
        part_index=reserved.part_index,
        details=story.cost_detail(amount, today, reserved.charge.daily_budget_usd_micros),
    )
