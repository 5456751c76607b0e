"""The guard's arithmetic: how many calls have failed since a moment, and whether that is too many.

Instances report totals since they began to count. What happened since a moment is the newest total less what it was then; a process
that began later began at nothing. Several processes, also one before and one after a restart, simply add up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.configuration.domain.rollout_plan import Guard

WINDOW = timedelta(minutes=30)
"""How far a guard looks back within a step (contract of RolloutGuard): errors of now must not drown in the good hours before."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls and how many of them failed."""

    calls: int = 0
    failed: int = 0

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.calls + other.calls, self.failed + other.failed)

    def __sub__(self, other: "Rate") -> "Rate":
        return Rate(max(0, self.calls - other.calls), max(0, self.failed - other.failed))


@dataclass(frozen=True, slots=True)
class Counted:
    """What one process has told: totals at its newest report, at the last one up to the moment in question, and at its first after."""

    count_time: datetime
    newest: Rate
    before: Rate | None
    first: Rate

    def since(self, moment: datetime) -> Rate:
        """Calls since the moment, as far as the reports tell; never more than there were."""
        if self.before is not None:
            return self.newest - self.before
        # Without a report from before, a process that is older may have had its calls earlier: they are left out.
        return self.newest if self.count_time >= moment else self.newest - self.first


def total(counted: Iterable[Counted], moment: datetime) -> Rate:
    """Of all processes together, since the moment."""
    return sum((one.since(moment) for one in counted), Rate())


def looks_back_to(step_began: datetime, now: datetime) -> datetime:
    """From when calls count: the step's beginning, but no longer ago than WINDOW."""
    return max(step_began, now - WINDOW)


def trips(guard: Guard, rate: Rate) -> str:
    """The sentence that says why the roll-out must be reverted; empty if it need not be."""
    if rate.calls < max(1, guard.min_calls) or rate.failed <= guard.max_error_rate * rate.calls:
        return ""
    return (
        f"the guard tripped: {rate.failed} of {rate.calls} calls failed on instances with the new values, "
        f"{_percent(rate.failed / rate.calls)} where at most {_percent(guard.max_error_rate)} is tolerated"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
